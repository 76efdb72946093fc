"""When something crossed a line in the picture, from the places before and after."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from alprd.core.planes import Floats

NEAR: Final = 4
"""Points on either side of the line that are fitted; perspective bends longer stretches."""

LEAST: Final = 2
"""Points that there must be on either side."""

BENT: Final = 6
"""Points from which on a bend is fitted."""

TIME_ERROR_S: Final = 0.003


def crossing(
    t_s: Floats, points_px: Floats, line: Floats, *, noise_px: float, click_px: float
) -> tuple[float, float] | None:
    """Time of the crossing and its standard error; None when there is none to be sure of.

    Args:
        t_s: (n,) rising times.
        points_px: (n, 2) places.
        line: (2, 2) its ends; the line goes on beyond them.
        noise_px: what a place is off by at least.
        click_px: what an end of the line is off by.
    """
    start, end = line
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / max(math.dist(start, end), 1e-9)
    off = (points_px - start) @ normal
    turns = np.flatnonzero(np.sign(off[1:]) != np.sign(off[:-1]))
    # A trembling plate may cross several times; the middle one is nearest to the truth.
    at = int(turns[len(turns) // 2]) + 1 if len(turns) else 0
    if at < LEAST or len(off) - at < LEAST:
        return None
    near = slice(max(0, at - NEAR), at + NEAR)
    return _zero(t_s[near], off[near], noise_px=noise_px, click_px=click_px)


def _zero(t: Floats, y: Floats, *, noise_px: float, click_px: float) -> tuple[float, float] | None:
    """When the distances y pass 0, by a line, or a parabola through enough points."""
    order = 2 if len(t) >= BENT else 1
    middle = float(t.mean())
    design = np.vander(t - middle, order + 1, increasing=True)
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    level, rate, bend = float(found[0]), float(found[1]), float(found[-1]) if order == 2 else 0.0
    # One step of Newton from the straight line's crossing, for the bend is slight.
    when = -level / rate if rate != 0.0 else math.inf
    slope = rate + 2.0 * bend * when
    if not slope * rate > 0.0:
        return None
    when -= (level + rate * when + bend * when**2) / slope
    if not float(t[0]) <= middle + when <= float(t[-1]):
        return None
    residual = math.sqrt(float(((y - design @ found) ** 2).sum()) / max(1, len(t) - order - 1))
    each_px = math.hypot(max(noise_px, residual), TIME_ERROR_S * slope)
    row = np.vander([when], order + 1, increasing=True)[0]
    spread = float(row @ np.linalg.pinv(design.T @ design) @ row)
    return middle + when, math.hypot(each_px * math.sqrt(spread), click_px) / abs(slope)
