"""Where a vehicle went, from its plate's path in the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from alprd.core.tracking import PathPoint
from alprd.core.types import Direction

MIN_POINTS: Final = 2
MIN_MOVED_WIDTHS: Final = 0.25
"""In the picture, in plate widths; below it a plate may only be trembling."""

MIN_GROWTH: Final = 0.15
"""Change of the logarithm of the size; below it it may be noise of the corners."""

SURE_GROWTH: Final = 0.3
"""A smaller one is not believed against a clear motion up or down the picture."""

TURNED: Final = 0.05
"""Width and height that change by more, in opposite ways, tell nothing of the distance."""

DOWN_IS_NEARER: Final = 2.0
"""A metre of road towards the camera looks half as long as one across to a camera that looks down
by 30 degrees; one that looks less far down sees sizes change instead."""

STILL_S: Final = 1.0
STILL_WIDTHS: Final = 0.35
STILL_GROWTH: Final = 0.2
"""A plate stands that neither moved nor grew by more than this for so long."""

STOOD_WIDTHS: Final = 0.1
STOOD_SHARE: Final = 0.8
"""What was so near to its first place for so much of its path stood there."""

ENDS: Final = 5
ENDS_S: Final = 0.3
"""The median of up to 5 points within 0.3 s stands for an end of the path."""

FOCAL_SHARE: Final = 0.9
"""Assumed focal length in frame widths (58 degrees across); the label hardly depends on it."""


def direction_of(path: Sequence[PathPoint], frame_size: tuple[int, int]) -> Direction | None:
    """Label and heading from both ends of the path; None when it is too short to tell.

    The ends are compared instead of fitting a line through all, so a car that drives up and then
    waits has the direction in which it came. A plate's size tells its distance (a plate is about
    half a metre wide everywhere), so motion towards the camera and across can be compared in the
    same unit, plate widths. Where the size hardly changes, the road does: it lies below the camera,
    so what moves down the picture comes near. None also when size and road contradict each other,
    and for what stood where it was first seen, and at most begins to move.

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
    growth = _growth(start, end)
    stood = _stood(path, start)
    least_moved = STILL_WIDTHS if stood else MIN_MOVED_WIDTHS
    if moved < least_moved and abs(growth) < (STILL_GROWTH if stood else MIN_GROWTH):
        return None
    across, nearer = _travelled(start, end, growth, frame_size)
    if abs(nearer) >= abs(across):
        down = dy_px / mean_width
        # What is within the noise of the corners contradicts nothing.
        unsure = MIN_GROWTH <= abs(growth) < SURE_GROWTH and abs(down) >= MIN_MOVED_WIDTHS
        if growth * down < 0.0 and unsure:
            return None
        label = "approaching" if nearer > 0.0 else "receding"
    else:
        label = "right" if across > 0.0 else "left"
    heading_deg = None
    if moved >= MIN_MOVED_WIDTHS:
        heading_deg = math.degrees(math.atan2(dx_px, -dy_px)) % 360.0
    return Direction(label=label, heading_deg=heading_deg)


def stands_still(path: Sequence[PathPoint]) -> bool:
    """Whether the plate has been in one place for the last STILL_S of its path, oldest first."""
    newest = path[-1]
    if newest.t_s - path[0].t_s < STILL_S:
        return False
    free_px = STILL_WIDTHS * newest.width_px
    there, oldest, points = (newest.x_px, newest.y_px), newest, 0
    for point in reversed(path):  # what moves was somewhere else a moment ago
        if newest.t_s - point.t_s > STILL_S:
            break
        if not math.dist((point.x_px, point.y_px), there) < free_px:
            return False
        oldest, points = point, points + 1
    grown = abs(math.log(newest.width_px / oldest.width_px))
    return points >= MIN_POINTS and grown <= STILL_GROWTH


def _stood(path: Sequence[PathPoint], start: PathPoint) -> bool:
    """Whether it stayed where it was first seen for nearly all of the path."""
    free_px = STOOD_WIDTHS * start.width_px
    there = sum(math.dist((p.x_px, p.y_px), (start.x_px, start.y_px)) <= free_px for p in path)
    return there >= STOOD_SHARE * len(path)


def _growth(start: PathPoint, end: PathPoint) -> float:
    """Change of the logarithm of the plate's size; 0 when it cannot be told.

    A car that turns changes its plate's width, and corners are least sure across the text, so
    neither side is believed alone, but the height is if the road says the same.
    """
    wider = math.log(end.width_px / start.width_px)
    higher = math.log(end.height_px / start.height_px)
    if wider * higher < 0.0 and min(abs(wider), abs(higher)) > TURNED:
        return higher if higher * (end.y_px - start.y_px) > 0.0 else 0.0
    return (wider + higher) / 2


def _travelled(
    start: PathPoint, end: PathPoint, growth: float, frame_size: tuple[int, int]
) -> tuple[float, float]:
    """How far to the right and how far towards the camera, in plate widths."""
    if abs(growth) < MIN_GROWTH:
        mean_width = (start.width_px + end.width_px) / 2
        down_px = end.y_px - start.y_px
        ahead_px = FOCAL_SHARE * frame_size[0] * growth
        nearer_px = math.hypot(DOWN_IS_NEARER * down_px, ahead_px)
        return (end.x_px - start.x_px) / mean_width, math.copysign(nearer_px, down_px) / mean_width
    # The width that the plate would have there if it faced the camera.
    facing_px = max(start.width_px, end.width_px / math.exp(growth))
    x1, y1, z1 = _in_widths(start, facing_px, frame_size)
    x2, y2, z2 = _in_widths(end, facing_px * math.exp(growth), frame_size)
    return x2 - x1, z1 - z2 + y2 - y1


def _middle(points: Sequence[PathPoint]) -> PathPoint:
    """The medians of a few points."""
    return PathPoint(
        t_s=median(p.t_s for p in points),
        x_px=median(p.x_px for p in points),
        y_px=median(p.y_px for p in points),
        width_px=median(p.width_px for p in points),
        height_px=median(p.height_px for p in points),
    )


def _in_widths(
    point: PathPoint, plate_px: float, frame_size: tuple[int, int]
) -> tuple[float, float, float]:
    """Right, down and away of the camera, in plate widths, by a pinhole of assumed focal length."""
    width_px, height_px = frame_size
    return (
        (point.x_px - width_px / 2) / plate_px,
        (point.y_px - height_px / 2) / plate_px,
        FOCAL_SHARE * width_px / plate_px,
    )
