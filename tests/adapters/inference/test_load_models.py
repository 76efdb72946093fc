"""Real ONNX models in ONNX Runtime: loaded, proven on a known plate, or refused with the remedy."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.config import InferenceSettings
from alprd.core.types import Detection
from alprd.inference import models as models_module
from alprd.inference.models import READER_BATCH, load_models
from alprd.inference.preprocess import ImageError
from alprd.ports import EngineError
from support import tiny_models
from support.tiny_models import Flaws, Normalisation, box_quad, draw_plate, draw_vehicle

pytestmark = pytest.mark.everywhere

SLANTED = ((200.0, 400.0), (420.0, 420.0), (420.0, 490.0), (200.0, 470.0))

LOOKS = [
    pytest.param(Normalisation(), id="RGB NCHW 0..1"),
    pytest.param(Normalisation(layout="NHWC"), id="RGB NHWC 0..1"),
    pytest.param(Normalisation(colour="BGR", scale=1.0), id="BGR NCHW 0..255"),
    pytest.param(
        Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), id="RGB mean and std"
    ),
]


def settings(models: Path, **changes: object) -> InferenceSettings:
    return InferenceSettings(models_dir=models, threads=1, **changes)


def street() -> NDArray[np.uint8]:
    """A car with a slanted plate, and a lone plate on the right."""
    image = tiny_models.blank_picture((1280, 720))
    draw_vehicle(image, "car", (100, 100, 700, 600))
    draw_plate(image, "AB12CDE", SLANTED)
    draw_plate(image, "9XYZ", box_quad(800, 400, 900, 440), marker=1)
    image.setflags(write=False)
    return image


def test_on_the_cpu_nothing_is_asked_that_only_a_gpus_kernels_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise EngineError("with frames prepared on the GPU the known plate is not found")

    for name in ("check_whole_detector", "check_whole_reader"):
        monkeypatch.setattr(models_module, name, refuse)
    load_models(settings(tiny_models.write_models(tmp_path))).prove()


@pytest.mark.parametrize("look", LOOKS)
def test_plates_and_vehicles_are_found_and_read_whatever_the_models_input_looks_like(
    tmp_path: Path, look: Normalisation
) -> None:
    tiny_models.write_detector(tmp_path / "plate-detector", normalisation=look)
    tiny_models.write_reader(tmp_path / "plate-reader", normalisation=look)
    models = load_models(settings(tmp_path))
    image = street()

    [found] = models.detector.detect([image])
    plates = [each for each in found if each.label == "plate"]
    reads = models.reader.read([(image, plate, 1.5) for plate in plates])

    [car] = [each for each in found if each.label == "car"]
    assert car.box == pytest.approx((100, 100, 700, 600), abs=4)
    assert plates[0].quad == pytest.approx(np.array(SLANTED), abs=4)
    assert {read.text for read in reads} == {"AB12CDE", "9XYZ"}
    first = next(read for read in reads if read.text == "AB12CDE")
    assert (first.t_s, first.score) == (1.5, pytest.approx(0.9))
    assert first.regions[0][0] == "XL"
    assert first.quality == pytest.approx(1.0, abs=0.01)
    assert first.sharpness > 0.0
    assert first.char_probs.shape == (7, 37)


def test_models_say_what_runs_them_and_which_files_they_are(tmp_path: Path) -> None:
    models = load_models(settings(tiny_models.write_models(tmp_path)))

    assert models.backend == "onnxruntime"
    assert models.reason
    assert set(models.hashes) == {"plate-detector", "plate-reader"}
    assert all(value.startswith("sha256:") for value in models.hashes.values())


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_more_frames_than_the_batch_give_the_same_as_one_by_one(
    tmp_path: Path, batch: int | None
) -> None:
    tiny_models.write_detector(tmp_path / "plate-detector", flaws=Flaws(batch=batch))
    tiny_models.write_reader(tmp_path / "plate-reader", flaws=Flaws(batch=batch))
    models = load_models(settings(tmp_path, max_batch=2))
    images = [
        street(),
        tiny_models.blank_picture((640, 480)),
        street(),
        street()[:, 720:],
        street(),
    ]

    together = models.detector.detect(images)
    plates = [
        (image, plate, float(index))
        for index, (image, found) in enumerate(zip(images, together, strict=True))
        for plate in found
        if plate.label == "plate"
    ]

    assert [len(found) for found in together] == [3, 0, 3, 1, 3]
    for image, found in zip(images, together, strict=True):
        [alone] = models.detector.detect([image])
        assert [(each.label, each.box) for each in found] == [
            (each.label, each.box) for each in alone
        ]
    texts = [read.text for read in models.reader.read(plates)]
    assert texts == [models.reader.read([plate])[0].text for plate in plates]
    assert texts.count("AB12CDE") == 3


def test_more_plates_than_the_reader_takes_at_once_are_all_read_in_order(tmp_path: Path) -> None:
    models = load_models(settings(tiny_models.write_models(tmp_path)))
    pictures = {text: tiny_models.crop_picture(text) for text in ("A1", "B2", "C3")}
    width, height = tiny_models.CROP
    dx, dy = tiny_models.MARGINS[0] * width, tiny_models.MARGINS[1] * height
    plate = Detection(
        label="plate",
        score=0.9,
        box=(dx, dy, width - dx, height - dy),
        quad=np.array(box_quad(dx, dy, width - dx, height - dy), np.float32),
    )
    texts = [list(pictures)[i % 3] for i in range(2 * READER_BATCH + 5)]

    reads = models.reader.read([(pictures[text], plate, 0.0) for text in texts])

    assert [read.text for read in reads] == texts


def test_a_plate_without_a_quad_is_read_from_its_box(tmp_path: Path) -> None:
    models = load_models(settings(tiny_models.write_models(tmp_path)))
    plate = Detection(label="plate", score=0.9, box=(800.0, 400.0, 900.0, 440.0))

    [read] = models.reader.read([(street(), plate, 0.0)])

    assert read.text == "9XYZ"


def test_nothing_to_do_needs_no_call(tmp_path: Path) -> None:
    models = load_models(settings(tiny_models.write_models(tmp_path)))

    assert models.detector.detect([]) == []
    assert models.reader.read([]) == []


def test_a_frame_that_is_no_picture_is_an_image_error_and_the_models_go_on(tmp_path: Path) -> None:
    models = load_models(settings(tiny_models.write_models(tmp_path)))

    with pytest.raises(ImageError):
        models.detector.detect([street(), np.zeros((10, 10), np.uint8)])

    assert len(models.detector.detect([street()])[0]) == 3


def test_a_reader_with_another_alphabet_and_its_blank_first_reads_the_same(tmp_path: Path) -> None:
    tiny_models.write_detector(tmp_path / "plate-detector")
    tiny_models.write_reader(
        tmp_path / "plate-reader", alphabet="ZYXWVUTSRQPONMLKJIHGFEDCBA9876543210", blank=0
    )
    models = load_models(settings(tmp_path))
    image = street()
    plates = [each for each in models.detector.detect([image])[0] if each.label == "plate"]

    assert {read.text for read in models.reader.read([(image, p, 0.0) for p in plates])} == {
        "AB12CDE",
        "9XYZ",
    }


def test_reads_below_the_manifests_least_quality_have_no_text(tmp_path: Path) -> None:
    tiny_models.write_models(tmp_path)
    models = load_models(settings(tmp_path))
    grey = Detection(label="plate", score=0.9, box=(0.0, 0.0, 100.0, 40.0))
    image = tiny_models.blank_picture((640, 384))
    image[:] = 128
    [doubtful] = models.reader.read([(image, grey, 0.0)])
    assert doubtful.quality is not None
    assert doubtful.quality < 0.9

    tiny_models.write_reader(tmp_path / "plate-reader", manifest={"decoder": {"min_quality": 0.9}})
    [refused] = load_models(settings(tmp_path)).reader.read([(image, grey, 0.0)])

    assert (refused.text, refused.char_probs.shape) == ("", (0, 37))


def test_a_reader_that_sees_corners_corrects_those_of_the_detector(tmp_path: Path) -> None:
    tiny_models.write_detector(tmp_path / "plate-detector")
    tiny_models.write_reader(tmp_path / "plate-reader", sees_corners=True)
    models = load_models(settings(tmp_path))
    image = street()
    off = np.array(SLANTED, np.float32) + np.array([[-6, -3], [7, -2], [5, 3], [-6, 3]], np.float32)
    plate = Detection(label="plate", score=0.9, box=(194.0, 397.0, 427.0, 493.0), quad=off)

    [read] = models.reader.read([(image, plate, 0.0)])

    assert read.text == "AB12CDE"
    assert read.quad == pytest.approx(np.array(SLANTED), abs=1.5)


# --- refusals


def refusal(
    tmp_path: Path,
    *,
    detector: Mapping[str, Any] | None = None,
    reader: Mapping[str, Any] | None = None,
    **changes: object,
) -> str:
    tiny_models.write_detector(tmp_path / "plate-detector", **(detector or {}))
    tiny_models.write_reader(tmp_path / "plate-reader", **(reader or {}))
    with pytest.raises(EngineError) as refused:
        load_models(settings(tmp_path, **changes))
    return str(refused.value)


def test_tensorrt_is_refused_with_what_to_set_instead(tmp_path: Path) -> None:
    assert '"onnxruntime"' in refusal(tmp_path, backend="tensorrt")


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    rubbish = b"not a model"
    override = {"": {"sha256": hashlib.sha256(rubbish).hexdigest()}}
    tiny_models.write_models(tmp_path)
    folder = tiny_models.write_detector(tmp_path / "plate-detector", manifest=override)
    (folder / "model.onnx").write_bytes(rubbish)

    with pytest.raises(EngineError, match=r"model\.onnx cannot be loaded by ONNX Runtime"):
        load_models(settings(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input": {"name": "pictures"}},
            "model.onnx has the inputs ['images'], its manifest names 'pictures'",
        ),
        (
            {"input": {"width": 640}},
            "input 'images' has shape (N, 3, 192, 320) instead of (?, 3, 192, 640)",
        ),
        (
            {"input": {"layout": "NHWC"}},
            "input 'images' has shape (N, 3, 192, 320) instead of (?, 192, 320, 3)",
        ),
        (
            {"decoder": {"outputs": {"boxes": "boxen", "scores": "scores"}}},
            "has no output 'boxen'; it has 'boxes' (N, 6, 4), 'scores' (N, 6, 5), "
            "'corners' (N, 6, 8); correct decoder.outputs",
        ),
        (
            {"decoder": {"outputs": {"boxes": "corners", "scores": "scores"}}},
            "output 'corners' has shape (N, 6, 8) instead of (?, ?, 4)",
        ),
        (
            {"decoder": {"labels": ["plate", "car"]}},
            "output 'scores' has shape (N, 6, 5) instead of (?, ?, 2)",
        ),
    ],
)
def test_a_model_that_contradicts_its_manifest_is_refused_with_both(
    tmp_path: Path, changes: dict[str, dict[str, Any]], message: str
) -> None:
    assert message in refusal(tmp_path, detector={"manifest": changes})


@pytest.mark.parametrize(
    ("true_look", "said", "remedy"),
    [
        (Normalisation(), {"colour": "BGR"}, 'with colour = "RGB" it passes'),
        (Normalisation(), {"scale": 1.0}, "with scale = 0.00392157 it passes"),
        (
            Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
            "with mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] it passes",
        ),
        (
            Normalisation(colour="BGR", scale=1.0),
            {"colour": "RGB", "scale": 1 / 255},
            'with colour = "BGR", scale = 1 it passes',
        ),
    ],
)
@pytest.mark.parametrize("which", ["detector", "reader"])
def test_wrong_normalisation_fails_the_self_test_which_names_the_right_one(
    tmp_path: Path, which: str, true_look: Normalisation, said: dict[str, Any], remedy: str
) -> None:
    model = {"normalisation": true_look, "manifest": {"input": said}}

    message = refusal(tmp_path, **{which: model})

    assert f"plate-{which}/model.onnx: the self-test on selftest.png" in message
    assert remedy in message
    assert "correct [input] in its manifest" in message


def test_a_failure_without_a_known_cause_says_what_to_check(tmp_path: Path) -> None:
    message = refusal(tmp_path, reader={"manifest": {"selftest": {"plate": "OTHER"}}})

    assert "read 'TEST1' instead of 'OTHER'" in message
    assert "check [input]" in message


def test_a_plate_found_in_the_wrong_place_fails_the_self_test(tmp_path: Path) -> None:
    quad = [[0.0, 0.0], [20.0, 0.0], [20.0, 10.0], [0.0, 10.0]]

    message = refusal(tmp_path, detector={"manifest": {"selftest": {"quad": quad}}})

    assert "found a plate elsewhere (overlap 0.00, at least 0.7)" in message


@pytest.mark.parametrize("which", ["detector", "reader"])
def test_a_model_that_returns_nan_is_refused_as_damaged(tmp_path: Path, which: str) -> None:
    message = refusal(tmp_path, **{which: {"flaws": Flaws(nan=True)}})

    assert "NaN" in message
    assert "damaged" in message


def test_a_reader_that_ends_in_logits_is_refused_with_the_remedy(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        reader={"flaws": Flaws(logits=True), "manifest": {"selftest": {"plate": "OTHER"}}},
    )

    assert "export it with the sigmoid or softmax" in message


def test_a_missing_self_test_picture_is_named(tmp_path: Path) -> None:
    tiny_models.write_models(tmp_path)
    (tmp_path / "plate-reader" / "selftest.png").unlink()

    with pytest.raises(EngineError, match=r"selftest\.png does not exist.*restore it"):
        load_models(settings(tmp_path))


def test_waiting_for_the_next_frame_costs_no_processor_time(tmp_path: Path) -> None:
    folder = tiny_models.write_models(tmp_path)
    models = load_models(InferenceSettings(models_dir=folder, threads=4))
    pause = threading.Event()
    waiting_s = 0.0

    for _ in range(10):
        models.detector.detect([street()])
        before_s = time.process_time()
        pause.wait(0.03)
        waiting_s += time.process_time() - before_s

    assert waiting_s < 0.1  # threads that spin take about a second
