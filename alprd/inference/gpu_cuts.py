"""How plates are cut out of frames on the GPU: all plates of a call at once, on paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alprd.inference.gpu_layout import CUT, Row
from alprd.inference.preprocess import SUPERSAMPLING_MAX, ImageError, inset


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
    if not np.isfinite(quads).all():
        raise ImageError("the corners of a plate are no numbers")
    cuts = np.zeros(len(quads), CUT)
    cuts["source"] = rows
    frame = np.stack([cuts["source"]["width"], cuts["source"]["height"]], axis=1)
    low, high = _surroundings(quads, frame)
    cuts["left"], cuts["top"] = low.T
    cuts["width"], cuts["height"] = (high - low).T
    corners = (quads - low[:, None]).astype(np.float32)
    width, height = size
    with np.errstate(over="ignore"):  # absurd corners are infinitely far from each other
        side = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    times = np.stack(
        [
            _supersampling((side[:, 0] + side[:, 2]) / 2.0, width * (1.0 - 2.0 * margins[0])),
            _supersampling((side[:, 1] + side[:, 3]) / 2.0, height * (1.0 - 2.0 * margins[1])),
        ],
        axis=1,
    )
    cuts["times_x"], cuts["times_y"] = times.T
    # OpenCV counts from pixel centres, we from pixel edges.
    target = inset(margins) * np.array(size, np.float32)
    finer = target * times[:, None].astype(np.float32) - np.float32(0.5)
    cuts["matrix"] = _from_rectangle(finer[:, 0], finer[:, 2], corners - np.float32(0.5))
    return cuts


def _surroundings(
    quads: NDArray[np.float32], frame: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P, 2) low and high corner of the part of each frame around its quad."""
    low, high = quads.min(axis=1), quads.max(axis=1)
    margin = np.ceil(0.5 * (high - low)) + 2.0
    first = np.clip(np.floor(low - margin), 0, frame - 1).astype(np.int64)
    last = np.clip(np.ceil(high + margin), first + 1, frame).astype(np.int64)
    return first, last


def _supersampling(source_px: NDArray[np.floating], target_px: float) -> NDArray[np.int64]:
    times = np.clip(np.rint(source_px / target_px), 1, SUPERSAMPLING_MAX)
    return np.asarray(times, np.int64)


def _from_rectangle(
    first: NDArray[np.float32], last: NDArray[np.float32], quads: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(P, 9) the perspective maps, row by row, of upright rectangles onto quads.

    Args:
        first: (P, 2) the rectangles' top left corners.
        last: (P, 2) their bottom right ones.
        quads: (P, 4, 2) where their corners go, clockwise from the top left.
    """
    a, b, c, d = quads.astype(np.float64).transpose(1, 0, 2)
    # Of the unit square first, in closed form (Heckbert); then the rectangle is scaled to it.
    skew = a - b + c - d
    right, down = b - c, d - c
    with np.errstate(divide="ignore", invalid="ignore"):
        area = right[:, 0] * down[:, 1] - down[:, 0] * right[:, 1]
        g = (skew[:, 0] * down[:, 1] - down[:, 0] * skew[:, 1]) / area
        h = (right[:, 0] * skew[:, 1] - skew[:, 0] * right[:, 1]) / area
        square = np.empty((len(quads), 3, 3))
        square[:, :2, 0] = b - a + g[:, None] * b
        square[:, :2, 1] = d - a + h[:, None] * d
        square[:, :2, 2] = a
        square[:, 2, 0], square[:, 2, 1], square[:, 2, 2] = g, h, 1.0
        extent = (last - first).astype(np.float64)
        square[:, :, :2] /= extent[:, None, :]
        square[:, :, 2] -= (square[:, :, :2] * first[:, None, :]).sum(axis=2)
    # Corners that enclose nothing give nothing: every pixel is the region's first one.
    broken = ~np.isfinite(square).all(axis=(1, 2))
    square[broken] = 0.0
    return square.reshape(-1, 9)
