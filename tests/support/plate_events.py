"""Vehicle passes for tests that only care about their way, not about their content."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from alprd.core.types import Candidate, PlateEvent

START = datetime(2026, 11, 21, 9, 0, 0, tzinfo=timezone.utc)


def plate_event(number: int, *, camera_id: str = "gate") -> PlateEvent:
    """The pass number `number`: its id, plate and times follow from the number."""
    seen = START + timedelta(seconds=number)
    plate = f"AB{number % 100:02d}CDE"
    return PlateEvent(
        event_id=f"01900000-0000-7000-8000-{number:012d}",
        camera_id=camera_id,
        plate=plate,
        confidence=0.97,
        char_confidences=(0.99,) * len(plate),
        candidates=(Candidate(plate=plate, confidence=0.97),),
        region=None,
        reads_count=5,
        reads_agreeing=4,
        first_seen=seen,
        last_seen=seen + timedelta(seconds=1),
        captured_at=seen,
        direction=None,
        speed=None,
        vehicle=None,
        quad=((10.0, 10.0), (110.0, 10.0), (110.0, 40.0), (10.0, 40.0)),
        frame_size=(1280, 720),
    )
