"""Carries state, gaps, events and answers over one connection, a few messages in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from alprd.core.events import SCHEMA as EVENT_SCHEMA
from alprd.ports import Clock
from alprd.publish import gaps
from alprd.publish.board import Board, BoardMessage
from alprd.publish.flight import Flight, MarkedLine, Sent
from alprd.publish.gaps import Gap
from alprd.publish.lanes import OLD_AFTER_S, Lanes
from alprd.publish.message import TEXT, Inbound, Message, Refusal
from alprd.publish.mqtt import Connection
from alprd.publish.post import Post
from alprd.publish.rows import OutboxRow
from alprd.publish.shelf import Shelf
from alprd.publish.sink import encode
from alprd.publish.spare import SpareLane
from alprd.publish.suspects import Suspects

ONLINE: Final = "online"
TOO_LARGE: Final = 0x95
SUBSCRIPTION: Final = "the subscription to commands"
UNHEARD: Final = (
    "let this user read it in the broker's access list, or set commands.enabled = false"
)
MOST_PER_TURN: Final = 64
"""Looked at between two signs of life; refusing one costs no place in flight."""

HUNG_UP: Final = Refusal(code=0x80, text="the broker closes the connection at events on this topic")

Subscriptions = Callable[[], frozenset[str]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """What all connections of a device have in common.

    Attributes:
        prefix: first topic level(s).
        device_id: the device's name in topics.
        max_inflight: messages without an answer, at most.
        backlog_share: of the messages, for old events while new ones wait.
        health_expiry_s: tells after how long the broker forgets QoS 0 state; it may change.
        subscriptions: gives the topic filters for `on_message`; they may change at any time.
        on_message: gets what others send; must return at once and never raise.
    """

    prefix: str
    device_id: str
    max_inflight: int
    backlog_share: float
    health_expiry_s: Callable[[], int]
    subscriptions: Subscriptions = frozenset
    on_message: Callable[[Inbound], None] | None = None

    @property
    def availability_topic(self) -> str:
        """Where the device says whether it is there."""
        return f"{self.prefix}/devices/{self.device_id}/availability"


class Courier:
    """Made for one accepted connection and thrown away with it; owned by the publisher thread."""

    def __init__(
        self,
        connection: Connection,
        station: Station,
        *,
        shelf: Shelf,
        board: Board,
        post: Post,
        spare: SpareLane,
        suspects: Suspects,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._station = station
        self._shelf = shelf
        self._board = board
        self._post = post
        self._spare = spare
        self._suspects = suspects
        self._limit = max(1, min(station.max_inflight, connection.receive_maximum))
        self._flight = Flight(clock=clock)
        self._line = MarkedLine(connection, self._flight)
        self._makes_way = False
        self._lanes = Lanes(shelf, share=station.backlog_share)
        self._gaps: list[Gap] = []
        self._exhausted = False
        self._looked_at_all = True
        self._availability: str | None = None
        self._is_announced = True
        self._announcement: int | None = None
        self._subscribed: frozenset[str] = frozenset()
        self.is_closing = False
        """Nothing new is sent any more, only answers are taken."""
        shelf.new_connection()
        suspects.connected()
        post.clear()
        spare.clear()

    @property
    def idle(self) -> bool:
        """True when everything that was there has been sent and acknowledged."""
        return (
            self._exhausted
            and not self._flight
            and self._board.is_sent(self._suspects.forbids)
            and self._post.is_empty
            and self._shelf.is_settled
            and not self._shelf.is_offering
        )

    @property
    def announcing(self) -> bool:
        """Whether the last announcement is still to be acknowledged."""
        return self._announcement in self._flight

    @property
    def is_hurried(self) -> bool:
        """Whether something is to be done soon, although nothing comes from the broker."""
        return self._shelf.is_hurried or not self._looked_at_all

    @property
    def waits_s(self) -> float:
        """How long the broker has owed an answer, beyond what a slow line explains."""
        return self._flight.waits_s

    @property
    def is_drained(self) -> bool:
        """Whether the broker has answered everything."""
        return not self._flight

    @property
    def unanswered(self) -> list[tuple[str, int | None]]:
        """(topic, number) of every message in flight, oldest first."""
        return self._flight.unanswered

    @property
    def unproven(self) -> list[str]:
        """Topics of messages with QoS 0 that the broker may not have seen."""
        return self._flight.unproven

    @property
    def _has_place(self) -> bool:
        if self._connection.lost is not None or self.is_closing or self._makes_way:
            return False
        return len(self._flight) < (1 if self._suspects.one_by_one else self._limit)

    def _is_held(self, topic: str) -> bool:
        """Whether a message on it must wait; for one that is to be alone the others make way."""
        if self._suspects.forbids(topic):
            return True
        if not self._flight or not self._suspects.watches(topic):
            return False
        self._makes_way = True
        return True

    @property
    def _is_deaf(self) -> bool:
        """Whether the broker is still to hear, or to answer, what we want to hear.

        Who sends a command at the word `online` is to be heard.
        """
        if self._suspects.forbids(SUBSCRIPTION) or not self._station.subscriptions():
            return False
        asked = any(topic == SUBSCRIPTION for topic, _ in self._flight.unanswered)
        return asked or not self._subscribed

    def announce(self, availability: str) -> None:
        """Say retained how the device is; does not wait for a free place."""
        self._availability, self._is_announced = availability, False
        self._say_availability()

    def _say_availability(self) -> None:
        """Once, and again as long as the broker does not take it."""
        topic = self._station.availability_topic
        if self._availability is None or self._is_announced or self._suspects.forbids(topic):
            return
        if self._availability == ONLINE and self._is_deaf:
            return
        self._is_announced = True
        payload = self._availability.encode()
        message = Message(topic=topic, payload=payload, qos=1, retain=True, content_type=TEXT)
        self._announcement = self._send(message, is_state=True)

    def turn(self) -> None:
        """Take the broker's answers, then send what there is place for: state before events."""
        self.take_acks()
        self._makes_way = self._makes_way and bool(self._flight)
        self._hand_on()
        self._say_availability()
        self._send_board()
        self._send_post()
        self._send_gaps()
        self._send_events()
        self._spare.send_over(
            self._line,
            self._send,
            forbids=self._suspects.forbids,
            may_send=self._may_send_over,
        )

    def _may_send_over(self) -> bool:
        if self._flight and self._suspects.watches_any:
            return False
        return self._exhausted and self._has_place

    def take_acks(self) -> None:
        """Let go of what the broker has taken."""
        taken: set[int] = set()
        gap_ids: set[str] = set()
        unwanted: list[tuple[OutboxRow, Refusal]] = []
        for ack in self._connection.take_acks():
            sent = self._flight.answered(ack.mid)
            if sent is None:
                continue  # QoS 0
            if ack.refusal is not None:
                if sent.row is not None:
                    self._suspects.refused(sent.topic)
                    unwanted.append((sent.row, ack.refusal))
                else:
                    self._refused(sent, ack.refusal)
                continue
            if self._suspects.taken(sent.topic):
                self._shelf.offer_parked_again()
            if sent.row is not None:
                taken.add(sent.row.seq)
            elif sent.gap_id is not None:
                gap_ids.add(sent.gap_id)
            elif sent.topic != self._station.availability_topic:  # the courier's own message
                self._board.acknowledged(sent.topic)
        self._shelf.park(unwanted)
        # Rows that are acknowledged and still on disk count as in flight: a crash doubles no more.
        self._shelf.remove(taken, gap_ids, at_least=max(1, self._limit // 2))

    def _refused(self, sent: Sent, refusal: Refusal) -> None:
        """Not an event: state and announcements are offered again, ever more rarely."""
        lasts = sent.is_state or sent.gap_id is not None
        if self._suspects.refused(sent.topic, is_state=lasts) or not lasts:
            log.warning("mqtt.message_refused", topic=sent.topic, reason=refusal.text)
        if sent.gap_id is not None:
            self._shelf.gap_refused(sent.gap_id)
        elif sent.topic == self._station.availability_topic:
            self._is_announced = False
        elif sent.is_state:
            self._board.refused(sent.topic)

    def _hand_on(self) -> None:
        wanted = self._station.subscriptions()
        if wanted != self._subscribed and self._has_place:
            self._subscribe(wanted)
        for topic in self._connection.take_refused_filters():
            log.warning("mqtt.subscription_refused", topic=topic, remedy=UNHEARD)
        for message in self._connection.take_inbound():
            if self._station.on_message is not None:
                self._station.on_message(message)

    def _subscribe(self, wanted: frozenset[str]) -> None:
        """In flight like a message: there are brokers that hang up at what they forbid."""
        if self._suspects.forbids(SUBSCRIPTION):
            return
        self._connection.unsubscribe(self._subscribed - wanted)
        mid = self._connection.subscribe(wanted - self._subscribed)
        if mid is not None:
            self._flight.add(mid, Sent(topic=SUBSCRIPTION))
        self._subscribed = wanted

    def _send_board(self) -> None:
        for _ in range(MOST_PER_TURN):
            message = self._board.take(self._is_held) if self._has_place else None
            if message is None:
                return
            self._send(self._board_message(message), is_state=True)

    def _board_message(self, message: BoardMessage) -> Message:
        return Message(
            topic=message.topic,
            payload=message.payload,
            qos=message.qos,
            retain=message.retain,
            user={"schema": message.schema} if message.schema else {},
            expiry_s=None if message.qos else self._station.health_expiry_s(),
        )

    def _send_post(self) -> None:
        def is_held(topic: str) -> bool:
            return not self._suspects.forbids(topic) and self._is_held(topic)

        while self._has_place and (message := self._post.take(is_held)) is not None:
            if not self._suspects.forbids(message.topic):
                self._send(message)

    def _send_gaps(self) -> None:
        topic = gaps.gaps_topic(self._station.prefix, self._station.device_id)
        if self._suspects.forbids(topic):
            for gap in self._gaps:
                self._shelf.gap_refused(gap.gap_id)
            self._gaps.clear()
            return
        if not self._gaps and self._has_place:
            self._gaps = self._shelf.take_gaps()
        while self._gaps and self._has_place:
            gap = self._gaps.pop(0)
            payload = encode(gaps.gap_payload(gap, device_id=self._station.device_id))
            message = Message(topic=topic, payload=payload, qos=1, user={"schema": gaps.SCHEMA})
            self._send(message, gap_id=gap.gap_id)

    def _send_events(self) -> None:
        """Some of them: a whole backlog that is refused must not hold up everything else."""
        unwanted: list[tuple[OutboxRow, Refusal]] = []
        self._looked_at_all = True
        for looked_at in range(MOST_PER_TURN + 1):
            if not self._has_place:
                break
            if looked_at == MOST_PER_TURN:
                self._looked_at_all = False
                break
            row = self._lanes.next()
            self._exhausted = row is None
            if row is None:
                break
            if self._suspects.forbids(row.topic):
                unwanted.append((row, HUNG_UP))
                continue
            message = self._event_message(row)
            too_large = self._too_large(message)
            if too_large is not None:
                unwanted.append((row, too_large))
            else:
                self._send(message, row=row)
        self._shelf.park(unwanted)

    def _event_message(self, row: OutboxRow) -> Message:
        user = {"schema": EVENT_SCHEMA}
        if row.age_s > OLD_AFTER_S:
            user["historical"] = "true"
        return Message(topic=row.topic, payload=row.payload, qos=1, user=user)

    def _too_large(self, message: Message) -> Refusal | None:
        """The broker would cut the connection, at this message again and again."""
        limit = self._connection.maximum_packet_bytes
        if limit is None or (size := self._connection.packet_bytes(message)) <= limit:
            return None
        return Refusal(code=TOO_LARGE, text=f"{size} bytes, the broker takes {limit} at most")

    def _send(
        self,
        message: Message,
        *,
        row: OutboxRow | None = None,
        gap_id: str | None = None,
        is_state: bool = False,
    ) -> int | None:
        """Returns the message's id; None when it was not sent."""
        self._suspects.sends(message.topic)
        if message.qos == 0 and self._suspects.asks_for_answers:
            message = replace(message, qos=1)
        sent = Sent(topic=message.topic, row=row, gap_id=gap_id, is_state=is_state)
        too_large = self._too_large(message)
        if too_large is not None:
            self._refused(sent, too_large)
            return None
        self._flight.count(self._connection.packet_bytes(message))
        mid = self._connection.publish(message)
        if mid is not None and message.qos > 0:
            self._flight.add(mid, sent)
        elif mid is not None:
            self._flight.add_unasked(message.topic)
        return mid
