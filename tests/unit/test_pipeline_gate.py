"""Before a gate: a vehicle that waits is published soon, and then takes little time."""

from __future__ import annotations

import pytest

from alprd.core.types import PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import Seen, pipeline, show
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules
from support.simulation import times

STOPS_S = 2.0
"""The car drives up until then."""


def at_the_gate(t_s: float, text: str = "LS15EBC", **read: float | None) -> Seen:
    """A car that nears for two seconds and waits then."""
    near = min(t_s, STOPS_S) / STOPS_S
    return [(make_plate(600.0, 250.0 + 200.0 * near, 60.0 + 60.0 * near), make_read(text, **read))]


def first_event(
    line: CameraPipeline, *, until_s: float = 20.0, fps: float = 10.0, **read: float | None
) -> tuple[float, PlateEvent]:
    for t in times(0.0, until_s, fps):
        for event in show(line, t, at_the_gate(t, **read)):
            return t, event
    raise AssertionError("no event")


def test_a_vehicle_that_waits_and_is_surely_read_is_published_a_second_after_it_stopped() -> None:
    t_s, event = first_event(pipeline())
    assert STOPS_S + 0.5 <= t_s <= STOPS_S + 1.1
    assert event.direction is not None
    assert event.direction.label == "approaching"


def test_a_vehicle_that_waits_is_published_once() -> None:
    line = pipeline()
    events = [e for t in times(0.0, 30.0, 10.0) for e in show(line, t, at_the_gate(t))]
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]


def test_a_vehicle_that_is_not_surely_read_is_held_back_for_hold_s() -> None:
    t_s, event = first_event(pipeline(), quality=0.7, sure=0.7)
    assert event.confidence < 0.95
    assert t_s == pytest.approx(5.0, abs=0.11)


def test_a_vehicle_whose_direction_is_not_known_yet_is_held_back_for_hold_s() -> None:
    line = pipeline()
    events = [
        (t, e) for t in times(0.0, 8.0, 10.0) for e in show(line, t, [(make_plate(), make_read())])
    ]
    assert [t for t, _ in events] == [5.0]


def test_a_vehicle_that_is_still_on_its_way_is_held_back() -> None:
    line = pipeline()
    for t in times(0.0, 3.0, 10.0):
        plate = make_plate(600.0, 200.0 + 80.0 * t, 80.0)
        assert show(line, t, [(plate, make_read())]) == []
    assert len(line.finish()) == 1


def test_a_vehicle_is_not_published_while_its_place_may_be_anothers() -> None:
    line = pipeline()
    events: list[PlateEvent] = []
    for t in times(0.0, 3.2, 10.0):
        text = "LS15EBC" if t < 2.4 else f"{round(t * 10):02d}XXQQQ"
        events += show(line, t, at_the_gate(t, text))
    assert events == []


def test_a_shorter_hold_is_kept() -> None:
    assert first_event(pipeline(Rules(hold_s=0.5)))[0] == 0.5
