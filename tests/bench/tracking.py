"""How right the tracking is about 2,000 simulated vehicles before 20 cameras.

    python tests/bench/tracking.py [--vehicles 100] [--cameras 20] [--seed 1] [--fps 5]

Prints one line per camera, every mistake, and the totals that RESULTS.md quotes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.simulator_score import Score, score
from support.simulator_traffic import make_camera


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=100, help="of each camera")
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fps", type=float, help="of all cameras; default: 5 to 30, each its own")
    args = parser.parse_args()
    total = Score()
    for number in range(args.cameras):
        camera = make_camera(number, vehicles=args.vehicles, seed=args.seed, fps=args.fps)
        began_s = time.perf_counter()
        found = score(camera)
        took_s = time.perf_counter() - began_s
        print(f"{camera.name:12} {camera.scene.fps:4.0f} fps {took_s:6.1f} s  {found}", flush=True)
        total += found
    for remark in total.remarks:
        print(" ", remark)
    print("total:", total)


if __name__ == "__main__":
    main()
