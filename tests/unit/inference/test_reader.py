"""What a reader's network says of a crop becomes a read in the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.types import Detection, PlateRead
from alprd.inference.manifest import load_reader_manifest
from alprd.inference.reader import NetworkReader
from alprd.ports import EngineError
from support import tiny_models

FRAME = np.full((120, 200, 3), 90, np.uint8)
QUAD = np.array([[40, 30], [120, 40], [118, 66], [38, 58]], np.float32)
NAMES = {"chars": "chars", "region": "region", "quality": "quality", "corners": "corners"}
INSET = (0.04, 0.08, 0.96, 0.08, 0.96, 0.92, 0.04, 0.92)
"""Where a plate lies in its crop whose corners are what the detector says."""


class Sees:
    """A network that sees these corners, shape (N, values), in every crop."""

    max_batch = 4

    def __init__(self, *corners: float) -> None:
        self.corners = corners

    def run(self, rows: NDArray[np.float32], count: int) -> dict[str, NDArray[np.float32]]:
        chars = np.zeros((count, tiny_models.SLOTS, 37), np.float32)
        chars[..., 10] = 1.0
        return {
            "chars": chars,
            "region": np.full((count, 3), 1 / 3, np.float32),
            "quality": np.full((count, 1), 0.2, np.float32),
            "corners": np.tile(np.array(self.corners, np.float32), (count, 1)),
        }


def read(folder: Path, *corners: float, quad: NDArray[np.float32] = QUAD) -> PlateRead:
    outputs = NAMES if corners else {k: v for k, v in NAMES.items() if k != "corners"}
    tiny_models.write_reader(
        folder / "plate-reader", manifest={"decoder": {"outputs": outputs, "min_quality": 0.5}}
    )
    manifest, _ = load_reader_manifest("plate-reader", folder)
    plate = Detection(label="plate", score=0.9, box=(38.0, 30.0, 120.0, 66.0), quad=quad)
    [found] = NetworkReader(manifest, Sees(*corners)).read([(FRAME, plate, 1.0)])
    return found


def test_corners_seen_where_the_crop_was_cut_are_the_plates_own(tmp_path: Path) -> None:
    found = read(tmp_path, *INSET)
    assert found.refined == pytest.approx(QUAD, abs=1e-3)
    assert found.quad is QUAD


def test_corners_seen_elsewhere_move_in_the_frame_by_as_much_of_the_plate(tmp_path: Path) -> None:
    box = np.array([[40, 30], [132, 30], [132, 51], [40, 51]], np.float32)
    seen = np.array(INSET).reshape(4, 2) + np.array((0.02, -0.04))
    found = read(tmp_path, *seen.ravel().tolist(), quad=box)
    # 92 pixels fill 92 % of the crop's width, 21 pixels 84 % of its height.
    assert found.refined == pytest.approx(box + np.array((2.0, -1.0)), abs=1e-3)


def test_corners_are_given_though_the_reader_refuses_the_text(tmp_path: Path) -> None:
    found = read(tmp_path, *INSET)
    assert (found.text, found.quality) == ("", pytest.approx(0.2))
    assert found.refined is not None


@pytest.mark.parametrize(
    "corners",
    [
        (float("nan"), *INSET[1:]),
        (-0.6, *INSET[1:]),  # far outside the crop
        (*INSET[2:4], *INSET[:2], *INSET[4:]),  # crossed
        (0.5, 0.5) * 4,
    ],
)
def test_corners_that_are_no_plates_are_none(tmp_path: Path, corners: tuple[float, ...]) -> None:
    assert read(tmp_path, *corners).refined is None


def test_corners_that_are_no_plates_disturb_no_other_plate(tmp_path: Path) -> None:
    class Mixed(Sees):
        def run(self, rows: NDArray[np.float32], count: int) -> dict[str, NDArray[np.float32]]:
            outputs = super().run(rows, count)
            outputs["corners"][0] = np.nan
            outputs["corners"][1] = 3e38
            outputs["corners"][2] = 0.5
            return outputs

    tiny_models.write_reader(
        tmp_path / "plate-reader", manifest={"decoder": {"outputs": NAMES, "min_quality": 0.5}}
    )
    manifest, _ = load_reader_manifest("plate-reader", tmp_path)
    shifts = [np.array((shift, -shift), np.float32) for shift in range(4)]
    plates = [
        (FRAME, Detection(label="plate", score=0.9, box=(0.0, 0.0, 1.0, 1.0), quad=QUAD + by), 1.0)
        for by in shifts
    ]
    *bad, good = NetworkReader(manifest, Mixed(*INSET)).read(plates)
    assert [each.refined for each in bad] == [None] * 3
    assert good.refined == pytest.approx(QUAD + shifts[3], abs=1e-3)


def test_a_reader_without_corners_gives_none(tmp_path: Path) -> None:
    assert read(tmp_path).refined is None


def test_corners_of_another_shape_are_refused_with_both_shapes(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"'corners' has shape \(1, 6\) instead of \(1, 8\)"):
        read(tmp_path, *INSET[:6])
