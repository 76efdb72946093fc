"""What a detector and a reader report of a simulated scene, with the truth beside it.

Noise, misses, misreads, dropped frames and the jitter of the time stamps come from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np

from alprd.core.plates import CONFUSABLE
from support.replay import RecordedFrame, RecordedObject, RecordedRead, Recording, Rules
from support.simulator import Floats, PinholeCamera, Point, Post, SimVehicle

START = datetime(2026, 11, 21, 9, 12, 0, tzinfo=timezone.utc)

LEAST_FACING = 0.3
"""A plate that is seen at a flatter angle than 72 degrees is not found."""

FOUND_PX = 12.0
"""A plate narrower than this is not found."""

READABLE_PX = 24.0
LEAST_VISIBLE = 0.35
"""A vehicle of which less than this is to be seen is not found."""


@dataclass(frozen=True, kw_only=True)
class Flaws:
    """What a detector, a reader and a network do to the truth.

    Attributes:
        noise_px: of a plate's place; its corners tremble against it by a third of that.
        missed: share of the objects that are not found in a frame.
        dropped: share of the frames that are lost.
        jitter_s: of the time stamps.
        misreads: share of the reads with a wrong character, of wide plates; of barely readable ones
            it is five times that.
        box_noise: of a vehicle's box, as a share of its sides.
        width_bias: of a plate's size, the same in all of a vehicle's pictures: plates have rims and
            frames, and a detector its own idea of where they end.
        width_off: of the size of all plates; above 0 for a detector that sees them too wide.
    """

    noise_px: float = 1.5
    missed: float = 0.1
    dropped: float = 0.02
    jitter_s: float = 0.003
    misreads: float = 0.04
    box_noise: float = 0.02
    width_bias: float = 0.02
    width_off: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A camera, what drives before it, and what stands in the way."""

    camera: PinholeCamera
    vehicles: tuple[SimVehicle, ...]
    fps: float
    begin_s: float
    end_s: float
    posts: tuple[Post, ...] = ()
    flaws: Flaws = Flaws()
    reports_vehicles: bool = True
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A plate as it really is in a frame, whether it was found or not.

    Attributes:
        vehicle: id of its vehicle.
        face: front or rear.
        quad_px: (4, 2) without noise.
        hidden: whether something stands before it.
        found: its place among the frame's objects; None when it was missed or hidden.
    """

    vehicle: int
    face: str
    quad_px: Floats
    hidden: bool
    found: int | None

    @property
    def centre_px(self) -> Point:
        x, y = self.quad_px.mean(axis=0)
        return float(x), float(y)

    @property
    def width_px(self) -> float:
        a, b, c, d = self.quad_px
        return float((np.linalg.norm(b - a) + np.linalg.norm(c - d)) / 2)


@dataclass(frozen=True, kw_only=True)
class SimFrame:
    """One frame: what is reported, and the truth.

    Attributes:
        recorded: time stamp with jitter, and the noisy objects; plates carry their read.
        true_t_s: when it was really taken.
        plates: every plate inside the picture and turned to the camera.
        owners: the vehicle's id of each recorded object.
    """

    recorded: RecordedFrame
    true_t_s: float
    plates: tuple[Truth, ...]
    owners: tuple[int, ...]


@dataclass
class _Frame:
    objects: list[RecordedObject] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    plates: list[Truth] = field(default_factory=list)


def observe(scene: Scene) -> Iterator[SimFrame]:
    """The scene's frames, in order."""
    rng = random.Random(scene.seed)  # noqa: S311 - noise that must be the same in every run
    told_t_s = -float("inf")
    for i in range(round((scene.end_s - scene.begin_s) * scene.fps)):
        t_s = scene.begin_s + i / scene.fps
        dropped, jitter_s = rng.random() < scene.flaws.dropped, rng.gauss(0.0, scene.flaws.jitter_s)
        if dropped:
            continue
        told_t_s = max(told_t_s + 1e-4, t_s + jitter_s)
        frame = _Frame()
        present = [v for v in scene.vehicles if v.trip.begin_s <= t_s < v.trip.end_s]
        for vehicle in present:
            _see(frame, vehicle, present=present, scene=scene, t_s=t_s, rng=rng)
        yield SimFrame(
            recorded=RecordedFrame(
                t_s=round(told_t_s, 6),
                at=START + timedelta(seconds=told_t_s),
                objects=tuple(frame.objects),
            ),
            true_t_s=t_s,
            plates=tuple(frame.plates),
            owners=tuple(frame.owners),
        )


def recording(
    scene: Scene, frames: Sequence[SimFrame], *, camera_id: str = "gate", rules: Rules | None = None
) -> Recording:
    """The frames as a recording that `support.replay` plays."""
    return Recording(
        camera_id=camera_id,
        frame_size=scene.camera.size,
        rules=rules or Rules(),
        frames=tuple(frame.recorded for frame in frames),
    )


