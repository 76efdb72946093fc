"""One transaction, and what to do when there is no room to let go of something."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from alprd.publish.outbox_file import is_full

_Found = TypeVar("_Found")
Work = Callable[[sqlite3.Connection], _Found]


def in_transaction(db: sqlite3.Connection, work: Work[_Found]) -> _Found:
    """All or nothing; the write lock is taken before anything is read."""
    db.execute("BEGIN IMMEDIATE")
    try:
        found = work(db)
        db.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back by itself after some errors (a full disk).
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return found


def while_there_is_room(
    db: sqlite3.Connection, transaction: Work[_Found], throw_ballast: Callable[[], None]
) -> _Found:
    """Run a transaction that frees room; on a full disk room is made for it first."""
    try:
        return transaction(db)
    except sqlite3.Error as error:
        if not is_full(error):
            raise
    try:
        return _with_an_empty_log(db, transaction)
    except sqlite3.Error as error:
        if not is_full(error):
            raise
    throw_ballast()
    return _with_an_empty_log(db, transaction)


def _with_an_empty_log(db: sqlite3.Connection, transaction: Work[_Found]) -> _Found:
    """What the log holds moves into the file, and the log's own room can be used again."""
    db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return transaction(db)
