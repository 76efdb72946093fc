"""Passes before cameras that stall, on machines that are too slow, and while no frame comes."""

from __future__ import annotations

import pytest

from alprd.core.types import PlateEvent
from support.line import pipeline, run, show, standing
from support.plates_in_frames import make_plate, make_read
from support.simulation import times


@pytest.mark.parametrize("interval_s", [0.5, 1.9, 2.1, 2.5, 10.0])
def test_a_parked_car_is_one_event_however_far_apart_the_frames_come(interval_s: float) -> None:
    line = pipeline()
    events = run(line, 60.0, lambda _: standing(), fps=1.0 / interval_s)
    assert [e.plate for _, e in events] == ["LS15EBC"]
    assert line.finish() == []


def test_a_parked_car_missed_in_one_of_frames_far_apart_is_one_event() -> None:
    events = run(pipeline(), 60.0, lambda t: standing() if t % 10.0 else [], fps=0.4)
    assert [e.plate for _, e in events] == ["LS15EBC"]


def test_a_camera_that_stalls_before_a_waiting_car_gives_no_second_event() -> None:
    line = pipeline()
    events: list[PlateEvent] = []
    for t in times(0.0, 3.0, 10.0):
        events += show(line, t, standing())
    for t in (4.0, 4.5, 5.0, 20.0):
        events += line.tick(t)
    for t in times(20.5, 30.0, 10.0):
        events += show(line, t, standing())
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]


def test_what_was_in_sight_when_the_camera_stalled_is_published_after_merge_s() -> None:
    line = pipeline()
    run(line, 1.0, lambda _: standing())
    assert line.tick(2.8) == []
    assert [e.plate for e in line.tick(3.0)] == ["LS15EBC"]


def test_a_car_is_not_waited_for_longer_than_half_a_minute_without_frames() -> None:
    line = pipeline()
    run(line, 1.0, lambda _: standing())
    line.tick(29.0)
    assert len(line.tracks) == 1
    line.tick(31.0)
    assert line.tracks == ()
    line = pipeline()
    run(line, 1.0, lambda _: standing())
    assert [e.plate for e in show(line, 40.0, standing())] == ["LS15EBC"]
    assert [e.plate for e in line.finish()] == ["LS15EBC"]


def test_a_car_that_left_while_the_camera_stalled_gives_its_place_to_the_next_one() -> None:
    line = pipeline()
    run(line, 1.0, lambda _: standing("AB12CDE"))
    events = line.tick(3.5)
    for t in times(10.0, 16.0, 10.0):
        events += show(line, t, standing("34A36837"))
    assert [e.plate for e in events] == ["AB12CDE", "34A36837"]


def test_a_car_that_drives_on_after_frames_far_apart_is_the_same_pass() -> None:
    line = pipeline()
    events: list[PlateEvent] = []
    for t, y in ((0.0, 400.0), (2.5, 402.0), (5.0, 401.0), (7.5, 520.0)):
        events += show(line, t, [(make_plate(600.0, y), make_read())])
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]
