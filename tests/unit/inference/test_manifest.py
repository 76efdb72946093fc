"""A manifest is complete and right, or refused with the file, the key and the remedy."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from alprd.inference.manifest import (
    available_models,
    builtin_models_dir,
    load_detector_manifest,
    load_onnx,
    load_reader_manifest,
)
from alprd.ports import EngineError, EngineUnavailable
from support import tiny_models


def refusal_of_detector(tmp_path: Path, changes: Mapping[str, Mapping[str, Any]]) -> str:
    tiny_models.write_detector(tmp_path / "mine", manifest=changes)
    with pytest.raises(EngineError) as refused:
        load_detector_manifest("mine", tmp_path)
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "mine" / "manifest.toml"))
    return message


def refusal_of_reader(tmp_path: Path, changes: Mapping[str, Mapping[str, Any]]) -> str:
    tiny_models.write_reader(tmp_path / "mine", manifest=changes)
    with pytest.raises(EngineError) as refused:
        load_reader_manifest("mine", tmp_path)
    return str(refused.value)


def test_a_complete_manifest_is_read_with_everything_in_it(tmp_path: Path) -> None:
    tiny_models.write_detector(
        tmp_path / "mine",
        manifest={"decoder": {"scores": {"car": 0.7}}, "training": {"hours": 3, "sets": ["a"]}},
    )

    manifest, folder = load_detector_manifest("mine", tmp_path)

    assert folder == tmp_path / "mine"
    assert manifest.input.shape == (3, 192, 320)
    assert manifest.decoder.thresholds == (0.4, 0.7, 0.4, 0.4, 0.4)
    assert manifest.training["hours"] == 3


@pytest.mark.parametrize(
    ("number", "passes"),
    [
        (errno.EMFILE, True),
        (errno.EIO, True),
        (errno.ENOMEM, True),
        (errno.EACCES, False),
        (errno.ENOTDIR, False),
        (errno.ENOENT, False),
    ],
)
def test_only_a_trouble_that_may_pass_is_called_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, passes: bool
) -> None:
    tiny_models.write_detector(tmp_path / "mine")
    manifest, folder = load_detector_manifest("mine", tmp_path)

    def fail(_: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(EngineError, match=r"model\.onnx") as refused:
        load_onnx(manifest, folder)
    assert isinstance(refused.value, EngineUnavailable) is passes


def test_a_folder_that_may_not_be_entered_is_an_engine_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(EngineError, match="let alprd's user read") as refused:
        load_detector_manifest("mine", tmp_path)
    assert not isinstance(refused.value, EngineUnavailable)


def test_the_channels_last_layout_has_its_channels_last(tmp_path: Path) -> None:
    look = tiny_models.Normalisation(layout="NHWC")
    tiny_models.write_reader(tmp_path / "mine", normalisation=look)

    manifest, _ = load_reader_manifest("mine", tmp_path)

    assert manifest.input.shape == (64, 160, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"colur": "RGB"}}, "input.colur: unknown key; did you mean 'colour'?"),
        ({"decoder": {"zzz": 1}}, "decoder.zzz: unknown key; valid keys: type, outputs, labels"),
        ({"input": {"mean": None}}, "input.mean: is missing; add it"),
        ({"selftest": {"image": None}}, "selftest.image: is missing; add it"),
        ({"input": {"std": [1.0, 0.0, 1.0]}}, "std must be greater than 0; use 1.0"),
        ({"input": {"mean": [0.0]}}, "mean has 1 values; give 3, one per channel of RGB"),
        ({"input": {"scale": 0.0}}, "input.scale: Input should be greater than 0 (found 0.0)"),
        ({"input": {"layout": "CHW"}}, "input.layout: Input should be 'NCHW' or 'NHWC'"),
        ({"input": {"width": "wide"}}, "input.width: Input should be a valid integer"),
        ({"": {"schema": "alprd.model/9"}}, "schema: Input should be 'alprd.model/1'"),
        ({"": {"sha256": "abc"}}, "sha256: String should match pattern"),
        ({"": {"file": "../../etc/passwd"}}, "file: String should match pattern"),
        ({"decoder": {"labels": ["car", "bus"]}}, "labels must hold 'plate'"),
        ({"decoder": {"labels": ["plate", "plate"]}}, "labels holds a name twice"),
        ({"decoder": {"scores": {"boat": 0.5}}}, "scores.boat: no such label; choose from"),
        (
            {"decoder": {"type": "yolov8"}},
            "decoder.type: there is no 'yolov8'; did you mean 'yolo'?",
        ),
        ({"decoder": {"type": None}}, "decoder.type: is missing; add it, one of 'alprd-detector'"),
        ({"decoder": {"type": "yolo"}}, "decoder.outputs.predictions: is missing; add it"),
        ({"decoder": {"nms_iou": 1.5}}, "decoder.nms_iou: Input should be less than or equal"),
        ({"": {"task": "read"}}, "task is 'read', but a model with task 'detect' is needed here"),
    ],
)
def test_a_wrong_key_of_a_detector_is_named_with_its_remedy(
    tmp_path: Path, changes: dict[str, dict[str, Any]], message: str
) -> None:
    assert message in refusal_of_detector(tmp_path, changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": {"alphabet": "ABCa"}}, "['a'] are not plate characters"),
        ({"decoder": {"alphabet": "ABCA"}}, "every character must be there exactly once"),
        ({"decoder": {"blank": 99}}, "blank = 99 lies outside the 37 classes"),
        ({"decoder": {"regions": None}}, "outputs.region and regions belong together"),
        ({"decoder": {"margin_x": 0.5}}, "decoder.margin_x: Input should be less than 0.4"),
        ({"selftest": {"plate": "ls15"}}, "selftest.plate: String should match pattern"),
        ({"": {"task": "detect"}}, "task is 'detect', but a model with task 'read' is needed"),
    ],
)
def test_a_wrong_key_of_a_reader_is_named_with_its_remedy(
    tmp_path: Path, changes: dict[str, dict[str, Any]], message: str
) -> None:
    assert message in refusal_of_reader(tmp_path, changes)


def test_every_problem_of_a_manifest_is_told_at_once_on_a_line_of_its_own(tmp_path: Path) -> None:
    message = refusal_of_detector(
        tmp_path, {"input": {"mean": None, "colur": "RGB"}, "decoder": {"nms_iou": 7}}
    )

    assert len(message.splitlines()) == 3


def test_a_manifest_that_is_no_toml_is_refused_with_the_place(tmp_path: Path) -> None:
    folder = tiny_models.write_detector(tmp_path / "mine")
    (folder / "manifest.toml").write_text('schema = "alprd.model/1\n', encoding="utf-8")

    with pytest.raises(
        EngineError, match=r"manifest\.toml is not valid TOML: .*line 1.*correct it"
    ):
        load_detector_manifest("mine", tmp_path)


def test_a_missing_model_names_the_ones_that_are_there(tmp_path: Path) -> None:
    tiny_models.write_models(tmp_path)

    with pytest.raises(EngineError) as refused:
        load_detector_manifest("plate-detektor", tmp_path)

    message = str(refused.value)
    assert str(tmp_path / "plate-detektor" / "manifest.toml") in message
    assert "models there: plate-detector, plate-reader" in message
    assert "[inference]" in message


def test_a_missing_models_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no model is there.*models_dir"):
        load_detector_manifest("plate-detector", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../models/plate-detector", "plate-detector/", ".", ""])
def test_a_models_name_never_leads_out_of_the_models_folder(tmp_path: Path, name: str) -> None:
    models = tiny_models.write_models(tmp_path / "models")

    with pytest.raises(EngineError, match="does not exist"):
        load_detector_manifest(name, models)


def test_a_damaged_model_file_is_refused_with_both_hashes(tmp_path: Path) -> None:
    folder = tiny_models.write_detector(tmp_path / "mine")
    manifest, _ = load_detector_manifest("mine", tmp_path)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")

    with pytest.raises(EngineError) as refused:
        load_onnx(manifest, folder)

    message = str(refused.value)
    assert str(folder / "model.onnx") in message
    assert len(re.findall("[0-9a-f]{64}", message)) == 2
    assert "restore it" in message


def test_a_missing_model_file_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = tiny_models.write_detector(tmp_path / "mine")
    manifest, _ = load_detector_manifest("mine", tmp_path)
    (folder / "model.onnx").unlink()

    with pytest.raises(EngineError, match=r"model\.onnx does not exist; put the model there"):
        load_onnx(manifest, folder)


def test_the_file_that_was_checked_is_what_comes_back(tmp_path: Path) -> None:
    folder = tiny_models.write_detector(tmp_path / "mine")
    manifest, _ = load_detector_manifest("mine", tmp_path)

    assert load_onnx(manifest, folder) == (folder / "model.onnx").read_bytes()


def test_the_built_in_models_are_found_wherever_alprd_is_installed() -> None:
    assert {"plate-detector", "plate-reader"} <= set(available_models(builtin_models_dir()))
