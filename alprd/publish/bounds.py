"""What goes when the outbox is full or events are too old; each loss becomes part of a gap."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Final

from alprd.publish.ballast import DELETE_ROWS, few
from alprd.publish.gaps import GapReason, runs
from alprd.publish.rows import Bounds

MOST_AT_ONCE: Final = 1000
"""A bound that was lowered by far is kept after some more events, not by one long transaction."""

EventRow = tuple[int, str, str, bytes, int, float, float, int]
"""seq, topic, event_id, payload, size, added_at_s, aged_s, crc."""


def counters(db: sqlite3.Connection) -> dict[str, int]:
    """All counters by name.

    Raises:
        sqlite3.DatabaseError: one is no number; worded as SQLite words damage.
    """
    found = dict(db.execute("SELECT name, value FROM counter"))
    for name, value in found.items():
        if not isinstance(value, int):
            raise sqlite3.DatabaseError(f"database disk image is malformed (counter {name})")
    return found


def count(db: sqlite3.Connection, **amounts: int) -> None:
    """Add to counters."""
    changed = [(amount, name) for name, amount in amounts.items() if amount]
    if changed:
        db.executemany("UPDATE counter SET value = value + ? WHERE name = ?", changed)


def note_gap(
    db: sqlite3.Connection,
    seqs: Iterable[int],
    *,
    reason: GapReason,
    detail: str | None,
    at_s: float,
) -> None:
    """Write numbers down for announcement; a run that goes on where the last one ended grows it."""
    for first, last in runs(seqs):
        grown = db.execute(
            "UPDATE gap SET to_seq = ? WHERE id = (SELECT max(id) FROM gap) AND to_seq = ? - 1"
            " AND reason = ? AND detail IS ? AND gap_id IS NULL",
            (last, first, reason, detail),
        ).rowcount
        if not grown:
            db.execute(
                "INSERT INTO gap (from_seq, to_seq, reason, detail, at_s) VALUES (?, ?, ?, ?, ?)",
                (first, last, reason, detail, at_s),
            )
            count(db, gaps=1)


def those_that_fit(db: sqlite3.Connection, bounds: Bounds, new: list[EventRow]) -> list[EventRow]:
    """Of new events those that the bounds have room for; the others are counted and noted."""
    now = counters(db)
    events, size = now["pending"] + now["parked"], now["bytes"]
    kept: list[EventRow] = []
    for row in new:
        seq, row_size, wall_s = row[0], row[4], row[5]
        if events < bounds.max_events and size + row_size <= bounds.max_bytes:
            kept.append(row)
            events, size = events + 1, size + row_size
            continue
        reason: GapReason = "bytes" if events < bounds.max_events else "events"
        note_gap(db, [seq], reason=reason, detail=_bound(bounds, reason), at_s=wall_s)
        count(db, dropped=1)
    return kept


def drop_excess(
    db: sqlite3.Connection, bounds: Bounds, *, spared: Collection[int], at_s: float
) -> int:
    """Keep within max_events and max_bytes; returns how many events went.

    First go those that a broker has refused (they have been announced already), then the oldest,
    except `spared` ones, which are under way to the broker and may arrive.
    """
    now = counters(db)
    too_many = now["pending"] + now["parked"] - bounds.max_events
    too_big = now["bytes"] - bounds.max_bytes
    if too_many <= 0 and too_big <= 0:
        return 0
    reason: GapReason = "events" if too_many > 0 else "bytes"
    dropped = 0
    for table in ("parked", "event"):
        victims: list[int] = []
        announced: set[int] = set()
        freed = 0
        # Only the two names above are pasted in.
        for seq, size, tries in db.execute(
            f"SELECT seq, CAST(size AS INTEGER), tries FROM {table} ORDER BY seq"  # noqa: S608
        ):
            if (too_many <= len(victims) and too_big <= freed) or len(victims) == MOST_AT_ONCE:
                break
            if table == "event" and seq in spared:
                continue
            victims.append(seq)
            freed += size
            if tries:
                announced.add(seq)
        delete(db, table, victims, size=freed)
        note_gap(
            db,
            (seq for seq in victims if seq not in announced),
            reason=reason,
            detail=_bound(bounds, reason),
            at_s=at_s,
        )
        dropped += len(victims)
        too_many -= len(victims)
        too_big -= freed
    count(db, dropped=dropped)
    return dropped


def drop_aged(
    db: sqlite3.Connection,
    bounds: Bounds,
    *,
    now_s: float,
    spared: Collection[int],
    at_s: float,
) -> int:
    """Drop some of what has waited longer than max_age_s; returns how many, 0: none is left."""
    for table in ("parked", "event"):
        rows: list[tuple[int, int, int]] = []
        for seq, size, tries, aged_s in db.execute(
            f"SELECT seq, CAST(size AS INTEGER), tries, CAST(aged_s AS REAL) FROM {table}"  # noqa: S608
            " ORDER BY seq"
        ):
            if now_s - aged_s <= bounds.max_age_s or len(rows) == DELETE_ROWS:
                break
            if table == "parked" or seq not in spared:
                rows.append((seq, size, tries))
        if not rows:
            continue
        rows = rows[: few(size for _, size, _ in rows)]
        delete(db, table, [seq for seq, _, _ in rows], size=sum(size for _, size, _ in rows))
        note_gap(
            db,
            (seq for seq, _, tries in rows if not tries),
            reason="age",
            detail=_bound(bounds, "age"),
            at_s=at_s,
        )
        count(db, dropped=len(rows))
        return len(rows)
    return 0


def delete(db: sqlite3.Connection, table: str, seqs: list[int], *, size: int) -> None:
    """Remove rows of `event` or `parked` that take `size` bytes, and count them away."""
    db.executemany(f"DELETE FROM {table} WHERE seq = ?", ((seq,) for seq in seqs))  # noqa: S608
    gone = -len(seqs)
    count(db, bytes=-size, **{"pending" if table == "event" else "parked": gone})


def _bound(bounds: Bounds, reason: GapReason) -> str:
    if reason == "age":
        return f"outbox.max_age_s = {bounds.max_age_s:g}"
    limit = bounds.max_events if reason == "events" else bounds.max_bytes
    return f"outbox.max_{reason} = {limit}"
