"""Things that look like plates and stay in sight: signs, lettering, plates too dirty to read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from alprd.core.types import Detection, PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import Seen, pipeline, show, standing
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


CAR = Detection(label="car", score=0.8, box=(500.0, 250.0, 700.0, 480.0))
ELSEWHERE = Detection(label="truck", score=0.8, box=(900.0, 100.0, 1200.0, 400.0))


def glimpse(reads: int, *, others: Sequence[Detection] = (), fps: float = 16.0) -> list[str]:
    """What is published of a plate surely read this often, in frames with other detections."""
    line = pipeline()
    events = show(line, 0.0, others=others)
    for i in range(1, 60):
        seen = standing(quality=0.99) if 8 <= i < 8 + reads else []
        events += show(line, i / fps, seen, others=others)
    return [e.plate for e in [*events, *line.finish()]]


def test_lettering_that_no_vehicle_carries_must_be_read_three_times_alike() -> None:
    assert glimpse(1, others=[ELSEWHERE]) == []
    assert glimpse(2, others=[ELSEWHERE]) == []
    assert glimpse(3, others=[ELSEWHERE]) == ["LS15EBC"]


def test_a_plate_on_a_vehicle_is_believed_when_it_was_read_once_or_twice() -> None:
    assert glimpse(1, others=[CAR]) == ["LS15EBC"]
    assert glimpse(2, others=[CAR]) == ["LS15EBC"]


def test_a_detector_that_knows_no_vehicles_is_not_asked_for_them() -> None:
    assert glimpse(1) == ["LS15EBC"]
    assert glimpse(2) == ["LS15EBC"]


def test_where_frames_are_few_a_plate_needs_no_vehicle() -> None:
    assert glimpse(2, others=[ELSEWHERE], fps=4.0) == ["LS15EBC"]
