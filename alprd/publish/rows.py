"""What the outbox takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

ROW_BYTES: Final = 100
"""What a row takes beside its texts, about."""

Unwanted = tuple[int, str, bool]
"""An event that a broker refuses: its number, the broker's reason, whether that may pass."""

PayloadBuilder = Callable[[int], bytes]
"""Gives the finished message once the sequence number is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """An event that is about to become durable."""

    topic: str
    event_id: str
    build: PayloadBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """An event that waits for the broker; `age_s` is how long, whatever the wall clock did."""

    seq: int
    topic: str
    event_id: str
    payload: bytes
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may wait, and what goes beyond it."""

    max_events: int
    max_bytes: int
    max_age_s: float
    when_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """How it stands.

    Attributes:
        pending: events that wait for the broker.
        bytes: what they and the parked ones take.
        parked: events that a broker refused, kept apart.
        dropped: events that a bound has cost, since the file was made.
        lost: numbers that a damaged file has cost, delivered or not, since the first damage.
        gaps: announcements that wait for the broker.
    """

    pending: int
    bytes: int
    parked: int
    dropped: int
    lost: int
    gaps: int


def row_bytes(topic: str, event_id: str, payload: bytes) -> int:
    """What an event counts against the bound."""
    return len(payload) + len(topic) + len(event_id) + ROW_BYTES
