"""Lines, zones, dwell and vehicles without a readable plate, in the events of a pipeline."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alprd.config.counting import LineSettings, ZoneSettings
from alprd.core.counting import LineCount, Places
from alprd.core.events import uuid7
from alprd.core.types import Detection, PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import show
from support.payloads import problems_of
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules, event_ids
from support.simulation import times

LINE = LineSettings(name="entrance", points=((0.0, 0.5), (1.0, 0.5)), allowed="in")
ZONE = ZoneSettings(name="bay", polygon=((0.0, 0.6), (1.0, 0.6), (1.0, 1.0), (0.0, 1.0)))


def new_line(rules: Rules | None = None, places: Places | None = None) -> CameraPipeline:
    noise = event_ids()
    return CameraPipeline(
        "gate",
        rules or Rules(),
        None,
        new_event_id=lambda at: uuid7(at, next(noise)),
        places=places or Places(lines=(LINE,), zones=(ZONE,)),
    )


def car(y: float, width: float = 300.0, x: float = 600.0) -> Detection:
    box = (x - width / 2, y - 0.6 * width, x + width / 2, y + 0.1 * width)
    return Detection(label="car", score=0.8, box=box)


def drive(
    line: CameraPipeline,
    where: Callable[[float], float],
    *,
    until_s: float = 3.0,
    plate: str | None = "LS15EBC",
    begin_s: float = 0.0,
) -> list[PlateEvent]:
    """A car that goes up or down the picture; all events until it has been gone for a while."""
    events = []
    for t_s in times(begin_s, begin_s + until_s, 10.0):
        y = where(t_s - begin_s)
        seen = [] if plate is None else [(make_plate(600.0, y), make_read(plate))]
        events += show(line, t_s, seen, others=[car(y)])
    for t_s in times(begin_s + until_s, begin_s + until_s + 4.0, 10.0):
        events += show(line, t_s)
    return events


def down(t_s: float) -> float:
    return 200.0 + 150.0 * t_s


def up(t_s: float) -> float:
    return 600.0 - 150.0 * t_s


def test_a_car_that_comes_in_is_told_so_and_counted() -> None:
    line = new_line()
    (event,) = drive(line, down)
    assert event.direction is not None
    assert event.direction.zone == "in"
    assert event.wrong_way is False
    (crossing,) = event.crossings
    assert event.first_seen < crossing.at < event.last_seen
    (visit,) = event.zones
    assert (visit.zone, visit.entered, visit.left) == ("bay", True, False)
    assert 0.8 < visit.dwell_s < 1.5
    assert line.line_counts() == {"entrance": LineCount(inward=1)}
    assert problems_of(event) == []


def test_a_car_on_the_wrong_way_is_told_and_counted() -> None:
    line = new_line()
    (event,) = drive(line, up)
    assert event.wrong_way is True
    assert line.line_counts() == {"entrance": LineCount(outward=1, wrong_way=1)}


def test_a_car_that_crosses_after_its_event_is_counted_all_the_same() -> None:
    line = new_line()
    (event,) = drive(line, lambda t: min(340.0, 200.0 + 150.0 * t) + 60.0 * max(0.0, t - 6.0),
                     until_s=9.0)  # fmt: skip
    assert event.crossings == ()
    assert event.stationary is True
    assert line.line_counts() == {"entrance": LineCount(inward=1)}


def test_counts_go_on_when_the_settings_change() -> None:
    line = new_line()
    drive(line, down)
    line.retune(Rules(), None, places=Places(lines=(LINE,)))
    drive(line, down, plate="HK07RTV", begin_s=20.0)
    assert line.line_counts() == {"entrance": LineCount(inward=2)}


def test_a_vehicle_without_a_plate_has_an_event_only_where_that_is_wanted() -> None:
    assert drive(new_line(), down, plate=None) == []
    line = new_line(Rules(publish_unread=True))
    (event,) = drive(line, down, until_s=3.5, plate=None)
    assert (event.plate, event.confidence, event.quad) == (None, None, ())
    assert event.vehicle is not None
    assert event.vehicle.type == "car"
    assert event.direction is not None
    assert (event.direction.label, event.direction.zone) == ("approaching", "in")
    assert line.line_counts() == {"entrance": LineCount(inward=1)}
    assert problems_of(event) == []


def test_a_vehicle_whose_plate_was_read_has_no_second_event_without_one() -> None:
    events = drive(new_line(Rules(publish_unread=True)), down)
    assert [event.plate for event in events] == ["LS15EBC"]


def test_a_parked_vehicle_without_a_plate_is_no_pass() -> None:
    assert drive(new_line(Rules(publish_unread=True)), lambda _: 400.0, plate=None) == []


@pytest.mark.parametrize("gap_s", [5.0, 40.0])
def test_a_plate_hidden_for_long_is_one_pass_while_its_vehicle_is_seen(gap_s: float) -> None:
    line = new_line()
    events = []
    for t_s in times(0.0, 4.0 + gap_s, 5.0):
        y = min(450.0, down(t_s))
        hidden = 2.0 <= t_s < 2.0 + gap_s
        seen = [] if hidden else [(make_plate(600.0, y), make_read("LS15EBC"))]
        events += show(line, t_s, seen, others=[car(y)])
    events += line.finish()
    assert [event.plate for event in events] == ["LS15EBC"]


def test_the_next_car_does_not_take_over_the_plate_of_one_that_left() -> None:
    line = new_line(Rules(publish_unread=True))
    first = drive(line, down)
    second = drive(line, down, until_s=3.5, plate=None, begin_s=3.5)
    assert [event.plate for event in first + second] == ["LS15EBC", None]


def test_a_vehicle_that_is_only_hidden_has_no_event_without_its_plate() -> None:
    line = new_line(Rules(publish_unread=True))
    hidden = drive(line, lambda t: 200.0 + 50.0 * t, until_s=2.0, plate=None)
    seen = drive(line, lambda t: 400.0 + 150.0 * t, until_s=2.0, begin_s=7.0)
    assert [event.plate for event in hidden + seen] == ["LS15EBC"]
