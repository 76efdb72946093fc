"""Boxes, quadrilaterals and polygons."""

from __future__ import annotations

import math

import pytest

from alprd.core.geometry import covered, in_polygon, iou, is_box, is_clockwise_convex, quad_size

SQUARE = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))


def test_a_quadrilateral_must_turn_clockwise_and_be_convex() -> None:
    a, b, c, d = SQUARE
    assert is_clockwise_convex(SQUARE)
    assert not is_clockwise_convex((d, c, b, a))  # mirrored
    assert not is_clockwise_convex((a, c, b, d))  # crosses itself
    assert not is_clockwise_convex((a, a, a, a))
    assert not is_clockwise_convex((a, b, (math.nan, 10.0), d))
    assert not is_clockwise_convex((a, b, (math.inf, 10.0), d))


def test_a_turned_plate_keeps_its_size() -> None:
    angle = math.radians(30)
    turn = [
        (x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle))
        for x, y in ((0, 0), (52, 0), (52, 11), (0, 11))
    ]
    assert quad_size((turn[0], turn[1], turn[2], turn[3])) == pytest.approx((52.0, 11.0))


def test_overlap_is_measured_against_the_union_and_the_smaller_box() -> None:
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert covered((0, 0, 10, 10), (2, 2, 4, 4)) == 1.0
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0
    assert iou((5, 5, 5, 5), (5, 5, 5, 5)) == 0.0


def test_a_box_needs_an_area_and_finite_numbers() -> None:
    assert is_box((0, 0, 1, 1))
    assert not is_box((1, 0, 1, 1))
    assert not is_box((2, 0, 1, 1))
    assert not is_box((0, 0, math.inf, 1))
    assert not is_box((0, 0, math.nan, 1))


def test_a_point_in_the_notch_of_a_polygon_lies_outside() -> None:
    notched = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0)]
    assert in_polygon((0.1, 0.5), notched)
    assert in_polygon((0.9, 0.5), notched)
    assert not in_polygon((0.5, 0.5), notched)
    assert not in_polygon((1.5, 0.5), notched)
