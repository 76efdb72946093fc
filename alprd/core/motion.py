"""Where a vehicle went, from its plate's path in the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from alprd.core.tracking import PathPoint
from alprd.core.types import Direction

MIN_POINTS: Final = 2
MIN_MOVED_WIDTHS: Final = 0.35
"""In the picture, in plate widths; below it a plate may only be trembling."""

MIN_GROWTH: Final = 0.15
"""Change of the logarithm of the width; below it it may be noise of the corners."""

ENDS: Final = 5
ENDS_S: Final = 0.3
"""The median of up to 5 points within 0.3 s stands for an end of the path."""

FOCAL_SHARE: Final = 0.9
"""Assumed focal length in frame widths (58 degrees across); the label hardly depends on it."""


def direction_of(path: Sequence[PathPoint], frame_size: tuple[int, int]) -> Direction | None:
    """Label and heading from both ends of the path; None when it is too short to tell.

    The ends are compared instead of fitting a line through all, so a car that drives up and then
    waits has the direction in which it came. A plate's width tells its distance (a plate is about
    half a metre wide everywhere), so motion towards the camera and across can be compared in the
    same unit, plate widths; under a camera that looks down, approaching also means moving down.

    Args:
        path: oldest first.
        frame_size: (width, height), pixels.
    """
    if len(path) < MIN_POINTS:
        return None
    ends = max(1, min(ENDS, len(path) // 3))
    start = _middle([p for p in path[:ends] if p.t_s - path[0].t_s <= ENDS_S])
    end = _middle([p for p in path[-ends:] if path[-1].t_s - p.t_s <= ENDS_S])
    mean_width = (start.width_px + end.width_px) / 2
    dx_px, dy_px = end.x_px - start.x_px, end.y_px - start.y_px
    moved = math.hypot(dx_px, dy_px) / mean_width
    growth = abs(math.log(end.width_px / start.width_px))
    if moved < MIN_MOVED_WIDTHS and growth < MIN_GROWTH:
        return None
    if growth < MIN_GROWTH / 2:  # within the corners' noise: the distance has not changed
        across, nearer = dx_px / mean_width, dy_px / mean_width
    else:
        (x1, y1, z1), (x2, y2, z2) = _in_widths(start, frame_size), _in_widths(end, frame_size)
        across, nearer = x2 - x1, z1 - z2 + y2 - y1
    if abs(nearer) >= abs(across):
        label = "approaching" if nearer > 0.0 else "receding"
    else:
        label = "right" if across > 0.0 else "left"
    heading_deg = None
    if moved >= MIN_MOVED_WIDTHS:
        heading_deg = math.degrees(math.atan2(dx_px, -dy_px)) % 360.0
    return Direction(label=label, heading_deg=heading_deg)


def _middle(points: Sequence[PathPoint]) -> PathPoint:
    """The medians of a few points."""
    return PathPoint(
        t_s=median(p.t_s for p in points),
        x_px=median(p.x_px for p in points),
        y_px=median(p.y_px for p in points),
        width_px=median(p.width_px for p in points),
    )


def _in_widths(point: PathPoint, frame_size: tuple[int, int]) -> tuple[float, float, float]:
    """Right, down and away of the camera, in plate widths, by a pinhole of assumed focal length."""
    width_px, height_px = frame_size
    return (
        (point.x_px - width_px / 2) / point.width_px,
        (point.y_px - height_px / 2) / point.width_px,
        FOCAL_SHARE * width_px / point.width_px,
    )
