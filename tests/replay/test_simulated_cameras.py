"""Simulated vehicles before simulated cameras: identities, passes, directions, in and out.

A part of what `tests/bench/tracking.py` measures on 2,000 vehicles; here nothing may be wrong.
"""

from __future__ import annotations

import pytest

from support.simulator import PinholeCamera, Post, SimVehicle, Trip
from support.simulator_scene import Scene
from support.simulator_score import Score, score
from support.simulator_traffic import SimCamera, make_camera

pytestmark = pytest.mark.once

CAMERA = PinholeCamera(position_m=(0.0, 0.0, 6.0), tilt_deg=17.0, focal_px=2000.0)


def assert_all_right(found: Score, *, passes: int) -> None:
    wrong = (
        found.switches
        + found.lost
        + found.doubled
        + found.foreign
        + found.wrong_labels
        + found.wrong_zones
    )
    assert wrong == 0, "\n".join([str(found), *found.remarks])
    assert found.expected >= passes


@pytest.mark.parametrize(("number", "vehicles"), [(0, 12), (1, 12), (2, 12), (3, 5), (4, 12)])
def test_every_kind_of_place_is_told_without_a_mistake(number: int, vehicles: int) -> None:
    found = score(make_camera(number, vehicles=vehicles, seed=7))
    assert_all_right(found, passes=vehicles * 2 // 3)


@pytest.mark.parametrize("fps", [2.0, 60.0])
def test_a_road_is_told_at_few_and_at_many_frames_a_second(fps: float) -> None:
    assert_all_right(score(make_camera(2, vehicles=5, seed=5, fps=fps)), passes=3)


def drive(vehicles: tuple[SimVehicle, ...], *, until_s: float, **more: object) -> Score:
    scene = Scene(
        camera=CAMERA, vehicles=vehicles, fps=12.0, begin_s=0.0, end_s=until_s, seed=4, **more
    )
    line = ((0.0, 0.5), (1.0, 0.5))
    return score(SimCamera(name="test", scene=scene, line=line, inwards="down"))


def car(number: int, plate: str, trip: Trip, **more: object) -> SimVehicle:
    return SimVehicle(id=number, plate=plate, trip=trip, **more)


def approach(begin_s: float, *, lane_m: float = 0.0, speed_m_s: float = 8.0) -> Trip:
    speeds = ((begin_s, speed_m_s), (begin_s + 48.0 / speed_m_s, speed_m_s))
    return Trip(start_m=(lane_m, 50.0), heading_deg=180.0, speeds=speeds)


def test_a_car_behind_a_post_for_less_than_merge_s_is_one_pass() -> None:
    trip = Trip(start_m=(-12.0, 22.0), heading_deg=110.0, speeds=((0.0, 3.0), (7.0, 3.0)))
    post = Post(place_m=(0.0, 8.0), width_m=0.8)
    found = drive((car(1, "LS15EBC", trip),), until_s=10.0, posts=(post,))
    assert_all_right(found, passes=1)


def test_two_cars_that_cross_in_the_picture_keep_their_plates() -> None:
    crossing = Trip(start_m=(-9.0, 22.0), heading_deg=120.0, speeds=((0.0, 4.0), (6.0, 4.0)))
    vehicles = (
        car(1, "LS15EBC", approach(0.0)),
        car(2, "HK07RTV", crossing, plates=("front",)),
    )
    assert_all_right(drive(vehicles, until_s=10.0), passes=2)


def test_a_car_that_stops_for_three_minutes_is_one_pass() -> None:
    speeds = ((0.0, 8.0), (2.5, 8.0), (5.0, 0.0), (185.0, 0.0), (189.0, 8.0), (191.0, 8.0))
    trip = Trip(start_m=(0.0, 50.0), heading_deg=180.0, speeds=speeds)
    assert_all_right(drive((car(1, "LS15EBC", trip),), until_s=195.0), passes=1)


def test_a_motorcycle_between_two_cars_has_its_own_pass() -> None:
    def leave(begin_s: float, lane_m: float, speed_m_s: float) -> Trip:
        speeds = ((begin_s, speed_m_s), (begin_s + 55.0 / speed_m_s, speed_m_s))
        return Trip(start_m=(lane_m, -5.0), heading_deg=0.0, speeds=speeds)

    vehicles = (
        car(1, "LS15EBC", leave(0.0, -2.0, 6.0)),
        car(2, "HK07RTV", leave(0.2, 2.0, 6.0)),
        car(
            3,
            "MB64XYZ",
            leave(1.0, 0.0, 8.0),
            kind="motorcycle",
            size_m=(2.1, 0.7, 1.5),
            plates=("rear",),
            plate_m=(0.21, 0.16),
        ),
    )
    found = drive(vehicles, until_s=14.0)
    assert_all_right(found, passes=2)
    assert {event.plate for event, _ in found.pairs} == {"LS15EBC", "HK07RTV", "MB64XYZ"}


def test_a_plate_is_not_inherited_by_the_next_car_in_the_lane() -> None:
    vehicles = tuple(car(i, p, approach(2.2 * i)) for i, p in enumerate(("LS15EBC", "LS15EBD")))
    unread = car(2, "", approach(4.4))
    found = drive((*vehicles, unread, car(3, "HK07RTV", approach(6.6))), until_s=18.0)
    assert_all_right(found, passes=3)
