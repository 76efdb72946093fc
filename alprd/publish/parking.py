"""Events that a broker refuses: kept apart with the reason, so that the queue goes on."""

from __future__ import annotations

import sqlite3
from typing import Final

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


def is_any_due(db: sqlite3.Connection, due_s: float | None) -> bool:
    """Whether `unpark` has something to do."""
    if due_s is None:
        found = db.execute("SELECT 1 FROM parked LIMIT 1").fetchone()
    else:
        question = "SELECT 1 FROM parked WHERE retry_aged_s <= ? LIMIT 1"
        found = db.execute(question, (due_s,)).fetchone()
    return found is not None


def unpark(db: sqlite3.Connection, due_s: float | None) -> int:
    """Put events back in their places: all, or those whose time has come; returns how many."""
    condition = "" if due_s is None else " WHERE retry_aged_s <= ?"
    values = () if due_s is None else (due_s,)
    back = db.execute(
        f"INSERT INTO event ({_COLUMNS}) SELECT {_COLUMNS} FROM parked{condition}",  # noqa: S608
        values,
    ).rowcount
    db.execute(f"DELETE FROM parked{condition}", values)  # noqa: S608 - nothing from outside
    count(db, pending=back, parked=-back)
    return back
