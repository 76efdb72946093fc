"""Speeds that a pipeline publishes of simulated traffic, beside the true ones.

Every camera is calibrated as a person would: a few places on its road are clicked with an error,
and measured with one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alprd.core.calibration import Calibration, CalibrationError, measure_of
from alprd.core.events import uuid7
from alprd.core.lens import Lens, undistorted
from alprd.core.speed import KMH, Measured, Refused, SpeedMeter, SpeedRules
from alprd.core.tracking import PathPoint
from alprd.core.types import Region, Speed
from alprd.pipeline import CameraPipeline
from support.replay import Rules, event_ids
from support.simulator import PinholeCamera, Trip
from support.simulator_score import score
from support.simulator_traffic import PLATE_HEIGHT_M, PLATE_HEIGHT_SPREAD_M, SimCamera

CLICKS = ((0.12, 0.5, 0.88), (0.3, 0.42, 0.6, 0.9))
"""Where in the picture places are looked for, as shares of its width and height."""

FARTHEST_M = 45.0
CLICK_PX, TAPE_M = 1.0, 0.02
SLOWEST_KMH, FASTEST_KMH = 10.0, 130.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One published pass: the true speed over the stretch that was measured, and what was told.

    `told_kmh` and `stderr_kmh` are None when the speed was refused, and the truth is then that of
    the whole pass.
    """

    camera: str
    true_kmh: float
    told_kmh: float | None
    stderr_kmh: float | None
    reason: str = ""


class _Listening(SpeedMeter):
    """A meter that remembers what it measured and refused, in the order of the events."""

    def __init__(self, calibration: Calibration) -> None:
        super().__init__(calibration, SpeedRules())
        self.told: list[Measured | str] = []

    def speed_of(
        self,
        path: Sequence[PathPoint],
        frame_size: tuple[int, int],
        region: Region | None = None,
    ) -> Speed | None:
        try:
            self.told.append(self.measured(path, frame_size, region))
        except Refused as reason:
            self.told.append(str(reason))
        return super().speed_of(path, frame_size, region)


def trials(camera: SimCamera, *, seed: int, by_country: bool = True) -> list[Trial]:
    """What a pipeline with a calibrated meter publishes of the camera's traffic."""
    rng = random.Random(seed)  # noqa: S311 - the same in every run
    meter = _Listening(clicked(camera.scene.camera, rng, by_country=by_country))
    noise = event_ids()
    published: list[str] = []

    def new_event_id(at: object) -> str:
        published.append(uuid7(at, next(noise)))  # type: ignore[arg-type]
        return published[-1]

    pipeline = CameraPipeline("gate", Rules(), None, new_event_id=new_event_id, speed=meter)
    found = score(camera, pipeline)
    told = dict(zip(published, meter.told, strict=True))
    return [
        _trial(camera, told[event.event_id], real.vehicle.trip, real.seen_s)
        for event, real in found.pairs
    ]


def _trial(
    camera: SimCamera, told: Measured | str, trip: Trip, seen_s: tuple[float, float]
) -> Trial:
    first_s, last_s = seen_s if isinstance(told, str) else (told.first_t_s, told.last_t_s)
    way_m = trip.distance_m(last_s) - trip.distance_m(first_s)
    true_kmh = KMH * way_m / max(last_s - first_s, 1e-6)
    if isinstance(told, str):
        return Trial(
            camera=camera.name, true_kmh=true_kmh, told_kmh=None, stderr_kmh=None, reason=told
        )
    return Trial(
        camera=camera.name,
        true_kmh=true_kmh,
        told_kmh=KMH * told.speed_m_s,
        stderr_kmh=KMH * told.stderr_m_s,
    )


def clicked(camera: PinholeCamera, rng: random.Random, *, by_country: bool) -> Calibration:
    """A calibration of what the camera sees of its road."""
    width, height = camera.size
    lens = Lens(
        focal_px=camera.focal_px, centre_px=(width / 2, height / 2), distortion=camera.distortion
    )
    wanted = np.array([(x * width, y * height) for y in CLICKS[1] for x in CLICKS[0]])
    places = on_ground(camera, undistorted(lens, wanted))
    near = [i for i, place in enumerate(places) if np.hypot(*place) <= FARTHEST_M]
    made = Calibration(
        frame_size=camera.size,
        points=tuple(_off(wanted[i], CLICK_PX, rng) for i in near),
        metres=tuple(_off(places[i], TAPE_M, rng) for i in near),
        lens=lens,
        plate_height_m=PLATE_HEIGHT_M,
        plate_height_error_m=PLATE_HEIGHT_SPREAD_M,
        plate_widths_m=None if by_country else (),
        readout_s=camera.readout_s,
        camera_height_m=camera.position_m[2] + rng.gauss(0.0, 0.1),
        error_px=CLICK_PX,
        error_m=TAPE_M,
    )
    try:
        measure_of(made)
    except CalibrationError as error:
        raise AssertionError(f"{camera} cannot be calibrated: {error}") from error
    return made


def _off(place: np.ndarray, error: float, rng: random.Random) -> tuple[float, float]:
    return float(place[0]) + rng.gauss(0.0, error), float(place[1]) + rng.gauss(0.0, error)


def on_ground(camera: PinholeCamera, points_px: np.ndarray) -> np.ndarray:
    """(N, 2) metres of what undistorted pixels show of the road; NaN above the horizon."""
    rays = np.column_stack([points_px, np.ones(len(points_px))])
    rays = rays @ np.linalg.inv(camera.intrinsics).T @ camera.rotation
    far = np.where(rays[:, 2] < 0.0, -camera.position_m[2] / rays[:, 2], np.nan)
    return np.array(camera.position_m)[:2] + far[:, None] * rays[:, :2]


def summary(found: Sequence[Trial]) -> str:
    """The figures of some trials in one line."""
    told = [t for t in found if t.told_kmh is not None and t.stderr_kmh is not None]
    errors = np.array([abs(t.told_kmh - t.true_kmh) / t.true_kmh for t in told])  # type: ignore[operator]
    inside = [abs(t.told_kmh - t.true_kmh) <= 2.0 * t.stderr_kmh for t in told]  # type: ignore[operator]
    return (
        f"{len(found)} passes: refused {1.0 - len(told) / max(1, len(found)):.1%}, error median "
        f"{np.median(errors):.2%}, 95th percentile {np.quantile(errors, 0.95):.2%}, within two "
        f"standard errors {np.mean(inside):.1%}"
    )
