"""Vehicles are followed by their boxes alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from alprd.core.types import Detection
from alprd.core.vehicles import (
    VehicleSeen,
    VehicleTrack,
    could_be_read,
    distinct_vehicles,
    follow_vehicles,
)
from support.plates_in_frames import START


def car(x: float, y: float = 400.0, width: float = 200.0, label: str = "car") -> Detection:
    w, h = width / 2, width / 2.6
    return Detection(label=label, score=0.8, box=(x - w, y - h, x + w, y + h))


def follow(frames: Sequence[tuple[float, Sequence[Detection]]]) -> list[list[int]]:
    """The ids of each frame's vehicles."""
    return [ids for ids, _ in _follow(frames)]


def _follow(
    frames: Sequence[tuple[float, Sequence[Detection]]],
) -> list[tuple[list[int], tuple[VehicleTrack, ...]]]:
    tracks: tuple[VehicleTrack, ...] = ()
    next_id, told = 1, []
    for t_s, found in frames:
        seen = [
            VehicleSeen(
                t_s=t_s,
                captured_at=START + timedelta(seconds=t_s),
                frame_size=(1280, 720),
                detection=each,
            )
            for each in found
        ]
        tracks, ids, next_id = follow_vehicles(tracks, seen, next_id)
        told.append((ids, tracks))
    return told


def test_a_vehicle_keeps_its_id_while_it_drives() -> None:
    assert follow([(i / 10, [car(300.0 + 40 * i)]) for i in range(10)]) == [[1]] * 10


def test_two_vehicles_that_cross_keep_their_ids() -> None:
    frames = [(i / 10, [car(300.0 + 40 * i), car(700.0 - 40 * i, 430.0)]) for i in range(11)]
    assert follow(frames) == [[1, 2]] * 11


def test_the_order_of_a_frames_vehicles_does_not_matter() -> None:
    frames = [(i / 10, [car(300.0 + 40 * i), car(700.0, 500.0)]) for i in range(5)]
    turned = [(t, list(reversed(found))) for t, found in frames]
    assert follow(turned) == [list(reversed(ids)) for ids in follow(frames)]


def test_a_vehicle_hidden_for_a_second_is_the_same_where_it_must_be_by_then() -> None:
    frames = [(i / 10, [car(200.0 + 20 * i)]) for i in (*range(5), *range(16, 20))]
    assert follow(frames) == [[1]] * 9


def test_the_next_car_does_not_inherit_a_vehicle_that_has_left() -> None:
    leaves = [(i / 10, [car(900.0 + 60 * i)]) for i in range(6)]
    comes = [(1.0 + i / 10, [car(100.0 + 60 * i)]) for i in range(3)]
    assert follow([*leaves, *comes]) == [*[[1]] * 6, *[[2]] * 3]


def test_a_vehicle_that_came_near_is_not_far_away_after_a_moment() -> None:
    comes = [(i / 10, [car(600.0, 400.0, 100.0 * 1.1**i)]) for i in range(9)]
    assert follow([*comes, (1.8, [car(600.0, 400.0, 100.0)])])[-1] == [2]


def at(*box: float) -> Detection:
    """A car whose box is cut off where the picture ends."""
    x1, y1, x2, y2 = box
    return Detection(label="car", score=0.8, box=(max(0.0, x1), max(0.0, y1), x2, min(720.0, y2)))


@pytest.mark.parametrize("turned", [False, True])
def test_a_vehicle_that_goes_out_does_not_come_in_again_nearer(*, turned: bool) -> None:
    goes = [(i / 10, at(180.0 - 60.0 * i, 40.0, 700.0 - 60.0 * i, 500.0)) for i in range(9)]
    comes = (1.2, at(-300.0, 220.0, 400.0, 800.0))
    told = [(t_s, [_turned(car) if turned else car]) for t_s, car in (*goes, comes)]
    assert follow(told) == [*[[1]] * 9, [2]]


def test_a_car_that_stands_at_the_edge_is_itself_again_once_another_has_passed_before_it() -> None:
    # What drives past hides it from the right to the left, and its box ends there.
    hidden = [(i / 10, at(0.0, 200.0, 400.0 - 60.0 * max(0, i), 520.0)) for i in range(-5, 4)]
    frames = [(t_s, [car]) for t_s, car in [*hidden, (0.6, at(0.0, 200.0, 400.0, 520.0))]]
    assert follow(frames) == [[1]] * 10


def _turned(car: Detection) -> Detection:
    """The same at the top edge instead of the left, in a picture as wide as it is high."""
    x1, y1, x2, y2 = car.box
    return Detection(label=car.label, score=car.score, box=(y1, x1, y2, x2))


def test_a_vehicle_found_as_car_and_truck_is_one() -> None:
    both = [car(300.0), car(304.0, label="truck")]
    assert distinct_vehicles(both) == both[:1]
    assert len(distinct_vehicles([car(300.0), car(500.0)])) == 2


def test_a_vehicles_type_is_what_it_was_mostly_taken_for() -> None:
    labels = ["car", "truck", "car"]
    frames = [(i / 10, [car(300.0, label=label)]) for i, label in enumerate(labels)]
    (track,) = _follow(frames)[-1][1]
    assert track.type == ("car", 1.6 / 3)


def test_only_a_vehicle_seen_long_and_near_could_have_been_read() -> None:
    near = _follow([(i / 10, [car(300.0)]) for i in range(6)])[-1][1][0]
    far = _follow([(i / 10, [car(300.0, width=60.0)]) for i in range(6)])[-1][1][0]
    brief = _follow([(i / 10, [car(300.0)]) for i in range(3)])[-1][1][0]
    assert could_be_read(near, 24.0)
    assert not could_be_read(far, 24.0)
    assert not could_be_read(brief, 24.0)
