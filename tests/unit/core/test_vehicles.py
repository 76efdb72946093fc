"""Vehicles are followed by their boxes alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

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
