"""The whole way on real clips, as `alprd recognize` shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from alprd.core.plates import edit_distance

CLIPS = Path(__file__).parents[2].parent / "shared" / "data" / "video"
LIMIT_S = 540
"""A clip takes 20 seconds of a core; one that many others use has taken ten times as long."""

pytestmark = [
    pytest.mark.once,
    pytest.mark.timeout(LIMIT_S + 60),
    pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips (shared/data) are not here"),
    pytest.mark.slow,
]


def plates_of(clip: str, cwd: Path) -> Counter[str]:
    """What one clip's passes read; run away from the tree, so that the installed alprd runs."""
    done = subprocess.run(
        [sys.executable, "-m", "alprd", "recognize", str(CLIPS / clip)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=True,
        timeout=LIMIT_S,
    )
    return Counter(json.loads(line)["plate"] for line in done.stdout.splitlines())


def test_an_approaching_car_is_reported_once_and_right(tmp_path: Path) -> None:
    plates = plates_of("uk-approach.mp4", tmp_path)
    assert plates.pop("LS15EBC") == 1
    # Two tiny plates stand far behind it: R298G?Y and YP61NE?.
    background = ("R298G", "YP61NE")
    assert all(any(edit_distance(p[: len(b)], b) <= 1 for b in background) for p in plates)


def test_a_toll_gates_plates_are_reported_once_and_never_the_overlay(tmp_path: Path) -> None:
    plates = plates_of("toll-gate.mp4", tmp_path)
    # The last one stands on a truck, 33 pixels wide.
    assert plates == Counter(["34A36837", "34A23126", "89C20339", "15C17174"])


def test_cars_from_above_without_readable_plates_give_nothing(tmp_path: Path) -> None:
    assert not plates_of("overhead.mp4", tmp_path)
