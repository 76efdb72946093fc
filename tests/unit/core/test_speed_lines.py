"""Speeds between two lines: right for what drives straight and steadily, refused for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from alprd.core.calibration import Calibration, CalibrationError, measure_of
from alprd.core.lens import Lens
from alprd.core.speed import SpeedMeter, SpeedRules
from alprd.core.tracking import PathPoint
from support.simulator import PinholeCamera

CAMERA = PinholeCamera(position_m=(1.0, 0.0, 5.0), yaw_deg=4.0, tilt_deg=14.0)
BENT = replace(CAMERA, k1=-0.3, k2=0.08)
LENS = Lens(focal_px=1400.0, centre_px=(640.0, 360.0), distortion=(-0.3, 0.08, 0.0, 0.0, 0.0))
ENDS = ((-3.0, 14.0), (3.0, 14.0), (-3.0, 24.0), (3.0, 24.0))
HEIGHT_M = 0.5
PLATE_M = 0.52
DISTANCE_M = 10.0

Place = tuple[float, float]


def lines(camera: PinholeCamera = CAMERA, ends: tuple[Place, ...] = ENDS,
          **changes: object) -> Calibration:  # fmt: skip
    a, b, c, d = ((float(x), float(y)) for x, y in camera.project_ground(ends))
    made = Calibration(
        frame_size=camera.size,
        lines=((a, b), (c, d)),
        distance_m=DISTANCE_M,
        plate_height_error_m=0.0,
        camera_height_m=5.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def seen(
    where: Callable[[float], Place],
    *,
    camera: PinholeCamera = CAMERA,
    fps: float = 15.0,
    noise_px: float = 0.7,
    until_s: float = 12.0,
) -> list[PathPoint]:
    """The path of a plate that is at (x, y) metres at a time."""
    rng = np.random.default_rng(1)
    path = []
    for i in range(int(until_s * fps)):
        t_s = i / fps
        x, y = where(t_s)
        if y > 30.0:
            break
        plate = np.array([[x + side * PLATE_M / 2, y, HEIGHT_M] for side in (-1, 0, 1)])
        left, centre, right = camera.project(plate)
        if not camera.sees((float(centre[0]), float(centre[1]))):
            continue
        off = rng.normal(0.0, noise_px, 2)
        path.append(
            PathPoint(
                t_s=100.0 + t_s,
                x_px=float(centre[0] + off[0]),
                y_px=float(centre[1] + off[1]),
                width_px=float(np.linalg.norm(right - left)),
                height_px=14.0,
            )
        )
    return path


def told(path: list[PathPoint], made: Calibration | None = None) -> tuple[float | None, str]:
    """The speed in km/h, and why there is none."""
    reasons: list[str] = []
    meter = SpeedMeter(made or lines(), SpeedRules(), on_refused=reasons.append)
    speed = meter.speed_of(path, CAMERA.size)
    return (None, reasons[0]) if speed is None else (speed.kmh, "")


def straight(t_s: float, *, x: float = -1.7, kmh: float = 36.0) -> Place:
    return x, 10.0 + kmh / 3.6 * t_s


def stopping(t_s: float) -> Place:
    return -1.7, 10.0 + 10.0 * min(t_s, max(0.8, t_s - 2.0))


def braking(t_s: float) -> Place:
    """From 50 to 6 km/h before half of the way, and on at that speed."""
    return -1.7, 10.0 + (14.0 * t_s if t_s < 0.5 else 7.0 + 1.8 * (t_s - 0.5))


def aslant(t_s: float) -> Place:
    return -2.6 + 0.3 * (8.0 * t_s), 10.0 + 8.0 * t_s


def swerving(t_s: float) -> Place:
    y = 10.0 + 8.0 * t_s
    # A plate half a metre up is seen on the lines at 12.6 and 21.6 m.
    return -2.3 + 4.0 * np.sin(np.pi * np.clip((y - 12.6) / 9.0, 0.0, 1.0)), y


def test_of_few_pictures_between_the_lines_no_speed_is_told() -> None:
    speed, reason = told(seen(lambda t: straight(t, kmh=60.0), fps=8.0))
    assert speed is None
    assert reason.startswith("too few pictures of it between the lines")


@pytest.mark.parametrize("kmh", [10.0, 36.0, 72.0])
@pytest.mark.parametrize("x", [-2.6, -1.7, 2.0])
def test_who_drives_straight_and_steadily_is_timed(kmh: float, x: float) -> None:
    speed, reason = told(seen(lambda t: straight(t, x=x, kmh=kmh)))
    assert speed == pytest.approx(kmh, rel=0.02), reason


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (stopping, "stopped, braked"),
        (braking, "stopped, braked"),
        (aslant, "aslant"),
        (swerving, "turned between the lines"),
        (lambda t: straight(t, x=5.5), "beside the ends"),
    ],
)
@pytest.mark.parametrize("fps", [8.0, 25.0])
def test_who_stops_turns_or_passes_beside_the_lines_has_no_speed(
    where: Callable[[float], Place], reason: str, fps: float
) -> None:
    speed, why = told(seen(where, fps=fps))
    assert speed is None
    assert reason in why


def test_the_ends_of_a_line_may_be_clicked_in_either_order() -> None:
    a, b, c, d = ENDS
    for ends in ((a, b, d, c), (b, a, c, d), (c, d, a, b), (d, c, a, b)):
        speed, reason = told(seen(straight), lines(ends=ends))
        assert speed == pytest.approx(36.0, rel=0.02), reason
        assert told(seen(lambda t: straight(t, x=5.5)), lines(ends=ends))[0] is None
        assert told(seen(swerving), lines(ends=ends))[0] is None


def test_lines_that_only_reach_across_the_picture_time_a_car_in_its_middle_all_the_same() -> None:
    """Nobody clicked ends that lie opposite each other; both lines are as long in the picture."""
    (_, y1), _, (_, y2), _ = CAMERA.project_ground(ENDS)
    wide = lines(lines=(((100.0, y1), (1180.0, y1)), ((100.0, y2), (1180.0, y2))))
    level = replace(CAMERA, yaw_deg=0.0, position_m=(0.0, 0.0, 5.0))
    speed, reason = told(seen(lambda t: straight(t, x=0.0), camera=level), wide)
    assert speed == pytest.approx(36.0, rel=0.05), reason


def test_lines_are_straightened_by_a_known_lens() -> None:
    speed, reason = told(seen(straight, camera=BENT), lines(BENT, lens=LENS))
    assert speed == pytest.approx(36.0, rel=0.02), reason


def test_a_lens_that_shows_no_ray_at_an_end_of_a_line_is_named() -> None:
    folding = Lens(focal_px=300.0, centre_px=(640.0, 360.0), distortion=(-0.5, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(CalibrationError, match="no ray for line end"):
        measure_of(lines(lens=folding))
