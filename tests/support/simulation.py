"""Cars with plates before a pinhole camera, as a detector and a reader would report them.

Nothing is rendered: the simulation makes noisy detections and reads, with misses and misreads. The
camera stands beside the lane, level, `camera_height_m` above the ground; z points away from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from alprd.core.plates import CONFUSABLE
from support.replay import RecordedFrame, RecordedObject, RecordedRead

START = datetime(2026, 11, 21, 9, 12, 0, tzinfo=timezone.utc)
FRAME_SIZE = (1280, 720)
FOCAL_PX = 1100.0
CAMERA_HEIGHT_M = 2.0
PLATE_HEIGHT_M = 0.5
PLATE_M = (0.52, 0.11)
CAR_M = (1.8, 1.5)

Place = tuple[float, float]
"""Metres: right of the camera, away from it."""


@dataclass(frozen=True, kw_only=True)
class Car:
    """A car with a plate.

    Attributes:
        plate: its true text.
        where: its place at a time, None when it is out of sight.
        misreads: share of the reads in which one character is wrong.
        misread_as: what misreads give; None for a look-alike at a random place.
        missed: share of the frames in which the plate is not found.
        kind: label of its detection; None for a detector without vehicles.
        doubled: whether the plate is reported twice, a little displaced.
        unreadable: whether nothing is ever read on it.
        turned: the cosine of the angle at which its plate is seen at a time.
    """

    plate: str
    where: Callable[[float], Place | None]
    misreads: float = 0.05
    misread_as: str | None = None
    missed: float = 0.05
    kind: str | None = "car"
    region: str | None = "GB"
    doubled: bool = False
    unreadable: bool = False
    turned: Callable[[float], float] = lambda _: 1.0


def drive(
    start: Place, speed_m_s: Place, *, begin_s: float, end_s: float
) -> Callable[[float], Place | None]:
    """A car at constant velocity, in sight from `begin_s` to `end_s`."""

    def where(t_s: float) -> Place | None:
        if not begin_s <= t_s < end_s:
            return None
        dt_s = t_s - begin_s
        return start[0] + speed_m_s[0] * dt_s, start[1] + speed_m_s[1] * dt_s

    return where


def drive_along(stops: Sequence[tuple[float, float, float]]) -> Callable[[float], Place | None]:
    """A car through (t_s, x_m, z_m), straight in between; in sight from the first to the last."""

    def where(t_s: float) -> Place | None:
        for (t0, x0, z0), (t1, x1, z1) in pairwise(stops):
            if t0 <= t_s < t1:
                share = (t_s - t0) / (t1 - t0)
                return x0 + share * (x1 - x0), z0 + share * (z1 - z0)
        return None

    return where


def simulate(
    cars: Sequence[Car],
    times_s: Sequence[float],
    *,
    seed: int,
    noise_px: float = 0.7,
    wall: Callable[[float], datetime] = lambda t_s: START + timedelta(seconds=t_s),
    size: tuple[int, int] = FRAME_SIZE,
) -> tuple[RecordedFrame, ...]:
    """What a detector and a reader report of the cars at the given times."""
    rng = random.Random(seed)  # noqa: S311 - noise that must be the same in every run
    return tuple(
        RecordedFrame(
            t_s=round(t_s, 6),
            at=wall(t_s),
            objects=tuple(
                o for car in cars for o in _seen(car, t_s, rng=rng, noise_px=noise_px, size=size)
            ),
        )
        for t_s in times_s
    )


def times(begin_s: float, end_s: float, fps: float) -> list[float]:
    """Times of frames, evenly spaced."""
    return [begin_s + i / fps for i in range(round((end_s - begin_s) * fps))]


def _seen(
    car: Car, t_s: float, *, rng: random.Random, noise_px: float, size: tuple[int, int]
) -> list[RecordedObject]:
    place = car.where(t_s)
    if place is None or place[1] < 1.0:
        return []
    x_m, z_m = place
    centre = _project(x_m, PLATE_HEIGHT_M, z_m, size)
    if not (0 <= centre[0] < size[0] and 0 <= centre[1] < size[1]):
        return []
    found = [_vehicle(car.kind, x_m, z_m, size)] if car.kind is not None else []
    if rng.random() < car.missed:
        return found
    width_px, height_px = (FOCAL_PX * side / z_m for side in PLATE_M)
    width_px *= car.turned(t_s)
    read = None if car.unreadable else _read(car, rng, width_px)
    found.append(
        _plate(centre, width_px, height_px, rng=rng, noise_px=noise_px, score=0.9, read=read)
    )
    if car.doubled:
        beside = (centre[0] + 0.08 * width_px, centre[1] - 0.05 * width_px)
        found.append(
            _plate(beside, width_px, height_px, rng=rng, noise_px=noise_px, score=0.6, read=read)
        )
    return found


def _project(x_m: float, height_m: float, z_m: float, size: tuple[int, int]) -> Place:
    return (
        size[0] / 2 + FOCAL_PX * x_m / z_m,
        size[1] / 3 + FOCAL_PX * (CAMERA_HEIGHT_M - height_m) / z_m,
    )


def _vehicle(kind: str, x_m: float, z_m: float, size: tuple[int, int]) -> RecordedObject:
    left, top = _project(x_m - CAR_M[0] / 2, CAR_M[1], z_m, size)
    right, bottom = _project(x_m + CAR_M[0] / 2, 0.0, z_m, size)
    box = tuple(round(value, 1) for value in (left, top, right, bottom))
    return RecordedObject(label=kind, score=0.85, box=box)


def _plate(
    centre: Place,
    width_px: float,
    height_px: float,
    *,
    rng: random.Random,
    noise_px: float,
    score: float,
    read: RecordedRead | None,
) -> RecordedObject:
    x, y = centre
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    quad = tuple(
        (
            round(x + sx * width_px / 2 + rng.gauss(0.0, noise_px), 1),
            round(y + sy * height_px / 2 + rng.gauss(0.0, noise_px / 3), 1),
        )
        for sx, sy in corners
    )
    return RecordedObject(label="plate", score=score, quad=quad, read=read)


def _read(car: Car, rng: random.Random, width_px: float) -> RecordedRead:
    # Small plates are read with less certainty.
    sure = min(0.985, max(0.35, 0.6 + width_px / 200.0))
    probs = [{c: round(min(0.999, sure + rng.uniform(0.0, 0.014)), 3)} for c in car.plate]
    text, quality = car.plate, round(min(0.97, sure), 3)
    if rng.random() < car.misreads:
        if car.misread_as is not None:
            text = car.misread_as
            probs = [{c: 0.93} for c in text]
        else:
            k = rng.randrange(len(text))
            group = next((g for g in CONFUSABLE if text[k] in g), "XK")
            wrong = rng.choice([c for c in group if c != text[k]])
            probs[k] = {wrong: 0.6, text[k]: 0.35}
            text = text[:k] + wrong + text[k + 1 :]
            quality = 0.5
    regions = () if car.region is None else ((car.region, 0.9),)
    return RecordedRead(
        text=text,
        probs=tuple(probs),
        quality=quality,
        regions=regions,
        sharpness=round(width_px * 2, 1),
    )
