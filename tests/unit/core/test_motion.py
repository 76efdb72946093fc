"""Where a vehicle went."""

from __future__ import annotations

import pytest

from alprd.core.motion import direction_of
from alprd.core.tracking import PathPoint

SIZE = (1280, 720)


def path(*points: tuple[float, float, float]) -> list[PathPoint]:
    return [
        PathPoint(t_s=i / 10, x_px=x, y_px=y, width_px=width)
        for i, (x, y, width) in enumerate(points)
    ]


def test_a_plate_that_grows_approaches_and_one_that_shrinks_recedes() -> None:
    growing = path(*((640 + i, 300 + 8 * i, 40 + 4 * i) for i in range(12)))
    towards, away = direction_of(growing, SIZE), direction_of(list(reversed(growing)), SIZE)
    assert towards is not None
    assert away is not None
    assert (towards.label, away.label) == ("approaching", "receding")
    assert towards.heading_deg == pytest.approx(173, abs=2)


def test_a_plate_that_crosses_goes_left_or_right() -> None:
    crossing = path(*((100 + 40 * i, 400, 80) for i in range(12)))
    right, left = direction_of(crossing, SIZE), direction_of(list(reversed(crossing)), SIZE)
    assert right is not None
    assert left is not None
    assert (right.label, right.heading_deg) == ("right", pytest.approx(90.0))
    assert (left.label, left.heading_deg) == ("left", pytest.approx(270.0))


def test_under_a_camera_that_looks_down_approaching_means_moving_down() -> None:
    down = direction_of(path(*((640, 100 + 40 * i, 60) for i in range(10))), SIZE)
    assert down is not None
    assert (down.label, down.heading_deg) == ("approaching", pytest.approx(180.0))


def test_a_car_that_drives_up_and_waits_keeps_the_direction_it_came_in() -> None:
    points = [(640, 300 + 20 * i, 40 + 6 * i) for i in range(8)] + [(640, 440, 82)] * 90
    waiting = direction_of(path(*points), SIZE)
    assert waiting is not None
    assert waiting.label == "approaching"


def test_a_plate_that_comes_straight_at_the_camera_has_no_heading_in_the_picture() -> None:
    straight = direction_of(path(*((640, 360, 40 + 5 * i) for i in range(10))), SIZE)
    assert straight is not None
    assert (straight.label, straight.heading_deg) == ("approaching", None)


def test_a_path_too_short_to_tell_has_no_direction() -> None:
    trembling = path(*((640 + (-1) ** i, 400 + (-1) ** (i // 2), 80) for i in range(50)))
    assert direction_of(trembling, SIZE) is None
    assert direction_of(trembling[:1], SIZE) is None
    assert direction_of([], SIZE) is None