def _see(
    frame: _Frame,
    vehicle: SimVehicle,
    *,
    present: Sequence[SimVehicle],
    scene: Scene,
    t_s: float,
    rng: random.Random,
) -> None:
    """Add what is seen of one vehicle."""
    camera = scene.camera
    others = [*scene.posts, *(v for v in present if v is not vehicle)]
    hull_px = camera.project_moving(vehicle.hull_m, t_s)
    if scene.reports_vehicles and not np.isnan(hull_px).any():
        box = _box(hull_px, camera)
        eye, hull_m = np.array(camera.position_m), vehicle.hull_m(t_s)
        # A car of which the roof is to be seen is found.
        hidden = all(
            any(o.hides(t_s, eye, point_m) for o in others)
            for point_m in (hull_m.mean(axis=0), hull_m[4:].mean(axis=0))
        )
        if box is not None and not hidden and rng.random() >= scene.flaws.missed:
            frame.objects.append(_vehicle(vehicle, box, scene.flaws, rng))
            frame.owners.append(vehicle.id)
    for face in vehicle.plates if vehicle.plate else ():
        _see_plate(frame, vehicle, face, others=others, scene=scene, t_s=t_s, rng=rng)


def _see_plate(
    frame: _Frame,
    vehicle: SimVehicle,
    face: str,
    *,
    others: Sequence[Post | SimVehicle],
    scene: Scene,
    t_s: float,
    rng: random.Random,
) -> None:
    camera = scene.camera
    if vehicle.facing(face, t_s, camera.position_m) < LEAST_FACING:
        return
    quad_px = camera.project_moving(lambda t: vehicle.plate_quad_m(face, t), t_s)
    if np.isnan(quad_px).any() or not all(camera.sees((x, y)) for x, y in quad_px):
        return
    eye, centre_m = np.array(camera.position_m), vehicle.plate_quad_m(face, t_s).mean(axis=0)
    hidden = any(o.hides(t_s, eye, centre_m) for o in others)
    truth = Truth(vehicle=vehicle.id, face=face, quad_px=quad_px, hidden=hidden, found=None)
    if truth.width_px < FOUND_PX:
        return
    if not hidden and rng.random() >= scene.flaws.missed:
        truth = Truth(
            vehicle=vehicle.id,
            face=face,
            quad_px=quad_px,
            hidden=False,
            found=len(frame.objects),
        )
        frame.objects.append(_plate(vehicle, truth, scene.flaws, rng))
        frame.owners.append(vehicle.id)
    frame.plates.append(truth)


def _box(hull_px: Floats, camera: PinholeCamera) -> tuple[float, float, float, float] | None:
    """The box around the part in the picture; None when too little of it is."""
    x1, y1 = hull_px.min(axis=0)
    x2, y2 = hull_px.max(axis=0)
    left, top = max(0.0, x1), max(0.0, y1)
    right, bottom = min(camera.size[0], x2), min(camera.size[1], y2)
    if right - left < 8.0 or bottom - top < 8.0:
        return None
    if (right - left) * (bottom - top) < LEAST_VISIBLE * (x2 - x1) * (y2 - y1):
        return None
    return float(left), float(top), float(right), float(bottom)


def _vehicle(
    vehicle: SimVehicle,
    box: tuple[float, float, float, float],
    flaws: Flaws,
    rng: random.Random,
) -> RecordedObject:
    x1, y1, x2, y2 = box
    noise = flaws.box_noise
    return RecordedObject(
        label=vehicle.kind,
        score=0.85,
        box=tuple(
            round(value + rng.gauss(0.0, max(flaws.noise_px, noise * side)), 1)
            for value, side in ((x1, x2 - x1), (y1, y2 - y1), (x2, x2 - x1), (y2, y2 - y1))
        ),
    )


def _plate(vehicle: SimVehicle, truth: Truth, flaws: Flaws, rng: random.Random) -> RecordedObject:
    dx, dy = rng.gauss(0.0, flaws.noise_px), rng.gauss(0.0, flaws.noise_px)
    corner = flaws.noise_px / 3
    # The height of a plate 20 px wide is 4 px: no detector is off by half of that.
    flat = min(corner, 0.05 * truth.width_px)
    own = random.Random(f"{vehicle.id} {vehicle.plate}")  # noqa: S311 - the same in every run
    size = 1.0 + own.gauss(flaws.width_off, flaws.width_bias)
    corners_px = truth.centre_px + size * (truth.quad_px - truth.centre_px)
    quad = tuple(
        (
            round(float(x) + dx + rng.gauss(0.0, corner), 2),
            round(float(y) + dy + rng.gauss(0.0, flat / 2), 2),
        )
        for x, y in corners_px
    )
    return RecordedObject(
        label="plate",
        score=round(rng.uniform(0.7, 0.95), 3),
        quad=quad,
        read=_read(vehicle.plate, truth.width_px, flaws, rng),
    )


def _read(plate: str, width_px: float, flaws: Flaws, rng: random.Random) -> RecordedRead:
    """What is read; small plates are read with less certainty, and more often wrongly."""
    sure = min(0.985, max(0.35, 0.6 + width_px / 200.0))
    probs = [{c: round(min(0.999, sure + rng.uniform(0.0, 0.014)), 3)} for c in plate]
    text, quality = plate, round(min(0.97, sure), 3)
    small = min(1.0, max(0.0, (60.0 - width_px) / (60.0 - READABLE_PX)))
    if rng.random() < flaws.misreads * (1.0 + 4.0 * small):
        k = rng.randrange(len(text))
        group = next((g for g in CONFUSABLE if text[k] in g), "XK")
        wrong = rng.choice([c for c in group if c != text[k]])
        probs[k] = {wrong: 0.6, text[k]: 0.35}
        text, quality = text[:k] + wrong + text[k + 1 :], 0.5
    return RecordedRead(
        text=text,
        probs=tuple(probs),
        quality=quality,
        regions=(("GB", 0.9),),
        sharpness=round(width_px * 2, 1),
    )
