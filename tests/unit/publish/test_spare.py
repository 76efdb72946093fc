"""What goes only while the line is free: how much, when, and what is dropped instead."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from alprd.publish.message import Message
from alprd.publish.spare import PICTURES, TRACKS, SpareLane


class Clock:
    """Time that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Line:
    """A line on which a mark passes when the test says so."""

    maximum_packet_bytes: int | None = None

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent: list[Message] = []
        self.marks = 0
        self.passed = 0
        self.free = True
        self.forbidden = ""
        self.woken = 0
        self.lane = SpareLane(on_change=self._wake, clock=clock)

    def _wake(self) -> None:
        self.woken += 1

    def packet_bytes(self, message: Message) -> int:
        return len(message.payload)

    def mark(self) -> int | None:
        self.marks += 1
        return self.marks

    def has_passed(self, mark: int) -> bool:
        return mark <= self.passed

    def turn(self) -> list[str]:
        """The topics that one turn sends."""
        before = len(self.sent)
        self.lane.send_over(
            self,
            self.sent.append,
            forbids=lambda topic: topic == self.forbidden,
            may_send=lambda: self.free,
        )
        return [message.topic for message in self.sent[before:]]

    def passes(self, after_s: float) -> list[str]:
        """The broker answers the mark so much later; what that turn sends."""
        self.clock.now_s += after_s
        self.passed = self.marks
        return self.turn()


def track(name: str, size: int = 500) -> Message:
    return Message(topic=name, payload=b"x" * size, qos=0)


def picture(name: str, size: int) -> Message:
    return Message(topic=name, payload=b"x" * size, qos=0, is_text=False)


@pytest.fixture
def line() -> Line:
    return Line(Clock())


def test_nothing_goes_while_an_event_waits(line: Line) -> None:
    line.free = False
    line.lane.put(track("a"))
    line.lane.put_picture(picture("p", 10))
    assert line.turn() == []
    line.free = True
    assert line.turn() == ["a"]
    assert line.woken == 2


def test_only_a_few_tracks_are_on_their_way_until_the_broker_has_answered(line: Line) -> None:
    for k in range(20):
        line.lane.put(track(f"t{k}"))
    first = line.turn()
    assert 1 <= len(first) <= 5
    assert line.turn() == [], "the mark has not passed"
    assert line.passes(0.1)[0] == f"t{len(first)}"


def test_an_update_that_still_waits_is_replaced_by_the_next_one_in_its_place(line: Line) -> None:
    line.lane.put(track("new"), replaces="1 new")
    line.lane.put(track("old update"), replaces="1 update")
    line.lane.put(track("other"), replaces="2 new")
    line.lane.put(track("fresh update"), replaces="1 update")
    assert line.turn() == ["new", "fresh update", "other"]
    assert line.lane.figures.tracks_dropped == 1
    assert line.lane.figures.tracks_sent == 3


def test_an_end_takes_away_what_waits_of_its_track_and_comes_last(line: Line) -> None:
    keys = ("1 new", "1 update", "1 end")
    line.lane.put(track("bare end"), replaces="1 end", outdates=keys)
    line.lane.put(track("new again"), replaces="1 new")
    line.lane.put(track("other"), replaces="2 new")
    line.lane.put(track("end"), replaces="1 end", outdates=keys)
    assert line.turn() == ["other", "end"]
    assert line.lane.figures.tracks_dropped == 2


def test_what_waits_is_forgotten_where_it_may_not_go_any_more(line: Line) -> None:
    line.lane.put(track("t"))
    line.lane.put_picture(picture("p", 1000))
    line.lane.forget()
    assert line.turn() == []
    assert line.passes(0.01) == []
    assert (line.lane.figures.tracks_dropped, line.lane.figures.pictures_dropped) == (1, 1)
    line.lane.put_picture(picture("q", 1000))
    line.turn()
    assert line.passes(0.01) == ["q"]


def test_stale_tracks_are_dropped_and_their_number_is_bounded(line: Line) -> None:
    for k in range(TRACKS + 5):
        line.lane.put(track(f"t{k}", 1))
    assert line.lane.figures.tracks_dropped == 5
    line.clock.now_s += 11.0
    line.lane.put(track("fresh", 1))
    assert line.turn() == ["fresh"]


