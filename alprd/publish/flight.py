"""Messages that a broker has not answered yet, and how long it has really been silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from alprd.ports import Clock
from alprd.publish.message import Message
from alprd.publish.rows import OutboxRow

FREE_BYTES: Final = 4096
SLOWEST_BYTES_PER_S: Final = 1000.0
"""What is larger than a few events is given the time that it needs on a line as slow as this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message with QoS 1.

    Attributes:
        topic: of the message.
        row: the event; None for all else.
        gap_id: the announcement; None for all else.
        is_state: whether it is the newest of its topic and stays until the broker takes it.
    """

    topic: str
    row: OutboxRow | None = None
    gap_id: str | None = None
    is_state: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    sent: Sent
    at_s: float
    end_bytes: int


class Line(Protocol):
    """What is asked of a connection, see `Connection`."""

    @property
    def maximum_packet_bytes(self) -> int | None:
        """What the broker takes."""

    def packet_bytes(self, message: Message) -> int:
        """The size on the wire."""

    def mark(self) -> int | None:
        """Put a mark behind what was sent so far."""

    def has_passed(self, mark: int) -> bool:
        """Whether the broker has taken everything before the mark."""


class Flight:
    """Of one connection; owned by the publisher thread.

    A broker takes messages in order, so an answer to one, or to a mark, is one to all before it,
    also to those with QoS 0, which have none of their own.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[int, _Entry] = {}  # oldest first
        self._sent_bytes = self._passed_bytes = 0
        self._went_on_at_s = self._counted_at_s = clock()
        self._unasked: dict[str, int] = {}
        self._marks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, mid: object) -> bool:
        return mid in self._entries

    def count(self, size: int) -> None:
        """So many bytes go out, with whatever QoS."""
        now_s = self._clock()
        if not self._entries:
            # Nothing was to tell how far the line is; the slowest would have come so far.
            passed = int((now_s - self._counted_at_s) * SLOWEST_BYTES_PER_S)
            self._passed_bytes = min(self._sent_bytes, self._passed_bytes + passed)
        self._counted_at_s = now_s
        self._sent_bytes += size

    def add_unasked(self, topic: str) -> None:
        """A message with QoS 0 has gone out; its bytes are counted."""
        self._unasked[topic] = self._sent_bytes

    def marked(self, mark: int) -> None:
        """A mark has gone out behind everything so far."""
        self._marks[mark] = self._sent_bytes

    def mark_passed(self, mark: int) -> None:
        """The broker has taken everything before the mark."""
        end_bytes = self._marks.pop(mark, None)
        if end_bytes is None:
            return
        oldest = next(iter(self._entries.values()), None)
        if oldest is not None and self._passed_bytes < oldest.end_bytes:
            self._went_on_at_s = self._clock()
        self._pass(end_bytes)

    def _pass(self, end_bytes: int) -> None:
        self._passed_bytes = max(self._passed_bytes, end_bytes)
        self._unasked = {topic: end for topic, end in self._unasked.items() if end > end_bytes}

    def add(self, mid: int, sent: Sent) -> None:
        """The message has gone out under this id; its bytes are counted."""
        self._entries[mid] = _Entry(sent, self._clock(), self._sent_bytes)

    def answered(self, mid: int) -> Sent | None:
        """The message with this id, which is no longer in flight; None: it was not."""
        in_order = next(iter(self._entries), None) == mid
        entry = self._entries.pop(mid, None)
        if entry is None:
            return None
        self._pass(entry.end_bytes)
        if in_order:
            self._went_on_at_s = self._clock()
        return entry.sent

    @property
    def unanswered(self) -> list[tuple[str, int | None]]:
        """(topic, number) of every message, oldest first."""
        return [
            (entry.sent.topic, None if entry.sent.row is None else entry.sent.row.seq)
            for entry in self._entries.values()
        ]

    @property
    def unproven(self) -> list[str]:
        """Topics of messages with QoS 0 that the broker may not have seen yet, oldest first."""
        return sorted(self._unasked, key=self._unasked.__getitem__)

    @property
    def waits_s(self) -> float:
        """How long the oldest message has been waiting for its answer.

        Less what a slow line needs for it; and answers that come one after the other are no wait.
        """
        for oldest in self._entries.values():
            since_s = max(oldest.at_s, self._went_on_at_s)
            before_it = max(0, oldest.end_bytes - self._passed_bytes - FREE_BYTES)
            return self._clock() - since_s - before_it / SLOWEST_BYTES_PER_S
        return 0.0


class MarkedLine:
    """A connection whose marks the flight gets to know."""

    def __init__(self, line: Line, flight: Flight) -> None:
        self._line = line
        self._flight = flight

    @property
    def maximum_packet_bytes(self) -> int | None:
        """What the broker takes."""
        return self._line.maximum_packet_bytes

    def packet_bytes(self, message: Message) -> int:
        """The size on the wire."""
        return self._line.packet_bytes(message)

    def mark(self) -> int | None:
        """Put a mark behind what was sent so far."""
        mark = self._line.mark()
        if mark is not None:
            self._flight.marked(mark)
        return mark

    def has_passed(self, mark: int) -> bool:
        """Whether the broker has taken everything before the mark."""
        passed = self._line.has_passed(mark)
        if passed:
            self._flight.mark_passed(mark)
        return passed
