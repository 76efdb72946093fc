"""What a network really returns is checked, whatever its file declared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.inference.detector import NetworkDetector
from alprd.inference.manifest import DetectorManifest, load_detector_manifest
from alprd.ports import EngineError
from support import tiny_models

PICTURE = np.zeros((48, 64, 3), np.uint8)


class Returns:
    """A network that returns zeros of these shapes."""

    max_batch = 4

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self._shapes = shapes

    def run(self, rows: NDArray[np.float32], count: int) -> dict[str, NDArray[np.float32]]:
        assert count <= len(rows)
        return {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}


@pytest.fixture
def manifest(tmp_path: Path) -> DetectorManifest:
    tiny_models.write_detector(tmp_path / "mine")
    return load_detector_manifest("mine", tmp_path)[0]


def test_outputs_of_the_right_shape_are_decoded(manifest: DetectorManifest) -> None:
    network = Returns(boxes=(1, 7, 4), scores=(1, 7, 5), corners=(1, 7, 8))

    assert NetworkDetector(manifest, network).detect([PICTURE]) == [[]]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Returns(boxes=(1, 7, 4), scores=(1, 7, 6), corners=(1, 7, 8)),
            r"output 'scores' has shape \(1, 7, 6\) instead of \(1, \?, 5\)",
        ),
        (
            Returns(boxes=(2, 7, 4), scores=(1, 7, 5), corners=(1, 7, 8)),
            r"output 'boxes' has shape \(2, 7, 4\) instead of \(1, \?, 4\)",
        ),
        (
            Returns(boxes=(1, 7, 4), scores=(1, 9, 5), corners=(1, 7, 8)),
            r"disagree on the number of cells .*'scores': 9",
        ),
    ],
)
def test_outputs_of_a_wrong_shape_are_an_engine_error_that_names_the_model(
    manifest: DetectorManifest, network: Returns, message: str
) -> None:
    with pytest.raises(EngineError, match=f"plate-detector/model.onnx.*{message}"):
        NetworkDetector(manifest, network).detect([PICTURE])
