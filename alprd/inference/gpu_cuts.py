"""How plates are cut out of frames on the GPU: on paper, and packed for the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from alprd.core.geometry import Quad
from alprd.inference.gpu_layout import CUT, Row
from alprd.inference.preprocess import (
    SUPERSAMPLING_MAX,
    inset,
    perspective,
    supersampling,
    surroundings,
)

_PACKED = Struct("<2Q4i9d6i")  # CUT
_READERS = 8  # with different inputs, at a time

_Axis = Sequence[tuple[float, float]]
"""For each number of samples per pixel of the crop, from none on: where in the finer crop the plate
begins, and how long it is; pixels, counted from pixel centres."""


def plan_cuts(
    rows: Sequence[Row],
    quads: NDArray[np.float32],
    size: tuple[int, int],
    margins: tuple[float, float],
) -> NDArray[np.void]:
    """(P,) `CUT`: what `preprocess.rectify` does, for many plates.

    Args:
        rows: of each plate its frame, as `GpuFrames.place` gives it.
        quads: (P, 4, 2) corners in the frames' pixels, clockwise from the plates' own top left.
        size: (width, height) of the crops.
        margins: fractions of the crop's width and height left on each side.

    Raises:
        ImageError: corners that are no numbers.
    """
    axes = _axes(size, margins)
    inside = (size[0] * (1.0 - 2.0 * margins[0]), size[1] * (1.0 - 2.0 * margins[1]))
    packed = [_cut(row, quad, inside, axes) for row, quad in zip(rows, quads.tolist(), strict=True)]
    return np.frombuffer(b"".join(packed), CUT)


def _cut(row: Row, quad: Quad, inside: tuple[float, float], axes: tuple[_Axis, _Axis]) -> bytes:
    """One `CUT`.

    Args:
        row: the frame.
        quad: the plate's corners in it.
        inside: width and height of the plate in the crop.
        axes: across and down.
    """
    left, top, right, bottom = surroundings(quad, row[3], row[4])
    times_x, times_y = supersampling(quad, inside)
    x, width = axes[0][times_x]
    y, height = axes[1][times_y]
    # OpenCV counts from pixel centres, we from pixel edges.
    across, down = left + 0.5, top + 0.5
    corners = [(corner_x - across, corner_y - down) for corner_x, corner_y in quad]
    return _PACKED.pack(
        *row,
        *perspective((x, y), (width, height), corners),
        left,
        top,
        right - left,
        bottom - top,
        times_x,
        times_y,
    )


@lru_cache(_READERS)
def _axes(size: tuple[int, int], margins: tuple[float, float]) -> tuple[_Axis, _Axis]:
    """Across and down."""
    target = inset(margins) * np.array(size, np.float32)
    times = np.arange(SUPERSAMPLING_MAX + 1, dtype=np.float32)[:, None]
    # With the roundings of `rectify`.
    first, last = (corner * times - np.float32(0.5) for corner in (target[0], target[2]))
    across, down = np.stack([first, last - first], axis=-1).swapaxes(0, 1).tolist()
    return across, down
