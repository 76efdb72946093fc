"""Plain stand-ins for what surrounds the inference thread: clock, frames, events."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import Frame, PlateEvent

AT = datetime(2026, 11, 21, 9, 12, 3, tzinfo=timezone.utc)


class FakeClock:
    """Monotonic seconds that pass when told."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def frame(
    camera_id: str = "gate",
    *,
    seq: int = 0,
    t_s: float = 0.0,
    image: NDArray[np.uint8] | None = None,
) -> Frame:
    """A frame, read-only as cameras deliver it."""
    picture = np.zeros((8, 8, 3), np.uint8) if image is None else image
    picture.setflags(write=False)
    return Frame(camera_id=camera_id, seq=seq, captured_at=AT, t_s=t_s, image=picture)


def event(plate: str, camera_id: str = "gate") -> PlateEvent:
    """A vehicle pass with nothing but its plate."""
    return PlateEvent(
        event_id=f"id-{plate}",
        camera_id=camera_id,
        plate=plate,
        confidence=0.9,
        char_confidences=(),
        candidates=(),
        region=None,
        reads_count=2,
        reads_agreeing=2,
        first_seen=AT,
        last_seen=AT,
        captured_at=AT,
        direction=None,
        speed=None,
        vehicle=None,
        quad=(),
        frame_size=(8, 8),
    )
