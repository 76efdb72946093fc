"""Lens distortion: where a pixel would be had the lens none.

The model is that of Brown and Conrady in the form, and the order of the numbers, that OpenCV's
calibration gives: k1, k2, p1, p2, k3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from alprd.core.planes import Floats

STEPS: Final = 20
"""Of the fixed-point iteration; a lens that needs more folds the picture onto itself."""

CLOSE_PX: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A camera's inner geometry.

    Attributes:
        focal_px: focal length in pixels.
        centre_px: where the optical axis meets the picture.
        distortion: k1, k2, p1, p2, k3.
    """

    focal_px: float
    centre_px: tuple[float, float]
    distortion: tuple[float, float, float, float, float]


def distorted(lens: Lens, points_px: Floats) -> Floats:
    """(N, 2) pixels of the picture, from those of a lens without distortion."""
    x, y = ((points_px - lens.centre_px) / lens.focal_px).T
    shift_x, shift_y, factor = _shifts(lens, x, y)
    moved = np.column_stack([x * factor + shift_x, y * factor + shift_y])
    return np.asarray(moved * lens.focal_px + lens.centre_px, dtype=np.float64)


def undistorted(lens: Lens, points_px: Floats) -> Floats:
    """(N, 2) pixels of a lens without distortion, from those of the picture.

    A point that no ray through this lens reaches becomes NaN.
    """
    seen = (points_px - lens.centre_px) / lens.focal_px
    x, y = seen.T
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            shift_x, shift_y, factor = _shifts(lens, x, y)
            x, y = (seen[:, 0] - shift_x) / factor, (seen[:, 1] - shift_y) / factor
        found = np.column_stack([x, y]) * lens.focal_px + lens.centre_px
        off = np.abs(distorted(lens, found) - points_px).max(axis=1)
        return np.where((off < CLOSE_PX)[:, None], found, np.nan)


def _shifts(lens: Lens, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """The tangential shifts and the radial factor at undistorted, normalised x and y."""
    k1, k2, p1, p2, k3 = lens.distortion
    square = x * x + y * y
    factor = 1.0 + square * (k1 + square * (k2 + square * k3))
    shift_x = 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x)
    shift_y = p1 * (square + 2.0 * y * y) + 2.0 * p2 * x * y
    return shift_x, shift_y, factor
