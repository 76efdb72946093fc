"""The simulation that the tracker and the speed are measured against is itself right."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from alprd.core.geometry import is_clockwise_convex
from support.simulator import PinholeCamera, Post, SimVehicle, Trip
from support.simulator_scene import Scene, observe

CAMERA = PinholeCamera(position_m=(1.0, -2.0, 6.0), yaw_deg=20.0, tilt_deg=18.0, focal_px=1300.0)
TRIP = Trip(start_m=(3.0, 40.0), heading_deg=185.0, speeds=((0.0, 10.0), (2.0, 10.0), (4.0, 4.0)))


def test_points_are_projected_as_opencv_does() -> None:
    camera = PinholeCamera(
        position_m=(1.0, -2.0, 6.0), yaw_deg=20.0, tilt_deg=18.0, k1=-0.25, k2=0.05
    )
    points = np.array([[2.0, 15.0, 0.0], [6.0, 30.0, 0.5], [9.0, 22.0, 1.5]])
    shift = -camera.rotation @ np.array(camera.position_m)
    expected, _ = cv2.projectPoints(
        points,
        cv2.Rodrigues(camera.rotation)[0],
        shift,
        camera.intrinsics,
        np.array(camera.distortion),
    )
    assert camera.project(points) == pytest.approx(expected.reshape(-1, 2), abs=1e-6)


def test_the_matrix_projects_what_a_lens_without_distortion_does() -> None:
    points = np.array([[2.0, 15.0, 0.0], [6.0, 30.0, 0.5]])
    x, y, w = CAMERA.matrix @ np.column_stack([points, np.ones(2)]).T
    assert np.column_stack([x / w, y / w]) == pytest.approx(CAMERA.project(points))


def test_a_driven_distance_is_the_integral_of_the_speed() -> None:
    times = np.linspace(0.0, 4.0, 4001)
    speeds = [TRIP.speed_m_s(t) for t in times]
    summed = sum((a + b) / 2 * 0.001 for a, b in itertools.pairwise(speeds))
    assert TRIP.distance_m(4.0) == pytest.approx(summed, abs=1e-3)
    assert TRIP.distance_m(5.0) == pytest.approx(TRIP.distance_m(4.0) + 4.0)


def test_a_plate_that_faces_the_camera_is_clockwise_in_the_picture() -> None:
    vehicle = SimVehicle(id=1, plate="LS15EBC", trip=TRIP)
    quad = CAMERA.project(vehicle.plate_quad_m("front", 1.0))
    assert vehicle.facing("front", 1.0, CAMERA.position_m) > 0.9
    assert vehicle.facing("rear", 1.0, CAMERA.position_m) < -0.9
    assert is_clockwise_convex(tuple((float(x), float(y)) for x, y in quad))


def test_a_rolling_shutter_sees_low_rows_later() -> None:
    rolling = PinholeCamera(
        position_m=CAMERA.position_m, yaw_deg=20.0, tilt_deg=18.0, focal_px=1300.0, readout_s=0.03
    )
    vehicle = SimVehicle(id=1, plate="LS15EBC", trip=TRIP)

    def where(t_s: float) -> np.ndarray:
        return vehicle.plate_quad_m("front", t_s)

    seen = rolling.project_moving(where, 1.5)
    later_s = 0.03 * (float(seen[:, 1].mean()) / 720 - 0.5)
    assert seen == pytest.approx(CAMERA.project(where(1.5 + later_s)), abs=0.1)


def test_a_post_hides_what_is_behind_it() -> None:
    vehicle = SimVehicle(id=7, plate="LS15EBC", trip=TRIP)
    eye, plate = np.array(CAMERA.position_m), vehicle.plate_quad_m("front", 1.0).mean(axis=0)
    x, y, _ = (eye + plate) / 2
    assert Post(place_m=(x, y), width_m=0.5).hides(1.0, eye, plate)
    assert not Post(place_m=(x + 2.0, y), width_m=0.5).hides(1.0, eye, plate)
    assert not vehicle.hides(3.0, eye, vehicle.hull_m(3.0).max(axis=0) + 3.0)


def test_the_same_seed_gives_the_same_frames_and_every_object_has_an_owner() -> None:
    scene = Scene(
        camera=CAMERA,
        vehicles=(SimVehicle(id=7, plate="LS15EBC", trip=TRIP),),
        fps=15.0,
        begin_s=0.0,
        end_s=4.0,
        seed=3,
    )
    first, second = list(observe(scene)), list(observe(scene))
    assert [f.recorded for f in first] == [f.recorded for f in second]
    assert {owner for f in first for owner in f.owners} == {7}
    found = [p for f in first for p in f.plates if p.found is not None]
    seen = [p for f in first for p in f.plates]
    assert 0.8 < len(found) / len(seen) < 1.0
