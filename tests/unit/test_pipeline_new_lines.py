"""A line that a reload adds or changes counts from then on; the others count on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alprd.config.counting import LineSettings
from alprd.core.counting import LineCount, Places
from alprd.core.events import uuid7
from alprd.core.types import Detection, PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import show
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules, event_ids
from support.simulation import times

TEXTS = ("LS15EBC", "HK07RTV", "AB12CDE")
OLD = LineSettings(name="old", points=((0.0, 0.3), (1.0, 0.3)), allowed="out")
NEW = LineSettings(name="new", points=((0.0, 0.5), (1.0, 0.5)), allowed="out")
"""Both are crossed against their allowed direction by whoever drives down."""

Y = Callable[[float], float]


def new_pipeline(*lines: LineSettings, rules: Rules | None = None) -> CameraPipeline:
    noise = event_ids()
    return CameraPipeline(
        "gate",
        rules or Rules(),
        None,
        new_event_id=lambda at: uuid7(at, next(noise)),
        places=Places(lines=lines),
    )


def reload(pipeline: CameraPipeline, *lines: LineSettings) -> None:
    pipeline.retune(Rules(), None, places=Places(lines=lines))


def watch(
    pipeline: CameraPipeline, y: Y, begin_s: float, end_s: float, n: int = 1
) -> list[PlateEvent]:
    """So many cars side by side."""
    events = []
    for t_s in times(begin_s, end_s, 10.0):
        seen = [(make_plate(300.0 + 300.0 * k, y(t_s)), make_read(TEXTS[k])) for k in range(n)]
        events += show(pipeline, t_s, seen)
    return events


def leave(pipeline: CameraPipeline, t_s: float) -> list[PlateEvent]:
    return [e for t in times(t_s, t_s + 4.0, 10.0) for e in show(pipeline, t)]


def parks(t_s: float) -> float:
    """Over both lines and stays; from 12 s on it goes back, and from 15 s on down again."""
    y = min(440.0, 150.0 + 150.0 * t_s)
    return y - 80.0 * max(0.0, min(t_s, 15.0) - 12.0) + 80.0 * max(0.0, min(t_s, 18.0) - 15.0)


def test_a_new_line_tells_and_counts_nothing_of_what_parked_cars_did_before() -> None:
    pipeline = new_pipeline()
    assert len(watch(pipeline, parks, 0.0, 9.0, n=3)) == 3
    reload(pipeline, NEW)
    assert watch(pipeline, parks, 9.0, 12.0, n=3) == []
    assert leave(pipeline, 12.0) == []
    assert pipeline.line_counts() == {"new": LineCount()}


def test_a_parked_car_is_counted_and_told_of_what_it_does_after_the_reload() -> None:
    pipeline = new_pipeline()
    (first,) = watch(pipeline, parks, 0.0, 9.0)
    reload(pipeline, NEW)
    (second,) = [*watch(pipeline, parks, 9.0, 19.0), *leave(pipeline, 19.0)]
    assert (second.wrong_way, second.continues) == (True, first.event_id)
    assert [c.label for c in second.crossings] == ["out", "in"]
    assert pipeline.line_counts() == {"new": LineCount(inward=1, outward=1, wrong_way=1)}


def test_an_unchanged_line_counts_on_and_tells_no_wrong_way_twice() -> None:
    pipeline = new_pipeline(OLD)
    (first,) = watch(pipeline, parks, 0.0, 9.0)
    assert first.wrong_way is True
    reload(pipeline, NEW, OLD.model_copy())
    before = LineCount(inward=1, wrong_way=1)
    assert watch(pipeline, parks, 9.0, 11.0) == []
    assert pipeline.line_counts() == {"new": LineCount(), "old": before}
    # Back over the old line, and down over it again.
    to_and_fro = lambda t: 440.0 - 120.0 * (min(t, 14.0) - 11.0 - max(0.0, t - 14.0))  # noqa: E731
    watch(pipeline, to_and_fro, 11.0, 16.9)
    assert pipeline.line_counts()["old"] == LineCount(inward=2, outward=1, wrong_way=2)


@pytest.mark.parametrize(
    "change", [{"points": ((0.0, 0.7), (1.0, 0.7))}, {"allowed": "in"}, {"inwards": "up"}]
)
def test_a_line_that_changed_tells_nothing_of_before(change: dict[str, object]) -> None:
    line = NEW.model_copy(update={"allowed": "both"})
    pipeline = new_pipeline(line)
    watch(pipeline, lambda t: min(650.0, 150.0 + 150.0 * t), 0.0, 9.0)
    assert pipeline.line_counts() == {"new": LineCount(inward=1)}
    reload(pipeline, NEW.model_copy(update=change))
    assert watch(pipeline, lambda _: 650.0, 9.0, 11.0) == []
    assert leave(pipeline, 11.0) == []
    assert pipeline.line_counts() == {"new": LineCount(inward=1)}


def test_a_line_that_was_moved_ahead_of_a_car_is_crossed_the_same_way_again() -> None:
    pipeline = new_pipeline(NEW.model_copy(update={"allowed": "in"}))
    watch(pipeline, parks, 0.0, 9.0)
    reload(pipeline, NEW.model_copy(update={"allowed": "in", "points": ((0.0, 0.7), (1.0, 0.7))}))
    watch(pipeline, lambda t: 440.0 + 80.0 * (t - 9.0), 9.0, 11.5)
    assert pipeline.line_counts() == {"new": LineCount(inward=2)}


def test_the_event_of_a_car_on_its_way_knows_the_new_line_from_the_reload_on() -> None:
    pipeline = new_pipeline(OLD)
    assert watch(pipeline, lambda t: 150.0 + 150.0 * t, 0.0, 2.0) == []
    # The old line and one that lies behind the car too, and one that lies ahead.
    ahead = NEW.model_copy(update={"name": "ahead", "points": ((0.0, 0.75), (1.0, 0.75))})
    behind = NEW.model_copy(update={"points": ((0.0, 0.4), (1.0, 0.4))})
    reload(pipeline, OLD, behind, ahead)
    (event,) = [*watch(pipeline, lambda t: 150.0 + 150.0 * t, 2.0, 3.2), *leave(pipeline, 3.2)]
    assert [c.line for c in event.crossings] == ["old", "ahead"]
    one = LineCount(inward=1, wrong_way=1)
    assert pipeline.line_counts() == {"old": one, "new": LineCount(), "ahead": one}


def test_a_vehicle_without_a_plate_is_counted_by_a_new_line_from_the_reload_on() -> None:
    rules = Rules(publish_unread=True)
    pipeline = new_pipeline(OLD, rules=rules)
    events = []
    for t_s in times(0.0, 3.2, 10.0):
        if t_s == pytest.approx(2.0):
            pipeline.retune(rules, None, places=Places(lines=(OLD, NEW)))
        y = 150.0 + 150.0 * t_s
        box = (450.0, y - 180.0, 750.0, y + 180.0)
        events += show(pipeline, t_s, others=[Detection(label="car", score=0.8, box=box)])
    (event,) = [*events, *leave(pipeline, 3.2)]
    assert [c.line for c in event.crossings] == ["old"]
    assert pipeline.line_counts() == {"old": LineCount(inward=1, wrong_way=1), "new": LineCount()}


def test_a_second_reload_does_not_bring_the_past_back() -> None:
    pipeline = new_pipeline()
    watch(pipeline, parks, 0.0, 9.0)
    for t_s in (9.0, 10.0):
        reload(pipeline, NEW)
        assert watch(pipeline, parks, t_s, t_s + 1.0) == []
    assert pipeline.line_counts() == {"new": LineCount()}


def test_a_stream_that_begins_anew_after_a_reload_counts_from_its_start() -> None:
    pipeline = new_pipeline()
    watch(pipeline, parks, 0.0, 9.0)
    reload(pipeline, NEW)
    watch(pipeline, parks, 0.0, 8.0)
    assert pipeline.line_counts() == {"new": LineCount(inward=1, wrong_way=1)}
