"""Where a vehicle went."""

from __future__ import annotations

import pytest

from alprd.core.motion import direction_of, stands_still
from alprd.core.tracking import PathPoint

SIZE = (1280, 720)


def path(*points: tuple[float, ...]) -> list[PathPoint]:
    """Points (x, y, width) of plates of European shape, or (x, y, width, height)."""
    return [
        PathPoint(t_s=i / 10, x_px=x, y_px=y, width_px=width, height_px=(*h, width / 4.7)[0])
        for i, (x, y, width, *h) in enumerate(points)
    ]


def label_of(*points: tuple[float, ...]) -> str | None:
    found = direction_of(path(*points), SIZE)
    return None if found is None else found.label


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


def test_a_car_that_turns_while_it_comes_near_approaches() -> None:
    turning = [(700 - 30 * i, 400 + 10 * i, 80 - i, 17 + 0.8 * i) for i in range(14)]
    assert label_of(*turning) == "approaching"
    assert label_of(*reversed(turning)) == "receding"


def test_a_car_that_rolls_forward_a_little_approaches_whatever_its_corners_do() -> None:
    rolling = [(515 - 3 * i, 678 + 2 * i, 117 + 0.5 * i, 29 - 0.3 * i) for i in range(15)]
    assert label_of(*rolling) == "approaching"


def test_a_road_that_slopes_a_little_is_still_side_on_traffic() -> None:
    assert label_of(*((100 + 40 * i, 400 + 8 * i, 80) for i in range(12))) == "right"


def test_a_size_and_a_road_that_contradict_each_other_tell_no_direction() -> None:
    assert label_of(*((600, 400 + 12 * i, 90 - 1.5 * i) for i in range(15))) is None


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


def test_a_truck_that_stood_and_only_begins_to_move_goes_nowhere_yet() -> None:
    """A plate 33 pixels wide, whose height trembles by two."""
    stood = [(49.0 + 2.0 * (i == 3), 433.0, 33.0, 13.3) for i in range(44)]
    starting = [(47.0, 434.4, 33.1, 13.0), (43.0, 434.5, 35.0, 16.0), (41.2, 434.8, 37.3, 17.4),
                (39.5, 434.7, 35.0, 17.3), (38.2, 434.7, 34.5, 17.2)]  # fmt: skip
    assert label_of(*stood, *starting) is None
    assert stands_still(path(*stood, *starting))
    gone = [(38.0 - 3.0 * i, 434.0 + i, 35.0, 14.0) for i in range(5)]
    assert label_of(*stood, *starting, *gone) is not None


def test_a_car_that_comes_up_for_a_moment_approaches_though_its_corners_tremble() -> None:
    """At the far edge for half a second; its size changes by less than the corners' noise."""
    assert label_of((518, 21, 30.0, 6.6), (518, 24, 31.0, 6.0), (518, 28, 30.5, 6.4),
                    (518, 32, 30.2, 6.2)) == "approaching"  # fmt: skip
