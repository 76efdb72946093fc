"""Questions to the outbox's file; each gets a connection and changes nothing but gaps' ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from datetime import datetime, timezone
from typing import Final

from alprd.publish.gaps import Gap
from alprd.publish.remains import is_intact, is_time
from alprd.publish.rows import OutboxRow

IN_CHUNK: Final = 500


def unclaimed(
    db: sqlite3.Connection,
    *,
    after_seq: int,
    before_seq: int | None,
    limit: int,
    claimed: Collection[int],
    now_s: float,
) -> list[OutboxRow]:
    """The oldest rows between two numbers (both exclusive) that are not claimed.

    Raises:
        sqlite3.DatabaseError: a row is not what was written; worded as SQLite words damage.
    """
    found: list[OutboxRow] = []
    with closing(
        db.execute(
            "SELECT seq, topic, event_id, payload, aged_s, crc FROM event"
            " WHERE seq > ? AND seq < ? ORDER BY seq",
            (after_seq, before_seq if before_seq is not None else 2**62),
        )
    ) as cursor:
        for seq, topic, event_id, payload, aged_s, crc in cursor:
            if seq in claimed:
                continue
            if not is_intact(seq, topic, event_id, payload, crc) or not is_time(aged_s):
                raise sqlite3.DatabaseError(f"database disk image is malformed (event {seq})")
            age_s = max(0.0, now_s - aged_s)
            found.append(
                OutboxRow(seq=seq, topic=topic, event_id=event_id, payload=payload, age_s=age_s)
            )
            if len(found) == limit:
                break
    return found


def first_since(db: sqlite3.Connection, since_aged_s: float) -> int | None:
    """The lowest number of a row with at least this `aged_s`, by halving the range of numbers."""

    def at_or_after(seq: int) -> tuple[int, float] | None:
        row: tuple[int, float] | None = db.execute(
            "SELECT seq, aged_s FROM event WHERE seq >= ? ORDER BY seq LIMIT 1", (seq,)
        ).fetchone()
        return row

    first = at_or_after(0)
    if first is None:
        return None
    if first[1] >= since_aged_s:
        return first[0]
    (last,) = db.execute("SELECT max(seq) FROM event").fetchone()
    low, high = first[0], last + 1  # low is too old; nothing at or after high
    found: int | None = None
    while low + 1 < high:
        middle = (low + high) // 2
        row = at_or_after(middle)
        if row is None or row[1] >= since_aged_s:
            high = middle
            found = row[0] if row is not None else found
        else:
            low = row[0]
    return found


def sizes(db: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, int]:
    """Number -> bytes of those events that are there."""
    found: dict[int, int] = {}
    for start in range(0, len(seqs), IN_CHUNK):
        chunk = seqs[start : start + IN_CHUNK]
        marks = ",".join("?" * len(chunk))
        # Only question marks are pasted in; the values are bound.
        question = f"SELECT seq, CAST(size AS INTEGER) FROM event WHERE seq IN ({marks})"  # noqa: S608
        found.update(db.execute(question, chunk))
    return found


def floor(db: sqlite3.Connection) -> int:
    """The lowest number that is not delivered, parked or waiting to be announced."""
    (value,) = db.execute(
        "SELECT min(coalesce((SELECT min(seq) FROM event), 1 << 62),"
        " coalesce((SELECT min(seq) FROM parked), 1 << 62),"
        " coalesce((SELECT min(from_seq) FROM gap), 1 << 62),"
        " (SELECT value FROM counter WHERE name = 'next_seq'))"
    ).fetchone()
    return int(value)


def oldest_aged_s(db: sqlite3.Connection) -> float | None:
    """The `aged_s` of the row that waits longest."""
    found = [
        row[0]
        for table in ("event", "parked")
        for row in db.execute(f"SELECT aged_s FROM {table} ORDER BY seq LIMIT 1")  # noqa: S608
    ]
    return min(found, default=None)


def last_refusal(db: sqlite3.Connection) -> str | None:
    """The topic and reason of the newest parked event."""
    row = db.execute("SELECT topic, reason FROM parked ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else f"{row[0]}: {row[1]}"


def recall(db: sqlite3.Connection, name: str) -> str | None:
    """A note of the table `meta`."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def sealed_gaps(
    db: sqlite3.Connection, limit: int, new_id: Callable[[], str], *, but: Collection[str] = ()
) -> list[Gap]:
    """The oldest gaps, except those with the ids `but`, each with an id that it keeps."""
    rows = db.execute(
        "SELECT id, from_seq, to_seq, reason, detail, at_s, gap_id FROM gap ORDER BY id LIMIT ?",
        (limit + len(but),),
    ).fetchall()
    found: list[Gap] = []
    for key, from_seq, to_seq, reason, detail, at_s, known_id in rows:
        if known_id in but or len(found) == limit:
            continue
        gap_id = known_id or new_id()
        if known_id is None:
            db.execute("UPDATE gap SET gap_id = ? WHERE id = ?", (gap_id, key))
        found.append(
            Gap(
                from_seq=from_seq,
                to_seq=to_seq,
                reason=reason,
                detail=detail,
                at=datetime.fromtimestamp(at_s, timezone.utc),
                gap_id=gap_id,
            )
        )
    return found
