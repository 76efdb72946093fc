"""Where the picture's edge cuts a vehicle's box off, and what that says of its way.

Of a box that is cut off on one side the other side alone tells how the vehicle moves: its centre
stays behind, and the place of what comes in next may be just there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from alprd.core.forecast import newest_of
from alprd.core.geometry import iou
from alprd.core.tracking import PathPoint
from alprd.core.types import BoxPx

EDGE_PX: Final = 2.0
EDGE_OFF: Final = 0.03
"""A box that ends so near to the picture's edge, or by this share of it, is cut off there."""

OUT_SPEED: Final = 0.7
BACK_SIZES: Final = 0.3
"""A vehicle whose inner side leaves by more than the speed, in sizes a second, does not bring it
back by more than these sizes."""

STOOD_IOU: Final = 0.6
"""Unless it stood there before: then something that drove past had hidden a part of it."""

LEFT, TOP, RIGHT, BOTTOM = range(4)


def cut_sides(box: BoxPx, frame_size: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether the box is cut off at the left, top, right and bottom."""
    (x1, y1, x2, y2), (width, height) = box, frame_size
    across, down = max(EDGE_PX, EDGE_OFF * (x2 - x1)), max(EDGE_PX, EDGE_OFF * (y2 - y1))
    return x1 <= across, y1 <= down, x2 >= width - across, y2 >= height - down


def comes_in_again(path: Sequence[PathPoint], frame_size: tuple[int, int], box: BoxPx) -> bool:
    """Whether a vehicle that was going out at an edge would have to have come back to be `box`.

    Args:
        path: its box's centre and size, oldest first.
        frame_size: of the picture.
        box: what might be the vehicle now.
    """
    last = box_of(path[-1])
    cut = cut_sides(last, frame_size)
    if True not in cut:
        return False
    size_px = math.sqrt(path[-1].width_px * path[-1].height_px)
    for edge in (LEFT, TOP, RIGHT, BOTTOM):
        inner = (edge + 2) % 4
        if not cut[edge] or cut[inner]:
            continue
        outwards = -1.0 if edge in {LEFT, TOP} else 1.0
        back_px = -outwards * (box[inner] - last[inner])
        if back_px <= BACK_SIZES * size_px:
            continue
        if outwards * _speed_px_s(path, inner) > OUT_SPEED * size_px:
            return not any(iou(box_of(point), box) >= STOOD_IOU for point in path)
    return False


def box_of(point: PathPoint) -> BoxPx:
    """The box of a vehicle's path point."""
    across, down = point.width_px / 2, point.height_px / 2
    return (point.x_px - across, point.y_px - down, point.x_px + across, point.y_px + down)


def _speed_px_s(path: Sequence[PathPoint], side: int) -> float:
    """How fast a side of the box moved last, to the right or down; 0 where that is not known."""
    points = newest_of(path)
    mean_s = sum(p.t_s for p in points) / len(points)
    spread = sum((p.t_s - mean_s) ** 2 for p in points)
    if spread <= 1e-9:
        return 0.0
    return sum((p.t_s - mean_s) * box_of(p)[side] for p in points) / spread
