"""A pipeline that is shown plates and what is read on each, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alprd.core.events import uuid7
from alprd.core.types import Detection, PlateEvent, PlateRead
from alprd.pipeline import CameraPipeline
from support.plates_in_frames import make_frame, make_plate, make_read
from support.replay import Rules, event_ids
from support.simulation import times

Seen = Sequence[tuple[Detection, PlateRead]]


def pipeline(
    rules: Rules | None = None, roi: list[tuple[float, float]] | None = None
) -> CameraPipeline:
    noise = event_ids()
    return CameraPipeline(
        "gate", rules or Rules(), roi, new_event_id=lambda at: uuid7(at, next(noise))
    )


def show(
    line: CameraPipeline, t_s: float, seen: Seen = (), *, others: Sequence[Detection] = ()
) -> list[PlateEvent]:
    """One frame with plates, what is read on each, and what else was detected."""
    frame, detections = make_frame(t_s), [*(d for d, _ in seen), *others]
    selected = line.select(frame, detections)
    reads = [next(r for d, r in seen if d is plate) for plate in selected]
    return line.step(frame, detections, reads)


def standing(text: str = "LS15EBC", x: float = 600.0, **read: float | None) -> Seen:
    return [(make_plate(x), make_read(text, **read))]


def run(
    line: CameraPipeline, until_s: float, what: Callable[[float], Seen], fps: float = 10.0
) -> list[tuple[float, PlateEvent]]:
    return [(t, e) for t in times(0.0, until_s, fps) for e in show(line, t, what(t))]
