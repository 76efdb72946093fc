"""Recorded detections and reads in, the events that a person would expect out."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support.payloads import problems_of
from support.replay import load, replay

CASES = Path(__file__).resolve().parent.parent / "data" / "replay"
SLACK_S = 1.2
"""A plate is found some frames after it came into sight and lost some before it leaves."""


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir() if p.is_dir()))
def test_a_recording_gives_the_events_that_a_person_expects(case: str) -> None:
    expected = json.loads((CASES / case / "expected.json").read_text())
    published = replay(load(CASES / case / "frames.jsonl"))

    assert [p.event.plate for p in published] == [e["plate"] for e in expected["events"]]
    assert len({p.event.event_id for p in published}) == len(published)
    for got, want in zip(published, expected["events"], strict=True):
        event = got.event
        assert problems_of(event) == []
        if want["by_s"] is not None:
            assert got.t_s <= want["by_s"]
        assert (event.direction and event.direction.label) == want["direction"]
        assert (event.vehicle and event.vehicle.type) == want["vehicle"]
        start = datetime.fromisoformat(expected["start"])
        start += timedelta(seconds=want["wall_shift_s"])
        first, last = ((t - start).total_seconds() for t in (event.first_seen, event.last_seen))
        assert first == pytest.approx(want["seen_s"][0], abs=SLACK_S)
        assert last == pytest.approx(want["seen_s"][1], abs=SLACK_S)
        assert event.first_seen <= event.captured_at <= event.last_seen
