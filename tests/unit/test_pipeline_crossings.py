"""Lines are counted once per pass, at once; a wrong way is told also after the event."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alprd.config.counting import LineSettings
from alprd.core.counting import LineCount, Places
from alprd.core.events import uuid7
from alprd.core.types import Detection, PlateEvent, PlateRead
from alprd.pipeline import CameraPipeline
from support.line import show
from support.payloads import problems_of
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules, event_ids
from support.simulation import times

LINE = LineSettings(name="entrance", points=((0.0, 0.5), (1.0, 0.5)), allowed="in")
MIDDLE = 360.0

Seen = list[tuple[Detection, PlateRead]]


def new_pipeline(line: LineSettings = LINE) -> CameraPipeline:
    noise = event_ids()
    return CameraPipeline(
        "gate",
        Rules(),
        None,
        new_event_id=lambda at: uuid7(at, next(noise)),
        places=Places(lines=(line,)),
    )


def plates(*places: tuple[float, str]) -> Seen:
    return [(make_plate(600.0, y), make_read(text)) for y, text in places]


def watch(
    pipeline: CameraPipeline, seen: Callable[[float], Seen], until_s: float
) -> list[PlateEvent]:
    """Everything until whatever was there has been gone for a while."""
    events = []
    for t_s in times(0.0, until_s, 10.0):
        events += show(pipeline, t_s, seen(t_s))
    for t_s in times(until_s, until_s + 4.0, 10.0):
        events += show(pipeline, t_s)
    return events


def test_a_car_with_two_plates_is_counted_once() -> None:
    pipeline = new_pipeline()

    def front_and_rear(t_s: float) -> Seen:
        y = 200.0 + 120.0 * t_s
        return plates((y, "LS15EBC"), *([(y - 160.0, "LS15EBC")] if t_s > 1.0 else []))

    (event,) = watch(pipeline, front_and_rear, 4.0)
    assert event.direction is not None
    assert event.direction.zone == "in"
    assert pipeline.line_counts() == {"entrance": LineCount(inward=1)}


def test_a_car_that_is_lost_on_a_line_and_found_again_is_counted_once() -> None:
    pipeline = new_pipeline()

    def flickering(t_s: float) -> Seen:
        hidden = 1.6 < t_s < 3.2
        # Out of every gate, so that a new track begins.
        return [] if hidden else plates((200.0 + 120.0 * t_s, "LS15EBC"))

    watch(pipeline, flickering, 4.5)
    assert pipeline.line_counts() == {"entrance": LineCount(inward=1)}


def test_who_comes_in_goes_out_and_comes_in_again_is_counted_thrice() -> None:
    pipeline = new_pipeline()

    def to_and_fro(t_s: float) -> Seen:
        part = t_s % 4.0
        return plates((260.0 + 100.0 * (part if part < 2.0 else 4.0 - part), "LS15EBC"))

    watch(pipeline, to_and_fro, 6.0)
    assert pipeline.line_counts() == {"entrance": LineCount(inward=2, outward=1, wrong_way=1)}


def late(t_s: float) -> float:
    """Drives up, waits until its event is out, and goes on over the line."""
    return max(420.0, 600.0 - 150.0 * t_s) - 60.0 * max(0.0, t_s - 6.0)


def test_a_crossing_is_counted_at_once_not_when_the_pass_ends() -> None:
    pipeline = new_pipeline()
    for t_s in times(0.0, 8.0, 10.0):
        show(pipeline, t_s, plates((late(t_s), "LS15EBC")))
    assert len(pipeline.tracks) == 1
    assert pipeline.line_counts() == {"entrance": LineCount(outward=1, wrong_way=1)}


def test_a_wrong_way_after_the_event_is_told_by_a_second_one_that_continues_it() -> None:
    pipeline = new_pipeline()
    first, second = watch(pipeline, lambda t: plates((late(t), "LS15EBC")), 9.0)
    assert (first.wrong_way, first.continues) == (None, None)
    assert (second.wrong_way, second.continues) == (True, first.event_id)
    assert second.event_id != first.event_id
    assert second.plate == first.plate
    (crossing,) = second.crossings
    assert (crossing.label, crossing.wrong_way) == ("out", True)
    assert problems_of(first) == problems_of(second) == []
    assert pipeline.line_counts() == {"entrance": LineCount(outward=1, wrong_way=1)}


def test_a_wrong_way_is_told_once_per_line_however_often_it_is_repeated() -> None:
    pipeline = new_pipeline()

    def repeated(t_s: float) -> Seen:
        part = max(0.0, t_s - 6.0) % 4.0
        y = max(420.0, 600.0 - 150.0 * t_s) - 80.0 * (part if part < 2.0 else 4.0 - part)
        return plates((y, "LS15EBC"))

    events = watch(pipeline, repeated, 15.0)
    assert [event.continues is None for event in events] == [True, False]
    assert pipeline.line_counts()["entrance"].wrong_way > 1


@pytest.mark.parametrize("allowed", ["out", "both"])
def test_the_right_way_after_the_event_is_only_counted(allowed: str) -> None:
    pipeline = new_pipeline(LINE.model_copy(update={"allowed": allowed}))
    (event,) = watch(pipeline, lambda t: plates((late(t), "LS15EBC")), 9.0)
    assert event.continues is None
    assert pipeline.line_counts() == {"entrance": LineCount(outward=1)}


def test_an_event_does_not_take_the_way_of_the_next_car_for_its_own() -> None:
    """The next car stands in the place of the first one after a cut, and drives over the line."""
    pipeline = new_pipeline()
    events = []

    def cut(t_s: float) -> Seen:
        if t_s < 4.75:
            return plates((130.0 + 40.0 * t_s, "LS15EBC"))
        return plates((325.0 + 320.0 * (t_s - 4.8), "HK07RTV"))

    for t_s in times(0.0, 5.15, 10.0):
        events += show(pipeline, t_s, cut(t_s))
    (event,) = events
    assert event.plate == "LS15EBC"
    assert event.crossings == ()
    assert event.dwell_s is not None
    assert event.dwell_s < 4.8
    assert pipeline.line_counts() == {"entrance": LineCount()}


def test_accounts_are_kept_only_as_long_as_their_passes() -> None:
    pipeline = new_pipeline()
    for k in range(30):
        text = f"AB{k:02}CDE"
        for t_s in times(0.0, 1.5, 10.0):
            show(pipeline, 10.0 * k + t_s, plates((200.0 + 200.0 * t_s, text)))
        show(pipeline, 10.0 * k + 5.0)
    assert pipeline.line_counts() == {"entrance": LineCount(inward=30)}
    assert len(pipeline._ledger._of) <= 2