def test_a_picture_waits_until_the_line_has_shown_how_it_is(line: Line) -> None:
    line.lane.put_picture(picture("p", 100_000))
    assert line.turn() == []
    assert line.marks == 1
    assert line.passes(0.01) == ["p"]


def test_one_picture_at_a_time_goes_and_tracks_go_before_the_next(line: Line) -> None:
    line.lane.put_picture(picture("p", 1000))
    line.lane.put_picture(picture("q", 1000))
    line.turn()
    assert line.passes(0.01) == ["p"]
    line.lane.put(track("t"))
    assert line.turn() == []
    assert line.passes(0.01) == ["t"]
    assert line.passes(0.01) == ["q"]


def test_tracks_that_never_end_do_not_keep_pictures_away(line: Line) -> None:
    line.lane.put_picture(picture("p", 1000))
    sent: list[str] = []
    for k in range(5):
        line.lane.put(track(f"t{k}"))
        sent += line.passes(0.1)
    assert sent[:3] == ["t0", "p", "t1"]


def test_a_slow_answer_lets_only_small_pictures_through(line: Line) -> None:
    line.lane.put_picture(picture("large", 100_000))
    line.lane.put_picture(picture("small", 10_000))
    line.lane.put_picture(picture("larger", 200_000))
    line.turn()
    with capture_logs() as lines:
        assert line.passes(0.6) == ["small"]
        assert line.passes(0.1) == []
    assert line.lane.figures.pictures_dropped == 2
    told = [(each["event"], each["bytes"], each["largest_bytes"]) for each in lines]
    assert told == [("pictures.too_large", 100_000, 33_333)], "once, not for each of them"


def test_what_took_too_long_is_not_sent_again_for_ten_minutes(line: Line) -> None:
    line.lane.put_picture(picture("first", 30_000))
    line.turn()
    assert line.passes(0.1) == ["first"]
    line.lane.put_picture(picture("second", 30_000))
    line.lane.put_picture(picture("tiny", 1500))
    assert line.passes(15.0) == ["tiny"]  # two kilobytes a second
    line.passes(0.8)
    line.clock.now_s += 601.0
    line.lane.put_picture(picture("again", 30_000))
    assert line.turn() == []
    assert line.passes(0.1) == ["again"]


def test_a_line_that_takes_pictures_gets_larger_ones(line: Line) -> None:
    line.lane.put_picture(picture("p", 90_000))
    line.turn()
    assert line.passes(0.2) == ["p"]  # 100 kB at most
    line.lane.put_picture(picture("q", 300_000))
    assert line.passes(0.21) == ["q"]


def test_after_a_connection_that_was_lost_with_a_picture_there_is_none_for_a_minute(
    line: Line,
) -> None:
    line.lane.put_picture(picture("p", 100_000))
    line.turn()
    assert line.passes(0.01) == ["p"]
    line.clock.now_s += 5.0
    line.lane.clear()
    line.lane.put_picture(picture("q", 1000))
    line.lane.put(track("t"))
    assert line.turn() == ["t"]
    assert line.passes(59.0) == []
    line.lane.put_picture(picture("r", 100_000))
    line.clock.now_s += 2.0
    assert line.turn() == []
    assert line.passes(0.01) == ["r"], "it had nothing to do with the picture"


def test_a_new_connection_begins_with_nothing(line: Line) -> None:
    line.lane.put(track("t"))
    line.lane.put_picture(picture("p", 10))
    line.lane.clear()
    assert line.turn() == []
    assert (line.lane.figures.tracks_dropped, line.lane.figures.pictures_dropped) == (1, 1)


def test_what_the_broker_does_not_take_costs_no_connection_and_is_counted(line: Line) -> None:
    line.maximum_packet_bytes = 1000
    line.forbidden = "forbidden"
    line.lane.put(track("forbidden"))
    line.lane.put(track("too large", 1001))
    line.lane.put(track("t"))
    assert line.turn() == ["t"]
    assert line.lane.figures.tracks_dropped == 2


def test_pictures_are_bounded_by_number_and_bytes(line: Line) -> None:
    for k in range(PICTURES + 3):
        line.lane.put_picture(picture(f"p{k}", 1000))
    assert line.lane.figures.pictures_dropped == 3
    line.lane.put_picture(picture("huge", 8 * 1024**2))
    assert line.lane.figures.pictures_dropped == 3 + PICTURES
    line.clock.now_s += 61.0
    line.turn()
    assert line.passes(0.001) == [], "it is stale"
