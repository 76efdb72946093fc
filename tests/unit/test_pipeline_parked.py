"""Passes before a parked vehicle, and vehicles whose box and plate come and go apart."""

from __future__ import annotations

import pytest

from alprd.core.types import Detection, PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import pipeline, show
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules
from support.simulation import times

PARKED = Detection(label="car", score=0.9, box=(450.0, 300.0, 830.0, 600.0))


def car(y: float, x: float = 600.0) -> Detection:
    box = (x - 150.0, y - 180.0, x + 150.0, y + 30.0)
    return Detection(label="car", score=0.8, box=box)


def pass_by(
    line: CameraPipeline, begin_s: float, text: str, *, own_box: bool, from_px: float = 0.0
) -> list[PlateEvent]:
    """A car drives past before the parked one in two seconds, from the left to the right."""
    events = []
    for t in times(0.0, 2.1, 10.0):
        x = 600.0 * t
        own = [Detection(label="car", score=0.8, box=(x - 220.0, 330.0, x + 220.0, 640.0))]
        plate = [(make_plate(x, 560.0, 80.0), make_read(text))] if x >= from_px else []
        events += show(line, begin_s + t, plate, others=[PARKED, *(own if own_box else [])])
    return events


def wait(line: CameraPipeline, begin_s: float, end_s: float, fps: float) -> list[PlateEvent]:
    return [e for t in times(begin_s, end_s, fps) for e in show(line, t, others=[PARKED])]


@pytest.mark.parametrize("from_px", [0.0, 460.0])
@pytest.mark.parametrize("own_box", [True, False])
def test_one_plate_three_times_past_a_parked_car_is_three_events(
    own_box: bool, from_px: float
) -> None:
    line = pipeline()
    events = wait(line, 0.0, 2.0, 10.0)
    for begin_s in (2.0, 122.0, 242.0):
        events += pass_by(line, begin_s, "LS15EBC", own_box=own_box, from_px=from_px)
        events += wait(line, begin_s + 2.1, begin_s + 120.0, 5.0)
    assert [e.plate for e in events] == ["LS15EBC"] * 3
    assert line.tracks == ()


def test_many_passers_before_a_parked_car_leave_few_tracks() -> None:
    line = pipeline()
    events: list[PlateEvent] = []
    for i in range(200):
        text = "".join("ABCDEFGHJK"[int(digit)] * 2 for digit in f"{i:03d}")
        events += pass_by(line, 6.0 * i, text, own_box=False, from_px=460.0)
        events += wait(line, 6.0 * i + 2.1, 6.0 * i + 6.0, 5.0)
    assert len(line.tracks) <= 1
    assert len(events) == 200


def test_plates_seen_for_a_moment_on_a_parked_car_end_once_there_are_many() -> None:
    line = pipeline()
    events: list[PlateEvent] = []
    for i in range(12):
        text = "ABCDEFGHJKLM"[i] * 6
        for t in times(6.0 * i, 6.0 * i + 0.5, 10.0):
            events += show(line, t, [(make_plate(640.0, 560.0), make_read(text))], others=[PARKED])
        events += wait(line, 6.0 * i + 0.5, 6.0 * i + 6.0, 5.0)
    assert len(line.tracks) <= 4
    assert sorted(e.plate[0] for e in [*events, *line.finish()]) == list("ABCDEFGHJKLM")


def test_a_parked_cars_own_plate_that_is_hidden_for_minutes_is_no_second_event() -> None:
    line = pipeline()
    own = [(make_plate(640.0, 560.0), make_read())]
    events = [e for t in times(0.0, 8.0, 10.0) for e in show(line, t, own, others=[PARKED])]
    events += wait(line, 8.0, 300.0, 5.0)
    for t in times(300.0, 308.0, 10.0):
        events += show(line, t, own, others=[PARKED])
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]


@pytest.mark.parametrize("missed", [1, 2, 3])
@pytest.mark.parametrize("fps", [10.0, 25.0])
def test_a_vehicle_whose_box_is_lost_before_its_plate_is_one_event(fps: float, missed: int) -> None:
    line = pipeline(Rules(publish_unread=True))
    events: list[PlateEvent] = []
    seen = list(times(0.0, 1.65, fps))
    for i, t in enumerate(seen):
        y = 200.0 + 300.0 * t
        others = [car(y)] if i < len(seen) - missed else []
        events += show(line, t, [(make_plate(600.0, y), make_read())], others=others)
    for t in times(1.65, 9.0, fps):
        events += show(line, t)
    assert [e.plate for e in events] == ["LS15EBC"]


@pytest.mark.parametrize(("hidden_s", "leap_px"), [(0.0, 150.0), (0.5, 250.0), (1.2, 250.0)])
def test_a_vehicle_that_is_taken_for_another_after_its_event_is_one_event(
    hidden_s: float, leap_px: float
) -> None:
    line = pipeline(Rules(publish_unread=True))
    events: list[PlateEvent] = []
    goes_s = 8.0 + hidden_s
    for t in times(0.0, goes_s + 9.0, 15.0):
        y = min(450.0, 200.0 + 150.0 * t)
        x = 500.0 if t < 8.0 else 500.0 + leap_px + 300.0 * (t - goes_s)
        if 8.0 <= t < goes_s or x >= 1250.0:
            events += show(line, t)
        else:
            events += show(line, t, [(make_plate(x, y), make_read())], others=[car(y, x=x)])
    assert [e.plate for e in events] == ["LS15EBC"]


def test_a_vehicle_without_a_plate_that_passes_a_misread_sign_still_has_its_event() -> None:
    line = pipeline(Rules(publish_unread=True))
    events: list[PlateEvent] = []
    for t in times(0.0, 30.0, 10.0):
        sign = [(make_plate(600.0, 500.0, 90.0), make_read("EX17" if t < 0.3 else "", quality=0.1))]
        driving = [car(200.0 + 200.0 * (t - 5.0))] if 5.0 <= t < 7.5 else []
        events += show(line, t, sign, others=driving)
    assert [e.plate for e in events] == [None]
