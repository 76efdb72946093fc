"""Boxes, quadrilaterals and polygons in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alprd.core.types import BoxPx, PointPx

Quad = tuple[PointPx, PointPx, PointPx, PointPx]
"""Four corners in pixels, clockwise from the plate's own top left."""


def is_box(box: BoxPx) -> bool:
    """True for four finite numbers that enclose an area."""
    x1, y1, x2, y2 = box
    return all(map(math.isfinite, box)) and x2 > x1 and y2 > y1


def area(box: BoxPx) -> float:
    """Square pixels; 0 for a box turned inside out."""
    x1, y1, x2, y2 = box
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def overlap(a: BoxPx, b: BoxPx) -> float:
    """Square pixels that both boxes cover."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: BoxPx, b: BoxPx) -> float:
    """Intersection over union, 0..1."""
    both = overlap(a, b)
    union = area(a) + area(b) - both
    return both / union if union > 0.0 else 0.0


def covered(a: BoxPx, b: BoxPx) -> float:
    """The share of the smaller box that lies inside the other, 0..1."""
    smaller = min(area(a), area(b))
    return overlap(a, b) / smaller if smaller > 0.0 else 0.0


def box_quad(box: BoxPx) -> Quad:
    """The box's corners, clockwise from its top left."""
    x1, y1, x2, y2 = box
    return ((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def quad_box(quad: Quad) -> BoxPx:
    """The smallest upright box around the corners."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    return min(ax, bx, cx, dx), min(ay, by, cy, dy), max(ax, bx, cx, dx), max(ay, by, cy, dy)


def is_clockwise_convex(quad: Quad) -> bool:
    """True for finite corners of a convex shape that turns clockwise in the picture.

    A mirrored or self-crossing quadrilateral cannot be rectified into a readable crop.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    # Written out, for every plate of every frame comes by here. What is not finite makes a turn
    # that is none (NaN), or an infinite one. y grows downwards, so a clockwise turn has a positive
    # cross product.
    return (
        0.0 < (bx - ax) * (cy - by) - (by - ay) * (cx - bx) < math.inf
        and 0.0 < (cx - bx) * (dy - cy) - (cy - by) * (dx - cx) < math.inf
        and 0.0 < (dx - cx) * (ay - dy) - (dy - cy) * (ax - dx) < math.inf
        and 0.0 < (ax - dx) * (by - ay) - (ay - dy) * (bx - ax) < math.inf
    )


def quad_size(quad: Quad) -> tuple[float, float]:
    """Width along the text and height across it: means of opposite sides, pixels."""
    top_left, top_right, bottom_right, bottom_left = quad
    width_px = (math.dist(top_left, top_right) + math.dist(bottom_left, bottom_right)) / 2
    height_px = (math.dist(top_left, bottom_left) + math.dist(top_right, bottom_right)) / 2
    return width_px, height_px


def quad_centre(quad: Quad) -> PointPx:
    """The mean of the corners."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    return (ax + bx + cx + dx) / 4, (ay + by + cy + dy) / 4


def in_polygon(point: PointPx, polygon: Sequence[PointPx]) -> bool:
    """True when the point lies inside the polygon (even-odd rule)."""
    x, y = point
    inside = False
    for i, (x2, y2) in enumerate(polygon):
        x1, y1 = polygon[i - 1]
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside
