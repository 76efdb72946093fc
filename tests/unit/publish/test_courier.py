"""What goes over one connection, in which order and how often, whatever the broker answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alprd.publish.board import Board
from alprd.publish.courier import MOST_PER_TURN, SUBSCRIPTION, Courier, Station
from alprd.publish.message import Message
from alprd.publish.outbox import Outbox
from alprd.publish.post import Post
from alprd.publish.shelf import Shelf
from alprd.publish.spare import SpareLane
from alprd.publish.suspects import Suspects
from support.outboxes import NOW, HandClock, open_outbox, rows
from support.wire import NOT_AUTHORIZED, Wire

AVAILABILITY = "alpr/devices/edge/availability"
GAPS = "alpr/devices/edge/gaps"
PLATES = "alpr/gate/plates"


class Bench:
    """A courier over a wire, with all that lives longer than one connection."""

    def __init__(self, outbox: Outbox) -> None:
        self.clock = HandClock()
        self.expiry_s = 60
        self.subscriptions: frozenset[str] = frozenset()
        self.outbox = outbox
        self.shelf = Shelf(outbox, clock=self.clock, now=lambda: NOW)
        self.board = Board(prefix="alpr", device_id="edge", now=lambda: NOW, on_change=_nothing)
        self.suspects = Suspects(clock=self.clock)
        self.post = Post(on_change=_nothing)
        self.spare = SpareLane(on_change=_nothing, clock=self.clock)
        self.wire, self.courier = self.connect()

    def connect(self, **wire: Any) -> tuple[Wire, Courier]:
        """A new connection."""
        self.board.all_unsent()
        self.wire = Wire(**wire)
        self.courier = Courier(
            self.wire,  # type: ignore[arg-type]
            Station(
                prefix="alpr",
                device_id="edge",
                max_inflight=16,
                backlog_share=1.0,
                health_expiry_s=lambda: self.expiry_s,
                subscriptions=lambda: self.subscriptions,
            ),
            shelf=self.shelf,
            board=self.board,
            post=self.post,
            spare=self.spare,
            suspects=self.suspects,
            clock=self.clock,
        )
        return self.wire, self.courier

    def give_up(self, topic: str) -> None:
        """The broker hangs up at this topic."""
        self.suspects.refused(topic)
        assert self.suspects.hung_up([]) == topic

    def hang_up(self) -> None:
        """The broker ends the connection; some seconds later there is another one."""
        self.courier.take_acks()
        self.suspects.hung_up(self.courier.unanswered, self.courier.unproven)
        self.clock.seconds += 5.0
        self.connect()
        self.courier.announce("online")

    def live_through(self, seconds: float, *, forbidden: Collection[str]) -> int:
        """Turns with a broker that hangs up at some topics; returns how many times it did."""
        until_s, hang_ups, seen = self.clock.seconds + seconds, 0, 0
        while self.clock.seconds < until_s:
            self.courier.turn()
            sent, seen = self.wire.sent[seen:], len(self.wire.sent)
            self.clock.seconds += 0.2
            if any(message.topic in forbidden for _, message in sent):
                hang_ups, seen = hang_ups + 1, 0
                self.hang_up()
            else:
                self.wire.answer()
        return hang_ups

    def turns(self, count: int, *, seconds: float = 0.0) -> None:
        for _ in range(count):
            self.courier.turn()
            self.clock.seconds += seconds


def _nothing() -> None:
    pass


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_outbox(tmp_path / "outbox.sqlite", max_events=100_000) as outbox:
        yield Bench(outbox)


def test_a_backlog_on_a_topic_that_was_given_up_is_parked_in_parts_between_signs_of_life(
    bench: Bench,
) -> None:
    bench.outbox.add(rows(1000))
    bench.give_up(PLATES)
    bench.courier.turn()
    assert bench.shelf.refused == MOST_PER_TURN
    assert bench.courier.is_hurried  # the next part does not wait
    bench.turns(1000 // MOST_PER_TURN + 2)
    assert (bench.outbox.counts().pending, bench.outbox.counts().parked) == (0, 1000)
    assert PLATES not in bench.wire.topics
    assert not bench.courier.is_hurried


def test_a_backlog_that_is_too_large_for_the_broker_is_parked_in_parts_too(bench: Bench) -> None:
    bench.outbox.add(rows(200, padding=2000))
    bench.connect(maximum_packet_bytes=1000)
    bench.courier.turn()
    assert bench.shelf.refused == MOST_PER_TURN
    bench.turns(6)
    assert bench.outbox.counts().parked == 200


def test_an_availability_at_which_the_broker_hung_up_is_said_later_on_the_same_connection(
    bench: Bench,
) -> None:
    bench.give_up(AVAILABILITY)
    bench.courier.announce("online")
    bench.turns(3, seconds=9.0)
    assert bench.wire.sent == []
    assert bench.suspects.given_up == (AVAILABILITY,)
    bench.turns(2, seconds=9.0)
    assert [(m.topic, m.payload, m.retain) for _, m in bench.wire.sent] == [
        (AVAILABILITY, b"online", True)
    ]
    bench.wire.answer()
    bench.turns(20, seconds=100.0)
    assert len(bench.wire.sent) == 1
    assert bench.suspects.given_up == ()


def test_a_device_is_online_only_once_it_hears_the_commands_that_follow(bench: Bench) -> None:
    bench.subscriptions = frozenset({"alpr/devices/edge/cmd/+"})
    wire, courier = bench.connect(subscription=1000)
    courier.announce("online")
    bench.turns(3)
    assert AVAILABILITY not in wire.topics
    wire.answer_one(1000)
    bench.turns(1)
    assert wire.topics.count(AVAILABILITY) == 1


def test_a_device_that_the_broker_lets_hear_nothing_is_online_all_the_same(bench: Bench) -> None:
    bench.subscriptions = frozenset({"alpr/devices/edge/cmd/+"})
    bench.give_up(SUBSCRIPTION)
    wire, courier = bench.connect(subscription=1000)
    courier.announce("online")
    assert wire.topics == [AVAILABILITY]


def test_a_device_that_stops_does_not_wait_for_what_it_would_hear(bench: Bench) -> None:
    bench.subscriptions = frozenset({"alpr/devices/edge/cmd/+"})
    wire, courier = bench.connect(subscription=1000)
    courier.announce("online")
    courier.announce("stopped")
    assert [message.payload for _, message in wire.sent] == [b"stopped"]


def test_state_that_the_broker_refuses_is_offered_again_ever_more_rarely(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.board.device("info", {}, retain=True)
    bench.courier.announce("online")
    times: list[float] = []
    for _ in range(4000):
        bench.courier.turn()
        if bench.wire.answer(refusal=NOT_AUTHORIZED):
            times.append(bench.clock.seconds)
        bench.clock.seconds += 1.0
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) <= 8
    assert pauses[0] >= 29.0
    assert all(later >= earlier * 1.5 for earlier, later in pairwise(pauses))
    assert set(bench.suspects.given_up) == {AVAILABILITY, "alpr/devices/edge/info"}
    assert capsys.readouterr().out.count("mqtt.message_refused") == 2
    # A new connection tries at once: somebody may have mended it.
    bench.connect()
    bench.courier.announce("online")
    bench.courier.turn()
    assert set(bench.wire.topics) == {AVAILABILITY, "alpr/devices/edge/info"}


def test_state_that_waits_for_its_topic_does_not_hold_up_the_end(bench: Bench) -> None:
    bench.board.device("info", {}, retain=True)
    bench.give_up("alpr/devices/edge/info")
    bench.turns(2)
    assert bench.courier.idle


def test_a_newer_state_takes_the_place_of_one_that_was_refused(bench: Bench) -> None:
    bench.board.device("info", {"version": 1}, retain=True)
    bench.courier.turn()
    bench.wire.answer(refusal=NOT_AUTHORIZED)
    bench.courier.turn()
    bench.board.device("info", {"version": 2}, retain=True)
    bench.turns(2, seconds=31.0)
    bench.turns(1)
    assert [m.payload for _, m in bench.wire.sent] == [b'{"version":1}', b'{"version":2}']


def test_what_may_not_be_taken_away_is_left_alone(bench: Bench) -> None:
    bench.board.forget_camera("gone")
    bench.courier.turn()
    bench.wire.answer(refusal=NOT_AUTHORIZED)
    bench.turns(50, seconds=100.0)
    assert len(bench.wire.sent) == 1


def test_a_gap_under_way_is_not_sent_again_however_long_its_answer_takes(bench: Bench) -> None:
    bench.outbox.add_lost(1)
    bench.turns(10, seconds=3.0)
    assert bench.wire.topics == [GAPS]
    bench.connect()
    bench.turns(3)
    assert bench.wire.topics == [GAPS]  # but on a new connection it is
    bench.wire.answer()
    bench.courier.turn()
    assert bench.outbox.counts().gaps == 0


def test_refused_gaps_let_the_events_pass_and_come_again_later(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(100):  # each an announcement of its own
        bench.outbox.add_lost(1)
        bench.outbox.add(rows(1, start=number))
    delivered = 0
    for _ in range(60):
        bench.courier.turn()
        bench.wire.answer("/gaps", NOT_AUTHORIZED)
        delivered += bench.wire.answer("/plates")
        bench.clock.seconds += 0.1
    assert delivered == 100
    assert bench.wire.topics.count(GAPS) <= 16
    assert capsys.readouterr().out.count("mqtt.message_refused") == 1
    assert bench.suspects.given_up == (GAPS,)
    for _ in range(120):
        bench.clock.seconds += 1.0
        bench.courier.turn()
        bench.wire.answer()
    assert bench.outbox.counts().gaps == 0


def test_an_event_that_is_refused_while_the_disk_balks_is_parked_once_it_takes_it(
    bench: Bench,
) -> None:
    bench.outbox.add(rows(1))
    bench.courier.turn()
    assert bench.outbox.store.db is not None
    bench.outbox.store.db.execute("PRAGMA query_only = ON")
    bench.wire.answer(refusal=NOT_AUTHORIZED)
    bench.turns(5, seconds=1.0)
    assert bench.outbox.counts().pending == 1
    assert not bench.courier.idle
    assert len(bench.wire.sent) == 1  # nor is it offered meanwhile
    bench.outbox.store.db.execute("PRAGMA query_only = OFF")
    bench.turns(10, seconds=1.0)
    assert (bench.outbox.counts().pending, bench.outbox.counts().parked) == (0, 1)
    assert bench.wire.topics == [PLATES, GAPS]
    bench.wire.answer()
    bench.turns(2, seconds=1.0)
    assert bench.courier.idle


def test_answers_that_come_one_after_the_other_are_no_wait(bench: Bench) -> None:
    bench.outbox.add(rows(16))
    bench.courier.turn()
    for mid in range(1, 16):
        bench.clock.seconds += 5.0
        bench.wire.answer_one(mid)
        bench.courier.turn()
        assert bench.courier.waits_s <= 5.0
    bench.clock.seconds += 21.0
    assert bench.courier.waits_s > 20.0


def test_an_answer_that_was_overtaken_is_waited_for_from_the_start(bench: Bench) -> None:
    bench.outbox.add(rows(16))
    bench.courier.turn()
    for mid in range(2, 16):
        bench.clock.seconds += 2.0
        bench.wire.answer_one(mid)
        bench.courier.turn()
    assert bench.courier.waits_s == pytest.approx(28.0)


def test_a_large_message_is_given_the_time_that_a_slow_line_needs(bench: Bench) -> None:
    bench.board.announce("homeassistant/device/edge/config", b"x" * 80_000)
    bench.courier.turn()
    bench.clock.seconds += 60.0
    assert bench.courier.waits_s <= 0.0
    bench.clock.seconds += 60.0
    assert bench.courier.waits_s > 20.0


def test_a_disk_that_stays_read_only_is_said_once_and_not_to_be_usable_in_between(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.outbox.add_lost(1)  # to announce it is to write
    assert bench.outbox.store.db is not None
    bench.outbox.store.db.execute("PRAGMA query_only = ON")
    bench.turns(60, seconds=1.0)
    said = capsys.readouterr().out
    assert (said.count("outbox.unusable"), said.count("outbox.usable_again")) == (1, 0)
    bench.outbox.store.db.execute("PRAGMA query_only = OFF")
    bench.turns(10, seconds=1.0)
    assert capsys.readouterr().out.count("outbox.usable_again") == 1
    assert bench.wire.topics == [GAPS]


def track(camera_id: str = "gate", size: int = 500) -> Message:
    return Message(topic=f"alpr/{camera_id}/tracks", payload=b"x" * size, qos=0)


def picture(size: int) -> Message:
    return Message(topic="alpr/gate/snapshot", payload=b"x" * size, qos=0, is_text=False)


@pytest.mark.parametrize("states", [2, 8, 30])
@pytest.mark.parametrize("every_s", [1.0, 120.0])
def test_a_broker_that_hangs_up_at_live_tracks_is_found_out_however_rare_they_are(
    bench: Bench, states: int, every_s: float
) -> None:
    for number in range(states):  # all sent again on every connection
        bench.board.announce(f"alpr/cam{number}/status", b"{}")
    forbidden = {"alpr/gate/tracks", "alpr/exit/tracks"}
    hang_ups = 0
    for _ in range(40):
        bench.spare.put(track("exit"))  # the two take turns
        bench.spare.put(track("gate"))
        bench.spare.put(track("good"))
        hang_ups += bench.live_through(every_s, forbidden=forbidden)
    assert set(bench.suspects.given_up) == forbidden
    assert hang_ups <= 22  # over an hour, with the probes of both
    bench.spare.put(track("good"))
    bench.outbox.add(rows(3))
    assert bench.live_through(10.0, forbidden=forbidden) == 0
    assert bench.wire.topics.count(PLATES) == 3
    assert "alpr/good/tracks" in bench.wire.topics


def test_a_broker_that_hangs_up_at_health_is_found_out_and_events_pass(bench: Bench) -> None:
    health = "alpr/devices/edge/health"
    hang_ups = 0
    for number in range(60):
        bench.board.device("health", {"n": number}, retain=True)
        bench.outbox.add(rows(20, start=20 * number))
        hang_ups += bench.live_through(10.0, forbidden={health})
    assert bench.suspects.given_up == (health,)
    assert hang_ups <= 9
    assert bench.outbox.counts().pending == 0


def test_an_answer_with_qos_0_at_which_the_broker_hung_up_is_alone_the_next_time(
    bench: Bench,
) -> None:
    answer = Message(topic="ask/me", payload=b"{}", qos=0)
    for _ in range(4):
        bench.outbox.add(rows(2))
        bench.post.put(answer)
        bench.live_through(1.0, forbidden={"ask/me"})
    assert bench.suspects.given_up == ("ask/me",)


def test_a_topic_that_was_only_near_a_hang_up_is_asked_about_once(bench: Bench) -> None:
    bench.spare.put(track())
    bench.wire.passes_marks = False
    bench.courier.turn()
    assert bench.courier.unproven == ["alpr/gate/tracks"]
    bench.hang_up()
    for _ in range(2):
        bench.outbox.add(rows(1))
        bench.spare.put(track())
        bench.live_through(2.0, forbidden=())
    tracks = [message.qos for _, message in bench.wire.sent if message.topic.endswith("/tracks")]
    assert tracks == [1, 0]
    assert bench.suspects.given_up == ()


def test_what_went_before_an_answer_or_a_mark_is_under_no_suspicion(bench: Bench) -> None:
    bench.board.device("health", {}, retain=True)
    bench.turns(2)
    assert bench.courier.unproven == ["alpr/devices/edge/health"]
    bench.outbox.add(rows(1))
    bench.courier.turn()
    bench.wire.answer()
    bench.courier.turn()
    assert bench.courier.unproven == []
    bench.spare.put(track())
    bench.turns(3)  # its mark has passed
    assert bench.courier.unproven == []


def test_pictures_that_are_through_do_not_lengthen_the_patience_with_an_event(
    bench: Bench,
) -> None:
    for _ in range(20):
        bench.spare.put_picture(picture(50_000))
        bench.turns(4, seconds=0.25)
    assert bench.spare.figures.pictures_sent > 10
    bench.outbox.add(rows(1))
    bench.turns(2)
    bench.clock.seconds += 30.0
    assert bench.courier.waits_s == pytest.approx(30.0)


def test_a_day_of_health_without_an_event_does_not_lengthen_it_either(bench: Bench) -> None:
    for number in range(8640):
        bench.board.device("health", {"n": number, "more": "x" * 1500}, retain=True)
        bench.turns(1, seconds=10.0)
    bench.outbox.add(rows(1))
    bench.turns(1)
    bench.clock.seconds += 30.0
    assert bench.courier.waits_s == pytest.approx(30.0)


def test_an_event_behind_a_picture_on_a_slow_line_is_waited_for_from_when_it_was_through(
    bench: Bench,
) -> None:
    bench.turns(1)
    bench.wire.passes_marks = False
    bench.spare.put_picture(picture(10_000))
    bench.turns(2)
    bench.wire.passes_marks = True
    bench.turns(1)
    bench.wire.passes_marks = False
    bench.turns(1)
    assert bench.wire.topics == ["alpr/gate/snapshot"]
    bench.outbox.add(rows(1))
    bench.turns(1)
    bench.clock.seconds += 25.0
    assert bench.courier.waits_s < 20.0
    bench.wire.passes_marks = True
    bench.turns(1)
    assert bench.courier.waits_s == pytest.approx(0.0)
    bench.clock.seconds += 21.0
    bench.turns(1)
    assert bench.courier.waits_s > 20.0


def test_events_make_way_for_what_has_to_be_alone_however_many_wait(bench: Bench) -> None:
    health = "alpr/devices/edge/health"
    bench.board.device("health", {}, retain=True)
    bench.turns(1)
    bench.hang_up()
    bench.outbox.add(rows(500))
    for _ in range(8):
        bench.courier.turn()
        if health in bench.wire.topics:
            break
        # Answers come one after the other, so that events alone would never leave a gap.
        in_flight = len(bench.courier.unanswered)
        oldest = len(bench.wire.sent) - in_flight + 1
        for mid in range(oldest, oldest + min(8, in_flight)):
            bench.wire.answer_one(mid)
    assert bench.courier.unanswered == [(health, None)]
    bench.turns(3)
    assert bench.courier.unanswered == [(health, None)]
    bench.wire.answer()
    bench.turns(1)
    assert len(bench.courier.unanswered) == 16


def test_health_expires_by_the_interval_of_now_and_events_never(bench: Bench) -> None:
    for expiry_s in (60, 10_800):
        bench.expiry_s = expiry_s
        bench.board.device("health", {"n": expiry_s}, retain=True)
        bench.outbox.add(rows(1))
        bench.turns(2)
        bench.wire.answer()
    expiries = [(message.topic.split("/")[-1], message.expiry_s) for _, message in bench.wire.sent]
    assert [e for name, e in expiries if name == "health"] == [60, 10_800]
    assert {e for name, e in expiries if name == "plates"} == {None}
