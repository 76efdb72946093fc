"""Things that look like plates and stay in sight: signs, lettering, plates too dirty to read."""

from __future__ import annotations

from datetime import timedelta

from alprd.core.types import PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import Seen, pipeline, show
from support.plates_in_frames import START, make_plate, make_read
from support.simulation import times


def sign() -> Seen:
    """Found as a plate, never read."""
    return [(make_plate(640.0, 500.0, 90.0), make_read("", quality=0.05))]


def before_it(text: str) -> Seen:
    """A car that hides the sign."""
    return [(make_plate(640.0, 505.0, 95.0), make_read(text))]


def watch_sign(line: CameraPipeline, begin_s: float, end_s: float) -> list[PlateEvent]:
    return [e for t in times(begin_s, end_s, 2.0) for e in show(line, t, sign())]


def stop_before_it(line: CameraPipeline, text: str, begin_s: float) -> list[PlateEvent]:
    when = times(begin_s, begin_s + 30.0, 10.0)
    return [e for t in when for e in show(line, t, before_it(text))]


def test_a_car_before_a_sign_that_is_never_read_begins_its_pass_itself() -> None:
    line = pipeline()
    events = watch_sign(line, 0.0, 600.0)
    events += stop_before_it(line, "AB12CDE", 600.0)
    assert [e.plate for e in events] == ["AB12CDE"]
    assert events[0].first_seen >= START + timedelta(seconds=590)


def test_a_car_before_a_sign_that_was_misread_long_ago_begins_its_pass_itself() -> None:
    line = pipeline()
    events = watch_sign(line, 0.0, 100.0)
    events += show(line, 100.0, [(sign()[0][0], make_read("EX17", quality=0.3))])
    events += watch_sign(line, 100.5, 600.0)
    events += stop_before_it(line, "AB12CDE", 600.0)
    assert [e.plate for e in events] == ["AB12CDE"]
    assert events[0].first_seen >= START + timedelta(seconds=590)


def test_a_car_that_comes_again_and_stops_before_a_sign_is_a_second_pass() -> None:
    line = pipeline()
    events = watch_sign(line, 0.0, 10.0)
    for t in times(10.0, 13.0, 10.0):
        passing = (make_plate(200.0, 300.0 + 60.0 * (t - 10.0), 80.0), make_read())
        events += show(line, t, [*sign(), passing])
    events += watch_sign(line, 13.0, 600.0)
    events += stop_before_it(line, "LS15EBC", 600.0)
    assert [e.plate for e in events] == ["LS15EBC", "LS15EBC"]


def test_cars_past_a_sign_that_is_never_read_leave_nothing_behind() -> None:
    line = pipeline()
    published = 0
    kept: list[int] = []
    for car in range(120):
        for k in range(5):
            plate = make_plate(200.0, 300.0 + 40.0 * k, 80.0)
            seen = [*sign(), (plate, make_read(f"AB{car:03d}XY"))]
            published += len(show(line, 5.0 * car + 0.2 * k, seen))
        published += len(show(line, 5.0 * car + 3.0, sign()))
        published += len(show(line, 5.0 * car + 3.5, sign()))
        kept.append(line.passes_kept)
    assert published == 120
    assert max(kept) < 20
