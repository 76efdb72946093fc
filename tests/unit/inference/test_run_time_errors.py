"""What fails for want of memory or a device may pass; what is wrong with a model does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from alprd.inference.detector import detector_outputs
from alprd.inference.manifest import load_detector_manifest, load_onnx
from alprd.inference.onnx import OnnxNetwork
from alprd.ports import EngineError, EngineUnavailable
from support import tiny_models

KINDS = [
    (ort_state.RuntimeException, True),
    (ort_state.EPFail, True),
    (ort_state.InvalidGraph, False),
    (ort_state.NotImplemented, False),
]


def load(models: Path) -> OnnxNetwork:
    tiny_models.write_detector(models / "mine")
    manifest, folder = load_detector_manifest("mine", models)
    return OnnxNetwork(
        load_onnx(manifest, folder),
        path=folder / manifest.file,
        spec=manifest.input,
        outputs=detector_outputs(manifest),
        max_batch=1,
        threads=1,
    )


@pytest.mark.parametrize(("kind", "passes"), KINDS)
def test_a_model_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], *, passes: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("no luck")

    monkeypatch.setattr(ort, "InferenceSession", fail)
    with pytest.raises(EngineError, match=r"model\.onnx .* no luck; ") as refused:
        load(tmp_path)
    assert isinstance(refused.value, EngineUnavailable) is passes


@pytest.mark.parametrize(("kind", "passes"), KINDS)
def test_a_model_that_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], *, passes: bool
) -> None:
    network = load(tmp_path)

    def fail(*_: object) -> None:
        raise kind("no luck")

    monkeypatch.setattr(network._session, "run", fail)
    with pytest.raises(EngineError, match=r"model\.onnx failed .* no luck; ") as refused:
        network.run(np.zeros((1, 3, 192, 320), np.float32), 1)
    assert isinstance(refused.value, EngineUnavailable) is passes
