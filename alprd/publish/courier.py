"""Carries the board and the outbox over one connection, a few messages in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from alprd.core.events import SCHEMA as EVENT_SCHEMA
from alprd.ports import Clock
from alprd.publish.board import Board, BoardMessage
from alprd.publish.mqtt import Connection, Message
from alprd.publish.outbox import OutboxRow
from alprd.publish.shelf import Shelf

JSON: Final = "application/json"
TEXT: Final = "text/plain"
HISTORICAL_AFTER_S: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _InFlight:
    """A QoS 1 message that the broker has not answered; `seq` is None for board messages."""

    seq: int | None
    topic: str
    sent_at_s: float


class Courier:
    """Made for one accepted connection and thrown away with it; owned by the publisher thread."""

    def __init__(
        self,
        connection: Connection,
        shelf: Shelf,
        board: Board,
        *,
        availability_topic: str,
        max_inflight: int,
        health_expiry_s: int,
        clock: Clock,
        now: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._shelf = shelf
        self._board = board
        self._availability_topic = availability_topic
        self._limit = max(1, min(max_inflight, connection.receive_maximum))
        self._health_expiry_s = health_expiry_s
        self._clock = clock
        self._now = now
        self._inflight: dict[int, _InFlight] = {}  # oldest first
        self._fetched: deque[OutboxRow] = deque()
        self._last_seq = 0
        self._exhausted = False
        self._announcement: int | None = None

    @property
    def idle(self) -> bool:
        """True when everything that was there has been sent and acknowledged."""
        return (
            self._exhausted
            and not self._inflight
            and not self._fetched
            and self._board.is_sent
            and self._shelf.is_settled
        )

    @property
    def announcing(self) -> bool:
        """Whether the last announcement is still to be acknowledged."""
        return self._announcement in self._inflight

    @property
    def waits_s(self) -> float:
        """How long the oldest message has been waiting for its acknowledgement."""
        for oldest in self._inflight.values():
            return self._clock() - oldest.sent_at_s
        return 0.0

    @property
    def _has_place(self) -> bool:
        return self._connection.lost is None and len(self._inflight) < self._limit

    def announce(self, availability: str) -> None:
        """Say retained how the device is; does not wait for a free place."""
        message = Message(
            topic=self._availability_topic,
            payload=availability.encode(),
            qos=1,
            retain=True,
            content_type=TEXT,
            user={},
        )
        self._announcement = self._send(message, seq=None)

    def turn(self) -> None:
        """Take the broker's answers, then send what there is place for: state before events."""
        self.take_acks()
        self._send_board()
        self._send_events()

    def take_acks(self) -> None:
        """Let go of what the broker has taken."""
        taken: set[int] = set()
        for ack in self._connection.take_acks():
            sent = self._inflight.pop(ack.mid, None)
            if sent is None:
                continue  # QoS 0
            if ack.refusal is not None:
                self._note_refusal(sent.topic, sent.seq, ack.refusal)
            elif sent.seq is not None:
                taken.add(sent.seq)
            elif sent.topic != self._availability_topic:  # the courier's own message
                self._board.acknowledged(sent.topic)
        self._shelf.remove(taken)

    def _note_refusal(self, topic: str, seq: int | None, reason: str) -> None:
        """The row stays and is tried again on the next connection; the queue goes on."""
        if seq is not None:
            self._shelf.refused += 1
        log.warning("mqtt.message_refused", topic=topic, seq=seq, reason=reason)

    def _send_board(self) -> None:
        while self._has_place:
            message = self._board.take()
            if message is None:
                return
            self._send(self._board_message(message), seq=None)

    def _board_message(self, message: BoardMessage) -> Message:
        return Message(
            topic=message.topic,
            payload=message.payload,
            qos=message.qos,
            retain=message.retain,
            content_type=JSON,
            user={"schema": message.schema} if message.schema else {},
            expiry_s=None if message.qos else self._health_expiry_s,
        )

    def _send_events(self) -> None:
        while self._has_place:
            row = self._next_row()
            if row is None:
                return
            self._send(self._event_message(row), seq=row.seq)

    def _next_row(self) -> OutboxRow | None:
        while True:
            if not self._fetched:
                self._fetched.extend(self._shelf.fetch(self._last_seq))
            self._exhausted = not self._fetched
            if self._exhausted:
                return None
            row = self._fetched.popleft()
            self._last_seq = row.seq
            if not self._shelf.is_taken(row.seq):
                return row

    def _event_message(self, row: OutboxRow) -> Message:
        user = {"schema": EVENT_SCHEMA}
        if self._now().timestamp() - row.added_at_s > HISTORICAL_AFTER_S:
            user["historical"] = "true"
        return Message(
            topic=row.topic, payload=row.payload, qos=1, retain=False, content_type=JSON, user=user
        )

    def _send(self, message: Message, *, seq: int | None) -> int | None:
        """Returns the message's id; None when it was not sent."""
        limit = self._connection.maximum_packet_bytes
        # The broker would cut the connection, at this message again and again.
        if limit is not None and (size := self._connection.packet_bytes(message)) > limit:
            reason = f"{size} bytes, the broker takes {limit} at most"
            self._note_refusal(message.topic, seq, reason)
            return None
        mid = self._connection.publish(message)
        if mid is not None and message.qos > 0:
            self._inflight[mid] = _InFlight(seq=seq, topic=message.topic, sent_at_s=self._clock())
        return mid
