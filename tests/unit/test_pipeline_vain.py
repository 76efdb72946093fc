"""A plate that stands and cannot be read costs a reading now and then, not one in every frame."""

from __future__ import annotations

import random

import pytest

from alprd.core.types import Detection
from alprd.pipeline import CameraPipeline
from support.line import pipeline
from support.plates_in_frames import make_frame, make_plate, make_read
from support.simulation import times

FPS = 10.0


def attempts(
    line: CameraPipeline,
    begin_s: float,
    end_s: float,
    *,
    text: str = "AB12CDE",
    quality: float,
    sway_px: float = 2.0,
) -> tuple[int, list[str | None]]:
    """How often a trembling plate was selected, and what was published."""
    rng = random.Random(1)  # noqa: S311 - the same in every run
    tried, told = 0, []
    for t_s in times(begin_s, end_s, FPS):
        plate = make_plate(600.0 + rng.uniform(-sway_px, sway_px), 400.0)
        frame, found = make_frame(t_s), [plate]
        chosen: list[Detection] = line.select(frame, found)
        tried += len(chosen)
        reads = [make_read(text, sure=quality, quality=quality) for _ in chosen]
        told += [event.plate for event in line.step(frame, found, reads)]
    return tried, told


@pytest.mark.parametrize("sway_px", [0.0, 8.0])
@pytest.mark.parametrize(("text", "quality"), [("", 0.1), ("X", 0.2), ("AB12CDE", 0.3)])
def test_what_cannot_be_read_is_tried_twice_a_second(
    text: str, quality: float, sway_px: float
) -> None:
    line = pipeline()
    first, told = attempts(line, 0.0, 6.0, text=text, quality=quality, sway_px=sway_px)
    assert first >= 5.0 * FPS
    later, told_later = attempts(line, 6.0, 66.0, text=text, quality=quality, sway_px=sway_px)
    assert told + told_later == []
    assert later <= 2.5 * 60.0


def test_a_plate_that_can_be_read_at_last_is_published_soon() -> None:
    line = pipeline()
    attempts(line, 0.0, 60.0, quality=0.3)
    _, told = attempts(line, 60.0, 75.0, quality=0.99)
    assert told == ["AB12CDE"]


def test_a_vehicle_that_drives_by_is_read_in_every_frame() -> None:
    line = pipeline()
    tried = 0
    for t_s in times(0.0, 12.0, FPS):
        frame, found = make_frame(t_s), [make_plate(100.0 + 60.0 * t_s, 400.0)]
        chosen = line.select(frame, found)
        tried += len(chosen)
        line.step(frame, found, [make_read("", sure=0.1) for _ in chosen])
    assert tried == 120
