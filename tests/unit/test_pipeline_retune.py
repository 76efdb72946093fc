"""New settings for a camera that goes on: nothing is lost, nothing is published twice."""

from __future__ import annotations

from support.line import pipeline, run, show, standing
from support.plates_in_frames import make_frame, make_plate
from support.replay import Rules
from support.simulation import times

LEFT = ((0.0, 0.0), (0.4, 0.0), (0.4, 1.0), (0.0, 1.0))


def test_a_waiting_vehicle_that_has_its_event_gets_no_second_one() -> None:
    line = pipeline()
    events = [e for _, e in run(line, 8.0, lambda _: standing())]
    line.retune(Rules(hold_s=3.0), None)
    for t in times(8.0, 20.0, 10.0):
        events += show(line, t, standing())
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]


def test_a_vehicle_on_its_way_is_judged_by_the_new_settings() -> None:
    line = pipeline()
    assert run(line, 2.0, lambda _: standing()) == []
    line.retune(Rules(hold_s=3.0), None)
    events = [(t, e) for t in times(2.0, 4.0, 10.0) for e in show(line, t, standing())]
    assert [(round(t, 3), e.plate) for t, e in events] == [(3.0, "LS15EBC")]


def test_a_new_region_of_interest_holds_from_the_next_frame_on() -> None:
    line = pipeline()
    inside, outside = make_plate(300.0), make_plate(900.0)
    assert line.select(make_frame(), [inside, outside]) == [inside, outside]
    line.retune(Rules(), LEFT)
    assert line.select(make_frame(), [inside, outside]) == [inside]


def test_a_vehicle_that_a_new_region_of_interest_leaves_out_is_still_published() -> None:
    line = pipeline()
    run(line, 2.0, lambda _: standing())
    line.retune(Rules(), LEFT)
    events = [e for t in times(2.0, 6.0, 10.0) for e in show(line, t, standing())]
    assert [e.plate for e in events] == ["LS15EBC"]
