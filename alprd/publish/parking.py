"""Events that a broker refuses: kept apart with the reason, so that the queue goes on."""

from __future__ import annotations

import sqlite3
from typing import Final

from alprd.publish.ballast import DELETE_ROWS, few
from alprd.publish.bounds import count

RETRY_FIRST_S: Final = 60.0
RETRY_MAX_S: Final = 3600.0
_COLUMNS: Final = "seq, topic, event_id, payload, size, added_at_s, aged_s, crc, tries"


def park(db: sqlite3.Connection, seq: int, reason: str, *, now_s: float, passing: bool) -> bool:
    """Move an event out of the queue; returns whether this is its first time."""
    row = db.execute("SELECT tries FROM event WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return False
    (tries,) = row
    retry_s = now_s + min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(tries, 10)) if passing else None
    # Only the columns' names are pasted in.
    db.execute(
        f"INSERT INTO parked SELECT {_COLUMNS}, ?, ? FROM event WHERE seq = ?",  # noqa: S608
        (reason, retry_s, seq),
    )
    db.execute("UPDATE parked SET tries = tries + 1 WHERE seq = ?", (seq,))
    db.execute("DELETE FROM event WHERE seq = ?", (seq,))
    count(db, pending=-1, parked=1)
    return bool(tries == 0)


def is_any_due(db: sqlite3.Connection, due_s: float) -> bool:
    """Whether the time of one has come."""
    question = "SELECT 1 FROM parked WHERE retry_aged_s <= ? LIMIT 1"
    return db.execute(question, (due_s,)).fetchone() is not None


def last_seq(db: sqlite3.Connection) -> int:
    """The highest number of a parked event; 0: none is parked."""
    (seq,) = db.execute("SELECT coalesce(max(seq), 0) FROM parked").fetchone()
    return int(seq)


def unpark_due(db: sqlite3.Connection, due_s: float) -> list[int]:
    """Put some events back in their places whose time has come; returns their numbers."""
    return _unpark(
        db,
        "SELECT seq, CAST(size AS INTEGER) FROM parked WHERE retry_aged_s <= ?"
        " ORDER BY retry_aged_s, seq LIMIT ?",
        (due_s, DELETE_ROWS),
    )


def unpark(db: sqlite3.Connection, after_seq: int, upto_seq: int) -> list[int]:
    """Put the first events of a range of numbers back in their places; returns their numbers."""
    return _unpark(
        db,
        "SELECT seq, CAST(size AS INTEGER) FROM parked WHERE seq > ? AND seq <= ?"
        " ORDER BY seq LIMIT ?",
        (after_seq, upto_seq, DELETE_ROWS),
    )


def _unpark(db: sqlite3.Connection, question: str, values: tuple[float, ...]) -> list[int]:
    """What one transaction may move: the inference thread waits for its end with its own events."""
    found = db.execute(question, values).fetchall()
    back = [seq for seq, _ in found[: few(2 * size for _, size in found)]]
    keys = [(seq,) for seq in back]
    db.executemany(
        f"INSERT INTO event ({_COLUMNS}) SELECT {_COLUMNS} FROM parked WHERE seq = ?",  # noqa: S608
        keys,
    )
    db.executemany("DELETE FROM parked WHERE seq = ?", keys)
    count(db, pending=len(back), parked=-len(back))
    return back
