"""Simulated passes before simulated cameras, each calibrated as a person would, for speed alone.

A camera is calibrated from points on its road that were clicked and measured with errors; a pass is
the noisy path of a plate, as the tracker would give it, and the true mean speed of its stretch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alprd.core.calibration import Calibration
from alprd.core.tracking import PathPoint
from support.simulator import PinholeCamera, SimVehicle, Trip

KMH = 3.6


@dataclass(frozen=True, kw_only=True)
class Site:
    """A camera above a road, its frame rate and what was measured there.

    Attributes:
        near_m, far_m: where the measured stretch begins and ends, ahead of the camera.
        points_m: the measured points, truly.
        noise_px: of a plate's centre.
    """

    camera: PinholeCamera
    fps: float
    near_m: float
    far_m: float
    points_m: tuple[tuple[float, float], ...]
    noise_px: float
    jitter_s: float


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One vehicle's pass: what was seen, and its true speed over that."""

    path: tuple[PathPoint, ...]
    vehicle: SimVehicle

    def true_kmh(self, first_t_s: float, last_t_s: float) -> float:
        """The mean between two times."""
        trip = self.vehicle.trip
        way_m = trip.distance_m(last_t_s) - trip.distance_m(first_t_s)
        return KMH * way_m / (last_t_s - first_t_s)


def random_site(rng: random.Random, *, rows: int = 4, stretch_m: float = 28.0) -> Site:
    """A camera 3 to 8 m up, before a stretch of road with measured points on both its sides."""
    height_m = rng.uniform(3.0, 8.0)
    near_m = rng.uniform(1.6, 2.4) * height_m + 3.0
    far_m = near_m + stretch_m
    tilt_deg = float(np.degrees(np.arctan2(height_m, (near_m * far_m) ** 0.5))) + rng.uniform(-2, 2)
    size, focal_px = rng.choice([((1280, 720), 1400.0), ((1920, 1080), 2200.0)])
    camera = PinholeCamera(
        position_m=(rng.uniform(-4.0, 4.0), 0.0, height_m),
        yaw_deg=rng.uniform(-8.0, 8.0),
        tilt_deg=tilt_deg,
        focal_px=focal_px,
        size=size,
    )
    wanted = [
        (x, near_m + (far_m - near_m) * i / (rows - 1)) for i in range(rows) for x in (-3.5, 3.5)
    ]
    seen = camera.project_ground(wanted)
    points = [
        p for p, px in zip(wanted, seen, strict=True) if camera.sees((float(px[0]), float(px[1])))
    ]
    if len(points) < max(4, 2 * rows - 2):
        return random_site(rng, rows=rows, stretch_m=stretch_m)
    return Site(
        camera=camera,
        fps=rng.uniform(5.0, 30.0),
        near_m=near_m,
        far_m=far_m,
        points_m=tuple(points),
        noise_px=rng.uniform(1.0, 2.0),
        jitter_s=rng.uniform(0.0, 0.005),
    )


def calibrated(
    site: Site,
    rng: random.Random,
    *,
    click_px: float,
    tape_m: float,
    said_px: float | None = None,
    said_m: float | None = None,
    camera_height: bool = True,
    plate_error_m: float = 0.05,
) -> Calibration:
    """The site as somebody clicked and measured it, with those standard errors."""
    px = site.camera.project_ground(site.points_m)
    width, height = site.camera.size
    camera_m = site.camera.position_m[2] + rng.gauss(0.0, 0.1)
    return Calibration(
        frame_size=site.camera.size,
        points=tuple(
            (
                min(float(width), max(0.0, float(x) + rng.gauss(0.0, click_px))),
                min(float(height), max(0.0, float(y) + rng.gauss(0.0, click_px))),
            )
            for x, y in px
        ),
        metres=tuple(
            (x + rng.gauss(0.0, tape_m), y + rng.gauss(0.0, tape_m)) for x, y in site.points_m
        ),
        plate_height_error_m=plate_error_m,
        camera_height_m=camera_m if camera_height else None,
        error_px=click_px if said_px is None else said_px,
        error_m=tape_m if said_m is None else said_m,
    )


def random_pass(site: Site, rng: random.Random, *, plate_error_m: float = 0.05) -> Pass:
    """A car that comes or goes at 10 to 130 km/h, in its lane, sometimes braking or speeding up."""
    speed = rng.uniform(10.0, 130.0) / KMH
    away = rng.random() < 0.5
    room = site.far_m - site.near_m + 16.0
    took = room / speed
    change = rng.gauss(0.0, 0.5)
    last = max(0.7 * speed, speed + change * took)
    lane = rng.choice([-1.75, 1.75]) + rng.gauss(0.0, 0.2)
    start = site.near_m - 8.0 if away else site.far_m + 8.0
    vehicle = SimVehicle(
        id=1,
        plate="AB12CDE",
        trip=Trip(
            start_m=(lane, start),
            heading_deg=(0.0 if away else 180.0) + rng.gauss(0.0, 0.5),
            speeds=((0.0, speed), (took * 1.2, last)),
        ),
        plate_height_m=max(0.2, rng.gauss(0.5, plate_error_m)),
    )
    path = tuple(_seen(site, vehicle, "rear" if away else "front", rng))
    return Pass(path=path, vehicle=vehicle)


def _seen(site: Site, vehicle: SimVehicle, face: str, rng: random.Random) -> Iterator[PathPoint]:
    told_s, phase_s = -1.0, rng.random() / site.fps
    for i in range(int(vehicle.trip.end_s * site.fps)):
        t_s = phase_s + i / site.fps
        missed = rng.random() < 0.12
        quad = site.camera.project(vehicle.plate_quad_m(face, t_s))
        told_s = max(told_s + 1e-4, t_s + rng.gauss(0.0, site.jitter_s))
        inside = all(site.camera.sees((float(x), float(y))) for x, y in quad)
        width = float(np.linalg.norm(quad[1] - quad[0])) if inside else 0.0
        if missed or not inside or width < 12.0:
            continue
        x, y = quad.mean(axis=0)
        yield PathPoint(
            t_s=told_s,
            x_px=float(x) + rng.gauss(0.0, site.noise_px),
            y_px=float(y) + rng.gauss(0.0, site.noise_px),
            width_px=width,
            height_px=width / 4.7,
        )
