"""Outboxes of tests: made quickly, and looked into while nobody uses them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alprd.publish.outbox import Outbox
from alprd.publish.rows import Bounds, NewRow

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


class HandClock:
    """Seconds since the machine started, moved by hand."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def open_outbox(
    path: Path,
    *,
    max_events: int = 1000,
    max_bytes: int = 1024**3,
    max_age_s: float = 1e9,
    when_full: str = "drop_oldest",
    now: Callable[[], datetime] = lambda: NOW,
    **more: Any,
) -> Outbox:
    """An outbox with generous bounds."""
    bounds = Bounds(
        max_events=max_events,
        max_bytes=max_bytes,
        max_age_s=max_age_s,
        when_full=when_full,  # type: ignore[arg-type]
    )
    return Outbox(path, bounds=bounds, now=now, **{"boot_id": "this-boot", **more})


def row(event_id: str, *, topic: str = "alpr/gate/plates", padding: int = 0) -> NewRow:
    """An event of about 40 bytes and some padding."""
    return NewRow(
        topic=topic,
        event_id=event_id,
        build=lambda seq: (
            b'{"seq":%d,"event_id":"%b","p":"%b"}' % (seq, event_id.encode(), b"x" * padding)
        ),
    )


def rows(count: int, *, start: int = 0, padding: int = 0) -> list[NewRow]:
    """Events with the ids id-0, id-1, ..."""
    return [row(f"id-{start + i}", padding=padding) for i in range(count)]


def waiting(outbox: Outbox) -> list[int]:
    """The numbers that wait, claimed by nobody."""
    found = [row.seq for row in outbox.claim(0, 1_000_000)]
    outbox.release()
    return found


def gaps(outbox: Outbox) -> list[tuple[int, int, str]]:
    """What is to be announced, as (from, to, reason)."""
    ids = iter(range(10**6))
    found = outbox.take_gaps(10**6, lambda: f"gap-{next(ids)}")
    return [(gap.from_seq, gap.to_seq, gap.reason) for gap in found]


def peek(path: Path, question: str = "SELECT event_id FROM event ORDER BY seq") -> list[Any]:
    """The first column of an answer of the file itself; the daemon may have died over it."""
    with closing(sqlite3.connect(path)) as db:
        return [found[0] for found in db.execute(question)]
