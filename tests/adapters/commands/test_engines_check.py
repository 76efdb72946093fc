"""`alprd engines check`: a newcomer's model gets a manifest to complete, and proof that it fits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from alprd.cli import main
from alprd.demo.plates import WHITE_UK, render_plate
from alprd.inference.inspecting import inspect_model
from alprd.inference.onnx_file import onnx_facts, with_float_pixels
from alprd.ports import EngineError
from support import foreign_models as foreign
from support import tiny_models
from support.foreign_models import Look
from support.onnx_graphs import Graph, serialised

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TRAINED = Path(__file__).parents[2] / "data" / "models" / "lprnet" / "model.onnx"
BIG = Look(size=(384, 384))


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["engines", "check", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def export(folder: Path, form: str) -> Path:
    yolo = {"type": "yolo", "outputs": {"predictions": "output0"}, "labels": ["plate"]}
    rows: dict[str, Any] = {"type": "yolo-end-to-end", "outputs": {"rows": "output"}}
    ssd: dict[str, Any] = {"type": "ssd", "outputs": {"boxes": "boxes", "scores": "scores"}}
    whole = {"boxes": "b", "scores": "s", "classes": "labels"}
    small = Look(size=(140, 70), layout="NHWC", colour="GRAY", type="uint8")
    flat = {"type": "slots", "outputs": {"chars": "plate"}, "slots": 9}
    crnn = {"type": "ctc", "outputs": {"chars": "log_probs"}}
    grey = Look(size=(100, 32), colour="GRAY")
    logits = {**yolo, "activation": "sigmoid"}
    last = {**yolo, "layout": "NAC", "objectness": True}
    made = {
        "head": lambda: foreign.head(folder, look=BIG, opset=13, decoder=yolo, classes=3),
        "logits": lambda: foreign.head(folder, look=BIG, opset=13, decoder=logits, classes=3),
        "v5": lambda: foreign.head(folder, look=BIG, opset=11, decoder=last, classes=1, cell=8),
        "nms": lambda: foreign.suppressed(folder, look=BIG, opset=12, decoder=rows, classes=1),
        "v10": lambda: foreign.best_rows(
            folder, look=BIG, opset=17, decoder=rows, classes=2, rows=30
        ),
        "ssd": lambda: foreign.ssd(folder, look=BIG, opset=13, decoder=ssd, classes=3),
        "torchvision": lambda: foreign.ssd(
            folder,
            look=BIG,
            opset=11,
            decoder={**ssd, "outputs": whole, "batched": False},
            classes=3,
        ),
        "own": lambda: tiny_models.write_detector(folder),
        "fast-plate-ocr": lambda: foreign.slots(
            folder, look=small, opset=17, decoder=flat, number=9, classes=37
        ),
        "crnn": lambda: foreign.columns(folder, look=grey, opset=13, decoder=crnn, classes=37),
    }
    return made[form]() / "model.onnx"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("head", {"type": "yolo", "layout": "NCA", "activation": "none", "units": "pixels"}),
        ("logits", {"type": "yolo", "layout": "NCA", "activation": "sigmoid"}),
        ("v5", {"type": "yolo", "layout": "NAC"}),
        ("nms", {"type": "yolo-end-to-end", "outputs": {"rows": "output"}}),
        ("v10", {"type": "yolo-end-to-end", "outputs": {"rows": "output0"}}),
        ("ssd", {"type": "ssd", "outputs": {"boxes": "boxes", "scores": "scores"}}),
        (
            "torchvision",
            {
                "type": "ssd",
                "outputs": {"boxes": "b", "scores": "s", "classes": "labels"},
                "batched": False,
            },
        ),
        ("own", {"type": "alprd-detector"}),
        ("fast-plate-ocr", {"type": "slots", "slots": 9, "activation": "none"}),
        ("crnn", {"type": "ctc", "layout": "TNC", "activation": "log"}),
    ],
)
def test_the_draft_is_toml_with_what_the_file_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, expected: dict[str, Any]
) -> None:
    path = export(tmp_path / "mine", form)

    code, out, err = check(capsys, path)

    assert (code, err) == (0, "")
    told = tomllib.loads(out)
    assert told["decoder"].items() >= expected.items()
    assert "mean" not in told["input"] or told["input"]["type"] == "uint8"  # nobody can know it
    assert "#? " in out
    assert "#? licence" in out


def test_sizes_that_an_export_leaves_open_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = Graph()
    pooled = graph.add("AveragePool", "images", kernel_shape=[8, 8], strides=[8, 8])
    found = graph.add("Conv", pooled, graph.constant(np.ones((7, 3, 1, 1), np.float32)))
    lead = graph.add("Slice", graph.add("Shape", found), graph.ints(0), graph.ints(2))
    flat = graph.add("Concat", lead, graph.ints(-1), axis=0)
    graph.add("Reshape", found, flat, output="output0")  # as PyTorch writes flatten(2)
    outputs = {"output0": (TensorProto.FLOAT, ["N", "values", "cells"])}
    path = tmp_path / "open.onnx"
    path.write_bytes(serialised(graph, {"images": BIG.tensor}, outputs, 13))

    code, out, _ = check(capsys, path)

    assert code == 0
    assert "'output0': float (?, ?, ?)" in out
    assert tomllib.loads(out)["decoder"]["layout"] == "NCA"
    assert "3 classes" in out


def test_a_completed_draft_makes_a_model_that_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lprnet.onnx"
    path.write_bytes(TRAINED.read_bytes())
    crop = cv2.resize(render_plate("LS15EBC", WHITE_UK), (94, 24), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "selftest.png"), crop)
    _, draft, _ = check(capsys, path)
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(draft, encoding="utf-8")

    code, out, err = check(capsys, path, "--manifest", manifest)
    assert (code, out) == (1, "")
    for key in ("licence", "input.colour", "input.scale", "input.mean", "decoder.blank"):
        assert f"manifest.toml: {key}: is missing; add it" in err

    answers = {
        "licence": '"Apache-2.0"',
        "colour": '"BGR"',
        "scale": "1.0",
        "mean": "[127.5, 127.5, 127.5]",
        "std": "[128.0, 128.0, 128.0]",
        "alphabet": '"0123456789ABCDEFGHJKLMNPQRSTUVWXYZIO-"',
        "blank": '"-"',
        "image": '"selftest.png"',
        "plate": '"LS15EBC"',
    }
    lines = []
    for line in draft.splitlines():
        key = line.removeprefix("#? ").split(" = ")[0]
        lines.append(f"{key} = {answers[key]}" if line.startswith("#? ") else line)
    manifest.write_text("\n".join(lines), encoding="utf-8")

    code, out, err = check(capsys, path, "--manifest", tmp_path)

    assert (code, err) == (0, "")
    assert "its self-test passes" in out

    manifest.write_text("\n".join(lines).replace("0123", "1023"))
    code, _, err = check(capsys, path, "--manifest", manifest)
    assert code == 1
    assert "self-test on selftest.png read 'LS05EBC' instead of 'LS15EBC'" in err


def test_notes_tell_what_tensorrt_makes_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = check(capsys, export(tmp_path / "nms", "nms"))
    assert "NonMaxSuppression: TensorRT runs it, but" in out
    assert "opset 12 is read by every TensorRT" in out
    _, out, _ = check(capsys, export(tmp_path / "torchvision", "torchvision"))
    assert "int64 outputs" in out
    look = Look(size=(384, 384), batch=1)
    decoder = {"type": "yolo", "outputs": {"predictions": "output0"}, "labels": ["plate"]}
    fixed = foreign.head(tmp_path / "fixed", look=look, opset=18, decoder=decoder, classes=1)
    _, out, _ = check(capsys, fixed / "model.onnx")
    assert "its batch is fixed at 1" in out
    assert "TensorRT 8.5 (JetPack 5) reads opsets up to 17" in out


def test_a_model_of_another_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tiny_models.write_reader(tmp_path / "mine")
    other = tiny_models.write_reader(tmp_path / "other")

    code, _, err = check(capsys, mine / "model.onnx", "--manifest", other / "manifest.toml")

    assert code == 1
    assert f"is about {other / 'model.onnx'}, not about {mine / 'model.onnx'}" in err


def test_inputs_that_are_no_pictures_are_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(name: str, shapes: dict[str, list[int]]) -> Path:
        nodes = [helper.make_node("Identity", ["a"], ["out"])]
        inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()]
        outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, shapes["a"])]
        model = helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs),
            opset_imports=[helper.make_opsetid("", 13)],
            ir_version=8,
        )
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    code, _, err = check(capsys, write("unbatched.onnx", {"a": [3, 320, 320]}))
    assert code == 1
    assert "export it with an axis for the batch" in err
    code, _, err = check(capsys, write("two.onnx", {"a": [1, 3, 8, 8], "size": [2]}))
    assert code == 1
    assert "it has 2 inputs ('a', 'size'); export it with one" in err
    code, _, err = check(capsys, write("pixels.onnx", {"a": [1, 3, 320, 320]}))
    assert code == 1
    assert "no decoder fits its outputs" in err


def test_a_plugin_of_tensorrt_is_named_when_onnx_runtime_cannot_load_the_file(
    tmp_path: Path,
) -> None:
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("num", TensorProto.INT32, [1, 1])
    node = helper.make_node("EfficientNMS_TRT", ["x"], ["num"], domain="trt")
    model = helper.make_model(
        helper.make_graph([node], "g", [picture], [out]),
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("trt", 1)],
        ir_version=8,
    )
    with pytest.raises(EngineError, match=r"trt:EfficientNMS_TRT.*export the raw head"):
        inspect_model(model.SerializeToString(), tmp_path / "x.onnx")


def test_what_the_file_says_of_itself_is_what_the_onnx_package_reads() -> None:
    model = onnx.load(TRAINED)

    facts = onnx_facts(TRAINED.read_bytes(), "x")

    assert facts.opset == model.opset_import[0].version
    assert facts.ir_version == model.ir_version
    kinds = [node.op_type for node in model.graph.node]
    assert facts.operators == {kind: kinds.count(kind) for kind in kinds}


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"UFF\x08\x01", b"[net]\nwidth=416\n"])
def test_what_is_no_onnx_file_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(EngineError, match=r"x is no ONNX file.*converted"):
        onnx_facts(content, "x")


def test_a_damaged_file_never_gives_anything_but_an_engine_error() -> None:
    whole = TRAINED.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole[: int(rng.integers(1, len(whole)))][:4000])
        damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        try:
            onnx_facts(bytes(damaged), "x")
        except EngineError:
            continue


def test_pixels_become_floats_for_tensorrt_and_the_network_does_what_it_did(
    tmp_path: Path,
) -> None:
    look = Look(size=(96, 96), layout="NHWC", type="uint8", scale=1.0)
    decoder = {"type": "yolo", "outputs": {"predictions": "output0"}, "labels": ["plate"]}
    folder = foreign.head(tmp_path / "m", look=look, opset=13, decoder=decoder, classes=1)
    given = (folder / "model.onnx").read_bytes()
    pixels = foreign.frame((96, 96), 1)[None]

    changed = with_float_pixels(given, "images")

    sessions = [onnxruntime.InferenceSession(each) for each in (given, changed)]
    assert [s.get_inputs()[0].type for s in sessions] == ["tensor(uint8)", "tensor(float)"]
    [before] = sessions[0].run(None, {"images": pixels})
    [after] = sessions[1].run(None, {"images": pixels.astype(np.float32)})
    assert np.array_equal(before, after)
    assert with_float_pixels(given, "others") == given
    assert with_float_pixels(TRAINED.read_bytes(), "images") == TRAINED.read_bytes()
