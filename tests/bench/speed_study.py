"""How right speeds are, and how right they are about that: tables for RESULTS.md.

    python tests/bench/speed_study.py traffic --vehicles 100 [--seed 1]
    python tests/bench/speed_study.py calibration
    python tests/bench/speed_study.py rendered

`traffic` runs the pipeline on the detections of twenty simulated cameras; gates are left out, for
vehicles before them stand or creep. Its options change what is assumed of plates.
`calibration` clicks four corners of a road ever worse. `rendered` lets the real detector and reader
look at rendered clips.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from alprd.config import InferenceSettings
from alprd.core.speed import Refused, SpeedMeter, SpeedRules
from alprd.inference.models import load_models
from support.simulator_traffic import SimCamera, make_camera
from support.speed_rendered import passes
from support.speed_traffic import FASTEST_KMH, SLOWEST_KMH, Trial, summary, trials
from support.speed_trials import KMH, calibrated, random_pass, random_site

EXACT = (0.1, 0.001)
WORSE = ((0.1, 0.001), (1.0, 0.001), (2.0, 0.001), (4.0, 0.001), (0.1, 0.05), (2.0, 0.05))


UNIFORM_HEIGHTS_M = (0.35, 0.8)


def traffic(options: argparse.Namespace) -> None:
    """Acceptance figures of the whole pipeline."""
    found: list[Trial] = []
    for number in range(options.cameras):
        camera = make_camera(number, vehicles=options.vehicles, seed=options.seed)
        if camera.name.startswith("gate"):
            continue
        camera = assumed(camera, options)
        clicks = 1000 * (options.seed - 1) + number
        mine = trials(camera, seed=clicks, by_country=not options.heights_alone)
        mine = [t for t in mine if SLOWEST_KMH <= t.true_kmh <= FASTEST_KMH]
        found += mine
        say(f"| {camera.name} | {camera.scene.fps:.0f} | {summary(mine)} |")
    say(f"all: {summary(found)}")
    reasons = Counter(t.reason.split(" of ")[0] for t in found if t.reason)
    say(f"refused: {dict(reasons.most_common())}")


def assumed(camera: SimCamera, options: argparse.Namespace) -> SimCamera:
    """The camera before plates that hang and look as the options say."""
    flaws, vehicles = camera.scene.flaws, camera.scene.vehicles
    if options.width_sd is not None:
        flaws = replace(flaws, width_bias=options.width_sd)
    flaws = replace(flaws, width_off=options.too_wide)
    if options.uniform_heights:
        vehicles = tuple(
            replace(v, plate_height_m=random.Random(v.plate).uniform(*UNIFORM_HEIGHTS_M))  # noqa: S311
            for v in vehicles
        )
    return replace(camera, scene=replace(camera.scene, flaws=flaws, vehicles=vehicles))


def calibration(sites: int, passes: int) -> None:
    """What clicks and a tape that are off do to the error and to the standard error."""
    say("| clicks off by | tape off by | stderr, median | error, median | 95 % | within 2 stderr |")
    say("|---|---|---|---|---|---|")
    for click_px, tape_m in WORSE:
        rng = random.Random(1)  # noqa: S311 - the same in every run
        told = []
        for _ in range(sites):
            site = random_site(rng, rows=2, stretch_m=12.0)
            made = calibrated(site, rng, click_px=click_px, tape_m=tape_m, plate_error_m=0.01)
            meter = SpeedMeter(made, SpeedRules())
            for _ in range(passes):
                drive = random_pass(site, rng, plate_error_m=0.01)
                try:
                    found = meter.measured(drive.path, site.camera.size)
                except Refused:
                    continue
                true_m_s = drive.true_kmh(found.first_t_s, found.last_t_s) / KMH
                told.append((found.speed_m_s / true_m_s - 1.0, found.stderr_m_s / true_m_s))
        off, stderr = np.array(told).T
        say(
            f"| {click_px:g} px | {100 * tape_m:g} cm | {np.median(stderr):.2%} | "
            f"{np.median(np.abs(off)):.2%} | {np.quantile(np.abs(off), 0.95):.2%} | "
            f"{np.mean(np.abs(off) <= 2 * stderr):.1%} |"
        )


def rendered(streets: int) -> None:
    """Plates and speeds of rendered clips through the real models."""
    models = load_models(InferenceSettings())
    shares, inside, read, cars = [], [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(streets):
            for found in passes(number, models, Path(folder)):
                cars += 1
                true_kmh = KMH * abs(found.car.speed_mps)
                speed = None if found.event is None else found.event.speed
                read += found.event is not None
                if speed is not None:
                    shares.append(abs(speed.kmh / true_kmh - 1.0))
                    inside.append(abs(speed.kmh - true_kmh) <= 2.0 * speed.stderr_kmh)
                told = "none" if speed is None else f"{speed.kmh:.1f} +- {speed.stderr_kmh:.1f}"
                plate = "not read" if found.event is None else "read"
                say(f"street {number}: {found.car.text} {plate}, {true_kmh:.1f} km/h, told {told}")
    say(
        f"{cars} vehicles: plate right {read / cars:.1%}, speeds {len(shares)}, error median "
        f"{np.median(shares):.2%}, 95th percentile {np.quantile(shares, 0.95):.2%}, within two "
        f"standard errors {np.mean(inside):.1%}"
    )


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=("traffic", "calibration", "rendered"))
    parser.add_argument("--streets", type=int, default=8)
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--vehicles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the traffic and of the clicks")
    parser.add_argument("--heights-alone", action="store_true", help="no widths are known")
    parser.add_argument("--uniform-heights", action="store_true", help="0.35 to 0.8 m")
    parser.add_argument("--too-wide", type=float, default=0.0, help="share, of all plates")
    parser.add_argument("--width-sd", type=float, help="share, from plate to plate (0.02)")
    arguments = parser.parse_args()
    if arguments.study == "traffic":
        traffic(arguments)
    elif arguments.study == "rendered":
        rendered(arguments.streets)
    else:
        calibration(400, 4)


if __name__ == "__main__":
    main()
