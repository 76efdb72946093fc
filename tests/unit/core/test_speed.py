"""Speeds from noise-free and noisy paths of simulated plates, and why some have none."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.core.calibration import Calibration, CalibrationError, measure_of
from alprd.core.lens import Lens, distorted, undistorted
from alprd.core.plate_sizes import WIDTHS_M, widths_of
from alprd.core.speed import SpeedMeter, SpeedRules
from alprd.core.tracking import PathPoint
from alprd.core.types import Region
from support.simulator import PinholeCamera

CAMERA = PinholeCamera(position_m=(1.0, 0.0, 5.0), yaw_deg=4.0, tilt_deg=14.0)
ROAD = tuple((x, y) for y in (12.0, 20.0, 30.0) for x in (-3.5, 3.5))
LENS = Lens(focal_px=1400.0, centre_px=(640.0, 360.0), distortion=(-0.3, 0.08, 0.0, 0.0, 0.0))


def calibration(camera: PinholeCamera = CAMERA, **changes: object) -> Calibration:
    px = camera.project_ground(ROAD)
    made = Calibration(
        frame_size=camera.size,
        points=tuple((float(x), float(y)) for x, y in px),
        metres=ROAD,
        camera_height_m=5.0,
        plate_height_error_m=0.0,
        camera_height_error_m=0.0,
        error_px=0.1,
        error_m=0.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def drive(
    kmh: float,
    *,
    camera: PinholeCamera = CAMERA,
    height_m: float = 0.5,
    fps: float = 15.0,
    braking: float = 0.0,
    turn: float = 0.0,
    start_m: float = 10.0,
    end_m: float = 32.0,
    noise_px: float = 0.0,
    seed: int = 1,
) -> list[PathPoint]:
    """The path of a plate that goes away from the camera, m/s2 and 1/m."""
    rng = random.Random(seed)  # noqa: S311 - noise that must be the same in every run
    path = []
    for i in range(2000):
        t_s = i / fps
        y = start_m + kmh / 3.6 * t_s - braking / 2 * t_s**2
        if y > end_m or kmh / 3.6 - braking * t_s < 0.0:
            break
        x = -1.7 + turn * (y - start_m) ** 2
        px = camera.project(np.array([[x, y, height_m]]))[0]
        if not camera.sees((float(px[0]), float(px[1]))):
            continue
        path.append(
            PathPoint(
                t_s=100.0 + t_s,
                x_px=float(px[0]) + rng.gauss(0.0, noise_px),
                y_px=float(px[1]) + rng.gauss(0.0, noise_px),
                width_px=60.0,
                height_px=14.0,
            )
        )
    return path


def meter(made: Calibration | None = None, **rules: object) -> tuple[SpeedMeter, list[str]]:
    reasons: list[str] = []
    found = SpeedMeter(
        made or calibration(),
        SpeedRules(**rules),  # type: ignore[arg-type]
        on_refused=reasons.append,
    )
    return found, reasons


@pytest.mark.parametrize("kmh", [10.0, 50.0, 130.0])
def test_a_plate_above_the_road_has_its_true_speed(kmh: float) -> None:
    speed = meter()[0].speed_of(drive(kmh), CAMERA.size)
    assert speed is not None
    assert speed.kmh == pytest.approx(kmh, rel=1e-3)


def test_a_pass_that_no_solver_takes_has_no_speed_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unsolvable(*_: object) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    found, reasons = meter()
    monkeypatch.setattr(found, "measured", unsolvable)
    assert found.speed_of(drive(50.0), CAMERA.size) is None
    assert reasons == ["its path cannot be solved for"]


def test_without_its_height_the_plate_would_seem_too_fast_by_what_geometry_says() -> None:
    flat = calibration(plate_height_m=0.0)
    speed = meter(flat)[0].speed_of(drive(50.0), CAMERA.size)
    assert speed is not None
    assert speed.kmh == pytest.approx(50.0 * 5.0 / 4.5, rel=1e-3)


def test_the_points_tell_how_high_the_camera_hangs() -> None:
    told = measure_of(calibration(camera_height_m=None))
    assert told.camera_height_m == pytest.approx(5.0, rel=1e-3)
    speed = meter(calibration(camera_height_m=None))[0].speed_of(drive(50.0), CAMERA.size)
    assert speed is not None
    assert speed.kmh == pytest.approx(50.0, rel=2e-3)


def test_a_known_lens_is_straightened() -> None:
    bent = replace(CAMERA, k1=-0.3, k2=0.08)
    path = drive(50.0, camera=bent)
    known = meter(calibration(bent, lens=LENS))[0].speed_of(path, CAMERA.size)
    assert known is not None
    assert known.kmh == pytest.approx(50.0, rel=1e-3)


def test_straightening_undoes_the_lens() -> None:
    px = np.array([[0.0, 0.0], [640.0, 360.0], [1279.0, 30.0], [200.0, 700.0]])
    assert undistorted(LENS, distorted(LENS, px)) == pytest.approx(px, abs=0.05)


def test_two_lines_a_known_distance_apart_time_a_plate() -> None:
    # Lines at the height of plates need no correction; those on the road need the camera's height.
    for height_m, plate_m in ((0.5, 0.0), (0.0, 0.5)):
        ends = CAMERA.project_ground(
            [(-3.0, 14.0), (3.0, 14.0), (-3.0, 24.0), (3.0, 24.0)], height_m=height_m
        )
        a, b, c, d = ((float(x), float(y)) for x, y in ends)
        lines = Calibration(
            frame_size=CAMERA.size,
            lines=((a, b), (c, d)),
            distance_m=10.0,
            plate_height_m=plate_m,
            plate_height_error_m=0.0,
            camera_height_m=5.0,
        )
        speed = meter(lines)[0].speed_of(drive(50.0), CAMERA.size)
        assert speed is not None
        assert speed.kmh == pytest.approx(50.0, rel=5e-3)
        assert abs(speed.kmh - 50.0) < 2.0 * speed.stderr_kmh


def test_a_stream_of_another_size_is_measured_alike_and_one_of_another_shape_is_refused() -> None:
    path = drive(50.0)
    half = [replace(p, x_px=p.x_px / 2, y_px=p.y_px / 2) for p in path]
    measuring, reasons = meter()
    speed = measuring.speed_of(half, (640, 360))
    assert speed is not None
    assert speed.kmh == pytest.approx(50.0, rel=1e-3)
    assert measuring.speed_of(path, (1280, 960)) is None
    assert "another shape" in reasons[-1]


def test_outliers_do_not_move_the_speed() -> None:
    path = drive(50.0, noise_px=0.5)
    for i in range(2, len(path), 6):
        path[i] = replace(path[i], x_px=path[i].x_px + 90.0, y_px=path[i].y_px - 40.0)
    speed = meter()[0].speed_of(path, CAMERA.size)
    assert speed is not None
    assert speed.kmh == pytest.approx(50.0, rel=0.02)


def test_frames_that_are_missing_do_not_matter() -> None:
    path = [p for i, p in enumerate(drive(50.0, noise_px=0.3)) if i % 3 != 1]
    speed = meter()[0].speed_of(path, CAMERA.size)
    assert speed is not None
    assert speed.kmh == pytest.approx(50.0, rel=0.02)


def test_a_mirrored_picture_gives_the_same_speed() -> None:
    made = calibration()
    mirrored = replace(made, points=tuple((1280.0 - x, y) for x, y in made.points))
    path = drive(50.0, noise_px=1.0)
    seen = [replace(p, x_px=1280.0 - p.x_px) for p in path]
    one, other = (
        meter(made)[0].speed_of(path, CAMERA.size),
        meter(mirrored)[0].speed_of(seen, CAMERA.size),
    )
    assert one is not None
    assert other is not None
    assert other.kmh == pytest.approx(one.kmh, rel=1e-6)
    assert other.stderr_kmh == pytest.approx(one.stderr_kmh, rel=1e-3)


def test_later_is_as_fast() -> None:
    path = drive(50.0, noise_px=1.0)
    later = [replace(p, t_s=p.t_s + 1e6) for p in path]
    one, other = (meter()[0].speed_of(p, CAMERA.size) for p in (path, later))
    assert one is not None
    assert other is not None
    assert other.kmh == pytest.approx(one.kmh, rel=1e-5)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ([], "only 0 of 0 points"),
        (drive(50.0)[:3], "points lie in the calibrated area"),
        (drive(50.0, start_m=38.0, end_m=80.0), "points lie in the calibrated area"),
        (drive(10.0, end_m=12.0), "shorter than 3 m"),
        (drive(40.0, braking=5.0), "braked or sped up"),
        (drive(50.0, turn=0.015), "turned"),
        ([replace(p, t_s=5.0) for p in drive(50.0)], "only 1 of 1 points"),
        (
            [
                replace(p, x_px=p.x_px + (-1) ** i * 70.0, y_px=p.y_px + (-1) ** (i // 2) * 70.0)
                for i, p in enumerate(drive(50.0))
            ],
            "",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_reason(path: list[PathPoint], reason: str) -> None:
    measuring, reasons = meter()
    assert measuring.speed_of(path, CAMERA.size) is None
    assert reason in reasons[0]


def test_a_limit_is_exceeded_only_when_the_lower_bound_exceeds_it() -> None:
    path = drive(52.0, noise_px=1.5)
    unsure = calibration(error_px=3.0, error_m=0.1, plate_height_error_m=0.1)
    for limit, made, expected in (
        (50.0, unsure, False),
        (50.0, calibration(), True),
        (60.0, calibration(), False),
        (40.0, unsure, True),
    ):
        speed = meter(made, limit=limit)[0].speed_of(path, CAMERA.size)
        assert speed is not None
        assert speed.speeding is expected
        assert speed.speeding is (speed.kmh - 2.0 * speed.stderr_kmh > limit)


def test_a_limit_in_miles_is_compared_in_miles() -> None:
    path = drive(56.0)
    speed = meter(unit="mph", limit=30.0)[0].speed_of(path, CAMERA.size)
    assert speed is not None
    assert speed.limit_kmh == pytest.approx(48.28, abs=0.01)
    assert speed.speeding is True
    without = meter()[0].speed_of(path, CAMERA.size)
    assert without is not None
    assert without.speeding is None


@pytest.mark.parametrize(
    "changes",
    [
        {"error_px": 2.0},
        {"error_m": 0.05},
        {"plate_height_error_m": 0.1},
        {"camera_height_error_m": 0.5},
    ],
)
def test_every_uncertainty_of_the_calibration_is_in_the_standard_error(
    changes: dict[str, float],
) -> None:
    path = drive(50.0)
    sure = meter()[0].speed_of(path, CAMERA.size)
    unsure = meter(calibration(**changes))[0].speed_of(path, CAMERA.size)
    assert sure is not None
    assert unsure is not None
    assert unsure.stderr_kmh > 1.2 * sure.stderr_kmh


def test_a_camera_that_looks_straight_down_must_be_told_its_height() -> None:
    down = Calibration(
        frame_size=(1000, 1000),
        points=((100.0, 100.0), (900.0, 100.0), (900.0, 900.0), (100.0, 900.0)),
        metres=((0.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0)),
    )
    with pytest.raises(CalibrationError, match="give camera_height_m"):
        measure_of(down)
    assert measure_of(replace(down, camera_height_m=6.0)).camera_height_m == 6.0


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
PATHS = st.lists(
    st.builds(
        PathPoint,
        t_s=st.one_of(NUMBERS, st.floats(0.0, 3.0)),
        x_px=st.one_of(NUMBERS, st.floats(-100.0, 1400.0)),
        y_px=st.one_of(NUMBERS, st.floats(-100.0, 800.0)),
        width_px=st.just(50.0),
        height_px=st.just(10.0),
    ),
    max_size=12,
)


def test_a_pass_beyond_where_two_lines_meet_has_no_speed() -> None:
    told: list[str] = []
    slanting = Calibration(
        frame_size=(1920, 1080),
        lines=(((200.0, 800.0), (900.0, 760.0)), ((250.0, 500.0), (900.0, 650.0))),
        distance_m=10.0,
        camera_height_m=5.0,
    )
    other_lane = [
        PathPoint(
            t_s=i / 25, x_px=1400.0 + 2 * i, y_px=300.0 + 20 * i, width_px=120.0, height_px=30.0
        )
        for i in range(38)
    ]
    made = SpeedMeter(slanting, SpeedRules(), on_refused=told.append)
    assert made.speed_of(other_lane, (1920, 1080)) is None
    assert told == ["it passed beside the ends of a line"]


PLACES = st.tuples(st.floats(0.0, 1280.0), st.floats(0.0, 720.0))


@settings(max_examples=60, deadline=None)
@given(PATHS, st.tuples(PLACES, PLACES), st.tuples(PLACES, PLACES))
def test_no_lines_whatever_raise(
    path: list[PathPoint],
    first: tuple[tuple[float, float], tuple[float, float]],
    second: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    lines = Calibration(
        frame_size=CAMERA.size, lines=(first, second), distance_m=10.0, camera_height_m=5.0
    )
    try:
        made = SpeedMeter(lines, SpeedRules())
    except CalibrationError:
        return
    speed = made.speed_of(path, CAMERA.size)
    assert speed is None or math.isfinite(speed.kmh)


@settings(max_examples=60, deadline=None)
@given(PATHS)
def test_no_path_whatever_raises(path: list[PathPoint]) -> None:
    ends = CAMERA.project_ground([(-3.0, 14.0), (3.0, 14.0), (-3.0, 24.0), (3.0, 24.0)])
    a, b, c, d = ((float(x), float(y)) for x, y in ends)
    lines = Calibration(
        frame_size=CAMERA.size, lines=((a, b), (c, d)), distance_m=10.0, camera_height_m=5.0
    )
    for made in (calibration(), lines, calibration(lens=LENS)):
        speed = meter(made)[0].speed_of(path, CAMERA.size)
        if speed is not None:
            assert math.isfinite(speed.kmh)
            assert math.isfinite(speed.stderr_kmh)
            assert speed.kmh > 0.0


def test_a_plate_of_known_width_tells_how_high_it_hangs() -> None:
    unsure = calibration(plate_height_error_m=0.15)
    known = replace(unsure, plate_widths_m=(0.52, 0.21), plate_width_error=0.005)
    for height_m, width_m in ((0.7, 0.52), (0.35, 0.52), (0.65, 0.21)):
        path = [
            replace(p, width_px=width_px(p, height_m, width_m))
            for p in drive(50.0, height_m=height_m)
        ]
        blind = meter(unsure)[0].speed_of(path, CAMERA.size)
        sighted = meter(known)[0].speed_of(path, CAMERA.size)
        assert blind is not None
        assert sighted is not None
        assert abs(sighted.kmh - 50.0) < 0.5 * abs(blind.kmh - 50.0)
        assert abs(sighted.kmh - 50.0) < 2.0 * sighted.stderr_kmh
        assert sighted.stderr_kmh < 0.5 * blind.stderr_kmh


def test_a_plate_that_fits_no_known_width_is_taken_to_hang_as_usual() -> None:
    known = calibration(plate_height_error_m=0.15, plate_widths_m=(0.52,), plate_width_error=0.005)
    path = [replace(p, width_px=width_px(p, 0.5, 0.33)) for p in drive(50.0)]
    speed = meter(known)[0].speed_of(path, CAMERA.size)
    assert speed is not None
    assert speed.kmh == pytest.approx(50.0, rel=2e-3)
    assert speed.stderr_kmh > 1.4


def test_the_rows_of_a_rolling_shutter_are_timed() -> None:
    rolling = replace(CAMERA, readout_s=0.03)
    # A plate at a row was seen there later than the middle row was exposed.
    path = [
        replace(p, t_s=p.t_s - 0.03 * (p.y_px / 720.0 - 0.5)) for p in drive(80.0, camera=rolling)
    ]
    blind = meter()[0].speed_of(path, CAMERA.size)
    timed = meter(calibration(readout_s=0.03))[0].speed_of(path, CAMERA.size)
    assert blind is not None
    assert timed is not None
    assert abs(blind.kmh - 80.0) > 0.5
    assert timed.kmh == pytest.approx(80.0, rel=1e-3)


def width_px(point: PathPoint, height_m: float, width_m: float) -> float:
    """How wide a plate across the road is seen at the place of a point."""
    share = np.linspace(10.0, 32.0, 2000)
    line = CAMERA.project(np.column_stack([np.full(2000, -1.7), share, np.full(2000, height_m)]))
    y_m = share[np.argmin(np.hypot(line[:, 0] - point.x_px, line[:, 1] - point.y_px))]
    ends = [(-1.7 - width_m / 2, y_m, height_m), (-1.7 + width_m / 2, y_m, height_m)]
    left, right = CAMERA.project(np.array(ends))
    return float(np.linalg.norm(right - left))


GB = Region(code="GB", confidence=0.97)


def speed_of(height_m: float, width_m: float, region: Region | None, **changes: object) -> float:
    path = [
        replace(p, width_px=width_px(p, height_m, width_m)) for p in drive(50.0, height_m=height_m)
    ]
    made = calibration(plate_height_error_m=0.15, **changes)
    found = SpeedMeter(made, SpeedRules()).speed_of(path, CAMERA.size, region)
    assert found is not None
    assert abs(found.kmh - 50.0) < 2.5 * found.stderr_kmh
    return found.kmh


@pytest.mark.parametrize(
    ("region", "width_m"),
    [(GB, 0.52), (GB, 0.229), (Region(code="US-CA", confidence=0.9), 0.305)],
)
def test_a_plate_of_a_known_country_is_measured_at_its_own_height(
    region: Region, width_m: float
) -> None:
    for height_m in (0.35, 0.75):
        blind, sighted = (speed_of(height_m, width_m, r) for r in (None, region))
        assert abs(sighted - 50.0) < 0.5 * abs(blind - 50.0)


def test_widths_that_are_given_count_for_every_country_and_none_for_none() -> None:
    blind = speed_of(0.75, 0.4, None)
    assert speed_of(0.75, 0.4, GB, plate_widths_m=()) == blind
    assert abs(speed_of(0.75, 0.4, GB, plate_widths_m=(0.4,)) - 50.0) < 0.5 * abs(blind - 50.0)


def test_an_unsure_country_tells_nothing() -> None:
    assert widths_of(None) == ()
    assert widths_of(replace(GB, confidence=0.6)) == ()
    assert widths_of(Region(code="ZZ", confidence=1.0)) == ()
    assert widths_of(Region(code="US-NY", confidence=0.9)) == WIDTHS_M["US"]


def test_widths_are_those_of_plates() -> None:
    for widths in WIDTHS_M.values():
        assert all(0.15 <= width <= 0.6 for width in widths)
        assert len(set(widths)) == len(widths)
