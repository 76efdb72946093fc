"""Twenty cameras and their traffic, random but the same for a seed.

Roads with vehicles that come and go, motorcycles between the lanes and posts in the way; roads that
run across the picture; gates with a queue that stops for up to minutes; junctions where one stream
crosses the other's place in the picture.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from alprd.core.types import PointPx
from support.simulator import (
    MOTORCYCLE_PLATE_M,
    PinholeCamera,
    Post,
    SimVehicle,
    Trip,
)
from support.simulator_scene import FOUND_PX, Flaws, Scene

LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
FPS = (5.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0)
FRAMES_IN_SIGHT = 9
"""Nobody sets up a camera past which vehicles drive in fewer frames."""

LANE_M = 3.5
NEAR_M = -8.0
"""Along the road vehicles begin and end below the camera, or where no plate is found any more."""

HEADWAY_S = 1.2
PLATE_HEIGHT_M, PLATE_HEIGHT_SPREAD_M = 0.55, 0.12
PLATE_HEIGHTS_M = (0.25, 1.0)


@dataclass(frozen=True, kw_only=True)
class SimCamera:
    """A scene, and a counting line in fractions of its picture.

    Attributes:
        name: what kind of place it is, and its number.
        scene: the camera and its traffic.
        line: two points in fractions of the picture.
        inwards: the direction across the line that counts as "in".
    """

    name: str
    scene: Scene
    line: tuple[PointPx, PointPx]
    inwards: str


def cameras(count: int = 20, *, vehicles: int = 100, seed: int = 1) -> list[SimCamera]:
    """The first `count` cameras, each with so many vehicles; every kind of place comes in turn."""
    return [make_camera(number, vehicles=vehicles, seed=seed) for number in range(count)]


def make_camera(
    number: int, *, vehicles: int, seed: int = 1, fps: float | None = None
) -> SimCamera:
    """One camera; `fps` instead of its own."""
    rng = random.Random(1000 * seed + number)  # noqa: S311 - the same in every run
    name, make = KINDS[number % len(KINDS)]
    made = make(rng, vehicles, fps or FPS[(3 * number) % len(FPS)])
    scene = replace(made.scene, seed=1000 * seed + number)
    return replace(made, name=f"{name}-{number}", scene=scene)


def plates(rng: random.Random, count: int) -> list[str]:
    """Texts that all differ; one in twenty is of the same fleet as the one before."""
    made: list[str] = []
    while len(made) < count:
        text = "".join(rng.choices(LETTERS, k=2)) + f"{rng.randrange(100):02}"
        text += "".join(rng.choices(LETTERS, k=3))
        if made and rng.random() < 0.05:
            text = made[-1][:-1] + rng.choice([c for c in LETTERS if c != made[-1][-1]])
        if text not in made:
            made.append(text)
    return made


def _road(rng: random.Random, count: int, fps: float) -> SimCamera:
    camera = _on_a_pole(rng, yaw_deg=rng.uniform(-20, 20), plate_px=rng.uniform(50, 80))
    lanes = [(-1.5, 180.0), (-0.5, 180.0), (0.5, 0.0), (1.5, 0.0)]
    vehicles = _stream(rng, camera, plates(rng, count), lanes, fps)
    posts = tuple(
        Post(place_m=(side * rng.uniform(2.0, 4.0), rng.uniform(5.0, 8.0)), width_m=0.25)
        for side in (-1, 1)
        if rng.random() < 0.5
    )
    return _scene(rng, camera, vehicles, fps, posts)


def _across(rng: random.Random, count: int, fps: float) -> SimCamera:
    yaw_deg = rng.choice((-1, 1)) * rng.uniform(52, 60)
    aim_m = rng.uniform(11, 14)
    camera = _on_a_pole(rng, yaw_deg=yaw_deg, plate_px=rng.uniform(90, 120), aim_m=aim_m)
    turn = math.radians(yaw_deg)
    # The road's middle passes through the point that the camera looks at.
    middle_m = math.sin(turn) * aim_m
    lanes = [(middle_m / LANE_M - 0.5, 180.0), (middle_m / LANE_M + 0.5, 0.0)]
    vehicles = _stream(rng, camera, plates(rng, count), lanes, fps, centre_m=math.cos(turn) * aim_m)
    made = _scene(rng, camera, vehicles, fps, ())
    return replace(made, line=((0.5, 0.0), (0.5, 1.0)), inwards="right")


def _gate(rng: random.Random, count: int, fps: float) -> SimCamera:
    aim_m = rng.uniform(7.0, 9.0)
    camera = _on_a_pole(
        rng, yaw_deg=rng.uniform(-15, 15), plate_px=110, aim_m=aim_m, height_m=rng.uniform(3, 4)
    )
    vehicles = []
    free_s, moved_s = 0.0, -20.0
    for number, text in enumerate(plates(rng, count)):
        waits_s = rng.choice((3.0, 6.0, 12.0)) if number % 25 else 120.0
        vehicle, free_s = _queueing(
            rng, number, text, gate_m=aim_m, free_s=free_s, moved_s=moved_s, waits_s=waits_s
        )
        moved_s = vehicle.trip.speeds[3][0]
        vehicles.append(vehicle)
    made = _scene(rng, camera, vehicles, fps, ())
    return replace(made, line=((0.0, 0.3), (1.0, 0.3)))


def _junction(rng: random.Random, count: int, fps: float) -> SimCamera:
    camera = _on_a_pole(rng, yaw_deg=rng.uniform(-8, 8), plate_px=65)
    texts = plates(rng, count)
    half = count // 2
    main = _stream(rng, camera, texts[:half], [(-0.5, 180.0), (0.5, 0.0)], fps)
    heading_deg = rng.choice((120.0, 240.0))
    across = _stream(
        rng, camera, texts[half:], [(0.0, heading_deg)], fps, centre_m=18.0, first_id=half
    )
    return _scene(rng, camera, [*main, *across], fps, ())


def _on_a_pole(
    rng: random.Random,
    *,
    yaw_deg: float,
    plate_px: float,
    aim_m: float | None = None,
    height_m: float | None = None,
) -> PinholeCamera:
    """A camera above the origin that sees a plate so wide where it looks."""
    height_m = rng.uniform(3.0, 8.0) if height_m is None else height_m
    aim_m = rng.uniform(14.0, 25.0) if aim_m is None else aim_m
    size = rng.choice(((1280, 720), (1920, 1080)))
    return PinholeCamera(
        position_m=(rng.uniform(-2.0, 2.0), 0.0, height_m),
        yaw_deg=yaw_deg,
        tilt_deg=math.degrees(math.atan2(height_m, aim_m)),
        focal_px=plate_px * math.hypot(aim_m, height_m) / 0.52,
        size=size,
        k1=rng.uniform(-0.15, 0.0),
        readout_s=rng.choice((0.0, 0.015, 0.03)),
    )


def _stream(
    rng: random.Random,
    camera: PinholeCamera,
    texts: Sequence[str],
    lanes: Sequence[tuple[float, float]],
    fps: float,
    *,
    centre_m: float | None = None,
    first_id: int = 0,
) -> list[SimVehicle]:
    """Vehicles on lanes (offset in lane widths, heading), none of which drives into another."""
    height_m = camera.position_m[2]
    aim_m = height_m / math.tan(math.radians(camera.tilt_deg)) if centre_m is None else centre_m
    half_m = 0.75 * camera.focal_px * 0.52 / 24.0 if centre_m is None else 14.0
    far_m = camera.focal_px * 0.52 / (FOUND_PX - 1.0)
    # Across the picture half of the way is out of it, or shows no plate.
    sight_m = half_m if centre_m is None else half_m / 2
    fastest = min(130 / 3.6, sight_m * fps / FRAMES_IN_SIGHT)
    free = [0.0] * len(lanes)
    left = [0.0] * len(lanes)
    vehicles = []
    for number, text in enumerate(texts):
        lane = rng.randrange(len(lanes))
        offset, heading_deg = lanes[lane]
        vehicle = _random_vehicle(rng, first_id + number, text, heading_deg)
        if vehicle.kind == "motorcycle":
            offset += rng.choice((-0.5, 0.5))
        speed = rng.uniform(10 / 3.6, max(fastest, 12 / 3.6))
        slope = rng.choice((0.0, 0.0, rng.uniform(-0.15, 0.15)))
        length_m = far_m - NEAR_M if centre_m is None else 2 * half_m + 20.0
        needs_s = length_m / (speed * (1.0 + slope / 2))
        begin_s = max(free[lane], left[lane] - needs_s) + HEADWAY_S + 12.0 / speed
        begin_s += rng.expovariate(1.0)
        heading = math.radians(heading_deg)
        middle_m = (far_m + NEAR_M) / 2 if centre_m is None else aim_m
        start = (
            offset * LANE_M * abs(math.cos(heading)) - math.sin(heading) * length_m / 2,
            middle_m - math.cos(heading) * length_m / 2,
        )
        speeds = ((begin_s, speed), (begin_s + needs_s, speed * (1.0 + slope)))
        trip = Trip(start_m=start, heading_deg=heading_deg, speeds=speeds)
        free[lane], left[lane] = begin_s, begin_s + needs_s + 12.0 / speed
        vehicles.append(replace(vehicle, trip=trip))
    return vehicles


def _queueing(
    rng: random.Random,
    number: int,
    text: str,
    *,
    gate_m: float,
    free_s: float,
    moved_s: float,
    waits_s: float,
) -> tuple[SimVehicle, float]:
    """A car that queues, waits before the gate and drives on; and when the gate is free again."""
    vehicle = _random_vehicle(rng, number, text, 180.0)
    vehicle = replace(vehicle, kind="car", size_m=(4.4, 1.8, 1.5), plates=("front",))
    reaches_s = free_s + 1.0  # the one before has left by then
    # It reaches the second place once the one before has gone on from there to the gate.
    queue_s = max(moved_s + 4.0, reaches_s - 4.0 - rng.uniform(0.0, 6.0))
    speeds = (
        (queue_s - 6.0, 4.0),
        (queue_s - 2.0, 4.0),
        (queue_s, 0.0),
        (reaches_s, 0.0),
        (reaches_s + 1.5, 4.0),
        (reaches_s + 3.0, 0.0),
        (reaches_s + 3.0 + waits_s, 0.0),
        (reaches_s + 6.0 + waits_s, 5.0),
        (reaches_s + 10.0 + waits_s, 5.0),
    )
    drives_m = 16.0 + 4.0 + 6.0
    trip = Trip(start_m=(0.0, gate_m + 2.2 + drives_m), heading_deg=180.0, speeds=speeds)
    return replace(vehicle, trip=trip), reaches_s + 4.5 + waits_s


def _random_vehicle(rng: random.Random, number: int, text: str, heading_deg: float) -> SimVehicle:
    still = Trip(start_m=(0.0, 0.0), heading_deg=heading_deg, speeds=((0.0, 0.0), (1.0, 0.0)))
    low_m, high_m = PLATE_HEIGHTS_M
    own = random.Random(text)  # noqa: S311 - the same in every run
    height_m = min(high_m, max(low_m, own.gauss(PLATE_HEIGHT_M, PLATE_HEIGHT_SPREAD_M)))
    kind = rng.choices(("car", "truck", "motorcycle"), (0.75, 0.13, 0.12))[0]
    vehicle = SimVehicle(id=number, plate=text, trip=still, kind=kind, plate_height_m=height_m)
    if kind == "truck":
        return replace(vehicle, size_m=(9.0, 2.5, 3.4))
    if kind == "motorcycle":
        return replace(
            vehicle, size_m=(2.1, 0.7, 1.5), plates=("rear",), plate_m=MOTORCYCLE_PLATE_M
        )
    return vehicle


def _scene(
    rng: random.Random,
    camera: PinholeCamera,
    vehicles: Sequence[SimVehicle],
    fps: float,
    posts: tuple[Post, ...],
) -> SimCamera:
    begin_s = min(v.trip.begin_s for v in vehicles)
    scene = Scene(
        camera=camera,
        vehicles=tuple(vehicles),
        fps=fps,
        begin_s=begin_s,
        end_s=max(v.trip.end_s for v in vehicles) + 4.0,
        posts=posts,
        flaws=Flaws(noise_px=rng.uniform(1.0, 2.0)),
    )
    return SimCamera(name="", scene=scene, line=((0.0, 0.55), (1.0, 0.55)), inwards="down")


KINDS: Sequence[tuple[str, Callable[[random.Random, int, float], SimCamera]]] = (
    ("road", _road),
    ("across", _across),
    ("road", _road),
    ("gate", _gate),
    ("junction", _junction),
)
