"""alprd's trackers beside others, on the same simulated detections.

    pip install --group bench && python tests/bench/trackers.py [--vehicles 20] [--seed 1]

Three tables: plates and vehicles of 20 cameras (identity switches, lost passes), and the time per
frame with 5, 20 and 100 objects.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference_trackers import LOST_S, OTHERS, Box, Follower, Plates, Vehicles

from alprd.core.geometry import quad_box
from support.simulator_scene import observe
from support.simulator_score import Score, score
from support.simulator_traffic import SimCamera, cameras

CLEAR = 4
"""An object that was found so often must have an identity of its own."""

Seen = tuple[float, list[Box], list[tuple[int, str]]]
"""Time, boxes, and whose they are."""


def plates_of(camera: SimCamera) -> list[Seen]:
    frames = []
    for frame in observe(camera.scene):
        found = [p for p in frame.plates if p.found is not None]
        quads = [frame.recorded.objects[p.found].quad for p in found]
        boxes = [quad_box(quad) for quad in quads]
        frames.append((frame.recorded.t_s, boxes, [(p.vehicle, p.face) for p in found]))
    return frames


def vehicles_of(camera: SimCamera) -> list[Seen]:
    frames = []
    for frame in observe(camera.scene):
        found = [i for i, o in enumerate(frame.recorded.objects) if o.quad is None]
        boxes = [frame.recorded.objects[i].box for i in found]
        frames.append((frame.recorded.t_s, boxes, [(frame.owners[i], "") for i in found]))
    return frames


def judge(follower: Follower, frames: Sequence[Seen]) -> tuple[int, int, int]:
    """Identity switches, lost passes, passes."""
    switches, found = 0, Counter()
    last: dict[tuple[int, str], tuple[int, float]] = {}
    owners: dict[int, Counter[tuple[int, str]]] = {}
    for t_s, boxes, whose in frames:
        for who, told in zip(whose, follower.update(t_s, boxes), strict=True):
            found[who] += 1
            if told is None:
                continue
            before, since_s = last.get(who, (told, t_s))
            switches += before != told and t_s - since_s <= LOST_S
            last[who] = (told, t_s)
            owners.setdefault(told, Counter())[who] += 1
    passes = {who for who, count in found.items() if count >= CLEAR}
    told_of = {max(sorted(seen), key=lambda who: seen[who]) for seen in owners.values()}
    return switches, len(passes - told_of), len(passes)


def table(
    title: str,
    sets: Sequence[tuple[float, tuple[int, int], list[Seen]]],
    make: Mapping[str, Callable[..., Follower]],
) -> None:
    print(f"\n{title}\n\n| tracker | identity switches | lost passes |\n|---|---|---|")
    for name, build in make.items():
        results = [judge(build(fps, size), frames) for fps, size, frames in sets]
        switches, lost, passes = (sum(column) for column in zip(*results, strict=True))
        print(
            f"| {name} | {switches} ({100 * switches / passes:.2f} %) "
            f"| {lost} of {passes} ({100 * lost / passes:.2f} %) |",
            flush=True,
        )


def crowd(count: int, frames: int = 150, fps: float = 15.0) -> list[tuple[float, list[Box]]]:
    """So many boxes that drift through a picture; one in ten is missed."""
    rng = random.Random(count)  # noqa: S311 - the same in every run
    objects = [
        [rng.uniform(0, 1920), rng.uniform(0, 1080), rng.gauss(0, 150), rng.gauss(0, 60)]
        for _ in range(count)
    ]
    made = []
    for i in range(frames):
        boxes = []
        for x, y, vx, vy in objects:
            cx = (x + vx * i / fps + rng.gauss(0, 1.5)) % 1920
            cy = (y + vy * i / fps + rng.gauss(0, 1.5)) % 1080
            if rng.random() >= 0.1:
                boxes.append((cx - 30.0, cy - 7.0, cx + 30.0, cy + 7.0))
        made.append((i / fps, boxes))
    return made


def speed(make: Mapping[str, Callable[..., Follower]]) -> None:
    print(
        "\nMicroseconds a frame (median)\n\n| tracker | 5 | 20 | 100 objects |\n|---|---|---|---|"
    )
    crowds = [crowd(count) for count in (5, 20, 100)]
    for name, build in make.items():
        figures = []
        for frames in crowds:
            follower, took = build(15.0), []
            for t_s, boxes in frames:
                began = time.perf_counter_ns()
                follower.update(t_s, boxes)
                took.append(time.perf_counter_ns() - began)
            figures.append(f"{sorted(took)[len(took) // 2] / 1000:.0f}")
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


def packages() -> str:
    told = [f"Python {platform.python_version()}"]
    for name in ("numpy", "norfair", "supervision"):
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(f"no {name}")
    return ", ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=20, help="of each camera")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(packages())
    made = cameras(vehicles=args.vehicles, seed=args.seed)
    total = sum((score(camera) for camera in made), Score())
    plates = [(c.scene.fps, c.scene.camera.size, plates_of(c)) for c in made]
    table("Plates", plates, {"alprd, places alone": Plates, **OTHERS})
    print(
        f"| alprd, with reads and vehicles | {total.switches} "
        f"({100 * total.switches / total.expected:.2f} %) "
        f"| {total.lost} of {total.expected} ({100 * total.lost / total.expected:.2f} %) |"
    )
    vehicles = [(c.scene.fps, c.scene.camera.size, vehicles_of(c)) for c in made]
    table("Vehicles", vehicles, {"alprd": Vehicles, **OTHERS})
    speed({"alprd, plates": Plates, "alprd, vehicles": Vehicles, **OTHERS})


if __name__ == "__main__":
    main()
