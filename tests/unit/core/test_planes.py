"""The homography, its covariance and the camera's height, against a pinhole and chance."""

from __future__ import annotations

import numpy as np
import pytest

from alprd.core.planes import (
    PlaneError,
    camera_height_m,
    fit_plane,
    metres_per_px,
    to_metres,
    to_pixels,
)
from support.simulator import PinholeCamera

CAMERA = PinholeCamera(position_m=(2.0, 0.0, 6.0), yaw_deg=-7.0, tilt_deg=16.0)
ROAD = [(x, y) for y in (12.0, 19.0, 28.0) for x in (-3.5, 0.0, 3.5)]
STEP = np.array([[0.01, 0.0]])
ELSEWHERE = np.array([[1.0, 15.0], [-2.0, 25.0]])


@pytest.mark.parametrize("count", [4, 6, 9])
def test_points_without_error_give_the_road_exactly(count: int) -> None:
    known = [ROAD[i] for i in (0, 2, 6, 8, 4, 1, 3, 5, 7)][:count]
    plane = fit_plane(CAMERA.project_ground(known), np.array(known), error_px=1.0, error_m=0.02)
    px = CAMERA.project_ground([(x, y) for x, y in ELSEWHERE])
    assert to_metres(plane.matrix, px) == pytest.approx(ELSEWHERE, abs=1e-6)
    assert to_pixels(plane.matrix, ELSEWHERE) == pytest.approx(px, abs=1e-4)


def test_the_derivative_is_what_a_small_step_does() -> None:
    plane = fit_plane(CAMERA.project_ground(ROAD), np.array(ROAD), error_px=1.0, error_m=0.02)
    px = np.array([[700.0, 400.0]])
    step = to_metres(plane.matrix, px + STEP) - to_metres(plane.matrix, px - STEP)
    assert metres_per_px(plane.matrix, px)[0, :, 0] == pytest.approx(step[0] / 0.02, rel=1e-4)


@pytest.mark.parametrize("focal_px", [None, 1400.0])
def test_the_camera_hangs_where_it_hangs(focal_px: float | None) -> None:
    plane = fit_plane(CAMERA.project_ground(ROAD), np.array(ROAD), error_px=1.0, error_m=0.02)
    found = camera_height_m(plane.matrix, np.array([640.0, 360.0]), focal_px)
    assert found == pytest.approx(6.0, rel=1e-4)


@pytest.mark.parametrize("count", [4, 9])
def test_the_covariance_is_what_repeated_clicking_gives(count: int) -> None:
    rng = np.random.default_rng(1)
    known = np.array([ROAD[i] for i in (0, 2, 6, 8, 4, 1, 3, 5, 7)][:count])
    px, at = CAMERA.project_ground([(x, y) for x, y in known]), np.array([[700.0, 420.0]])
    true = fit_plane(px, known, error_px=1.5, error_m=0.03)
    placed = [
        to_metres(
            fit_plane(
                px + rng.normal(0.0, 1.5, px.shape),
                known + rng.normal(0.0, 0.03, known.shape),
                error_px=1.5,
                error_m=0.03,
            ).matrix,
            at,
        )[0]
        for _ in range(400)
    ]
    by_entry = np.zeros((2, 9))
    for i in range(9):
        step = np.zeros(9)
        step[i] = 1e-9
        moved = to_metres(true.matrix + step.reshape(3, 3), at) - to_metres(true.matrix, at)
        by_entry[:, i] = moved[0] / 1e-9
    promised = np.sqrt(np.diag(by_entry @ true.covariance @ by_entry.T))
    assert promised == pytest.approx(np.std(placed, axis=0), rel=0.15)


def test_points_on_one_line_determine_no_plane() -> None:
    line = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.1]])
    with pytest.raises(PlaneError):
        fit_plane(line * 100.0, line[::-1] ** 1.0, error_px=1.0, error_m=0.02)
