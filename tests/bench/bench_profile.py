"""What Python does in the thread that has the models, by function: for `alprd bench`'s frames.

    python tests/bench/bench_profile.py [--rate 1] [--batch 8] [--frames 3000] [--backend auto]

`own` is seconds of that thread's processor time; the profiler itself makes small functions look
slower than they are. With `--canned` no model is asked at all: what they found the first time is
handed out again, so that what is left is the daemon's own Python.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alprd.bench.measure import Case, run_round
from alprd.bench.pictures import Pictures, load_pictures
from alprd.config import InferenceSettings
from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.inference import thread
from alprd.inference.models import Models, load_models


class Canned:
    """Detector and reader that know the pictures already."""

    def __init__(self, models: Models, pictures: Pictures) -> None:
        self._found: dict[int, list[Detection]] = {}
        self._reads: dict[int, PlateRead] = {}
        for picture in (*pictures.positive, *pictures.negative):
            [found] = models.detector.detect([picture])
            self._found[picture.ctypes.data] = found
            for plate in (each for each in found if each.label == "plate"):
                [self._reads[picture.ctypes.data]] = models.reader.read([(picture, plate, 0.0)])

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        return [self._found[image.ctypes.data] for image in images]

    def read(self, plates: Sequence[tuple[FrameImage, Detection, float]]) -> list[PlateRead]:
        return [replace(self._reads[image.ctypes.data], t_s=t_s) for image, _, t_s in plates]


def main() -> None:
    """Measure without the profiler, then with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--detector", default="plate-detector")
    parser.add_argument("--engines-dir", type=Path, default=None)
    parser.add_argument("--canned", action="store_true")
    parser.add_argument("--lines", type=int, default=45)
    chosen = parser.parse_args()
    folder = {} if chosen.engines_dir is None else {"engines_dir": chosen.engines_dir}
    settings = InferenceSettings(
        backend=chosen.backend, detector=chosen.detector, max_batch=chosen.batch, **folder
    )
    case = Case(rate=chosen.rate, batch=chosen.batch, cameras=chosen.cameras, parallel=True)
    pictures = load_pictures(None, None)
    with load_models(settings) as models:
        used = models
        if chosen.canned:
            canned = Canned(models, pictures)
            used = replace(models, detector=canned, reader=canned)
        run_round(used, pictures, case, chosen.frames // 4, ask_gpu=None)
        for _ in range(3):
            found = run_round(used, pictures, case, chosen.frames, ask_gpu=None)
            print(
                f"rate {case.rate:g}, batch {found.frames / found.calls:.2f}: {found.fps:.0f} "
                f"frames/s, {1e6 * found.cpu_s / found.frames:.0f} us of processor a frame"
            )
        profile = cProfile.Profile(time.thread_time)
        run = thread.InferenceThread._run

        def profiled(self: thread.InferenceThread) -> None:
            profile.enable()
            run(self)
            profile.disable()

        thread.InferenceThread._run = profiled
        run_round(used, pictures, case, chosen.frames, ask_gpu=None)
    pstats.Stats(profile).sort_stats("tottime").print_stats(chosen.lines)


if __name__ == "__main__":
    main()
