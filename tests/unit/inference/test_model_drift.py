"""Models that were replaced under a running daemon are noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alprd.config import InferenceSettings
from alprd.inference.drift import ModelDrift
from alprd.inference.manifest import load_detector_manifest, load_reader_manifest
from support.tiny_models import write_models


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models")


@pytest.fixture
def drift(models: Path) -> ModelDrift:
    settings = InferenceSettings(models_dir=models)
    running = {
        manifest.name: f"sha256:{manifest.sha256}"
        for manifest, _ in (
            load_detector_manifest(settings.detector, models),
            load_reader_manifest(settings.reader, models),
        )
    }
    return ModelDrift(settings, running)


def test_what_runs_is_what_lies_there(drift: ModelDrift) -> None:
    assert drift.mismatch() is None
    assert drift.mismatch() is None


def test_another_model_in_its_place_is_a_mismatch_until_the_old_one_is_back(
    drift: ModelDrift, models: Path, tmp_path: Path
) -> None:
    assert drift.mismatch() is None
    folder = models / "plate-reader"
    shutil.copytree(folder, tmp_path / "kept")
    manifest = folder / "manifest.toml"
    onnx = next(folder.glob("*.onnx"))
    onnx.write_bytes(onnx.read_bytes() + b"\0")
    said = drift.mismatch()
    assert said is not None
    assert "sha256" in said
    manifest.write_text("damaged")
    assert "is not valid TOML" in str(drift.mismatch())
    shutil.rmtree(folder)
    assert drift.mismatch() is not None
    shutil.copytree(tmp_path / "kept", folder)
    assert drift.mismatch() is None


def test_a_whole_new_model_names_the_restart(models: Path) -> None:
    drift = ModelDrift(InferenceSettings(models_dir=models), {"plate-detector": "sha256:0"})
    assert "systemctl restart alprd" in str(drift.mismatch())
