"""Messages that a broker has not answered yet, and how long it has really been silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from alprd.ports import Clock
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


class Flight:
    """Of one connection; owned by the publisher thread."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[int, _Entry] = {}  # oldest first
        self._sent_bytes = self._passed_bytes = 0
        self._went_on_at_s = clock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, mid: object) -> bool:
        return mid in self._entries

    def count(self, size: int) -> None:
        """So many bytes go out, with whatever QoS."""
        self._sent_bytes += size

    def add(self, mid: int, sent: Sent) -> None:
        """The message has gone out under this id; its bytes are counted."""
        self._entries[mid] = _Entry(sent, self._clock(), self._sent_bytes)

    def answered(self, mid: int) -> Sent | None:
        """The message with this id, which is no longer in flight; None: it was not."""
        in_order = next(iter(self._entries), None) == mid
        entry = self._entries.pop(mid, None)
        if entry is None:
            return None
        self._passed_bytes = max(self._passed_bytes, entry.end_bytes)
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
    def waits_s(self) -> float:
        """How long the oldest message has been waiting for its answer.

        Less what a slow line needs for it; and answers that come one after the other are no wait.
        """
        for oldest in self._entries.values():
            since_s = max(oldest.at_s, self._went_on_at_s)
            before_it = max(0, oldest.end_bytes - self._passed_bytes - FREE_BYTES)
            return self._clock() - since_s - before_it / SLOWEST_BYTES_PER_S
        return 0.0
