"""The durable queue between inference and the broker: one SQLite file, two connections.

`OutboxWriter` belongs to the inference thread and `OutboxReader` to the publisher thread; they meet
only inside SQLite (write-ahead log, synchronous=FULL), so neither needs a lock of ours. An event
counts as published once `add` has returned; its row goes when the broker has acknowledged it.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from alprd.publish.outbox_file import connect, lock, outbox_error, prepare

DELETE_CHUNK: Final = 500
VACUUM_FROM_PAGES: Final = 2048
VACUUM_STEP_PAGES: Final = 512

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
    """An event that waits for the broker; `added_at_s` is Unix time."""

    seq: int
    topic: str
    event_id: str
    payload: bytes
    added_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """How many events wait, and how many the bound has cost since the file was made."""

    pending: int
    dropped: int


@contextmanager
def _sqlite_as_outbox_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise outbox_error(path, error) from error


class OutboxWriter:
    """Makes events durable and numbers them; used by one thread at a time.

    It may be made in one thread and handed to another, which from then on is its only user.
    """

    def __init__(self, path: Path, *, max_events: int, now: Callable[[], datetime]) -> None:
        """Open the outbox, making or migrating the file.

        Args:
            path: the SQLite file; its folder exists.
            max_events: beyond it the oldest rows are dropped, and counted.
            now: aware wall time; only the age of a row rests on it, never its place.

        Raises:
            OutboxError: the file cannot be used; the message names the remedy.
        """
        self._path = path
        self._max_events = max_events
        self._now = now
        self._lock = lock(path)
        try:
            self.set_aside = prepare(path, now=now)
            """Where a damaged earlier file now lies; None when all was well."""
            with _sqlite_as_outbox_error(path):
                self._db = connect(path)
        except BaseException:
            self._lock.close()
            raise

    def add(self, rows: Sequence[NewRow]) -> list[int]:
        """Make events durable, in order, all or none; returns their sequence numbers.

        Raises:
            OutboxError: nothing was added, no number was used up.
        """
        if not rows:
            return []
        added_at_s = self._now().timestamp()
        with _sqlite_as_outbox_error(self._path):
            # IMMEDIATE takes the write lock before the counter is read, so that no number can be
            # given twice.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                seqs = self._insert(rows, added_at_s)
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back by itself after some errors (a full disk).
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        return seqs

    def _insert(self, rows: Sequence[NewRow], added_at_s: float) -> list[int]:
        next_seq, pending = _counters(self._db, "next_seq", "pending")
        seqs = list(range(next_seq, next_seq + len(rows)))
        payloads = [row.build(seq) for seq, row in zip(seqs, rows, strict=True)]
        self._db.executemany(
            "INSERT INTO event (seq, topic, event_id, payload, size, added_at_s)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (seq, row.topic, row.event_id, payload, len(payload), added_at_s)
                for seq, row, payload in zip(seqs, rows, payloads, strict=True)
            ],
        )
        dropped = self._drop_oldest(pending + len(rows) - self._max_events)
        _add_to_counter(self._db, "next_seq", len(rows))
        _add_to_counter(self._db, "pending", len(rows) - dropped)
        _add_to_counter(self._db, "dropped", dropped)
        return seqs

    def _drop_oldest(self, excess: int) -> int:
        if excess <= 0:
            return 0
        return self._db.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event ORDER BY seq LIMIT ?)",
            (excess,),
        ).rowcount

    def counts(self) -> OutboxCounts:
        """How much waits and how much was dropped. Raises OutboxError."""
        with _sqlite_as_outbox_error(self._path):
            return _counts(self._db)

    def close(self) -> None:
        """Release the file."""
        self._db.close()
        self._lock.close()

    def __enter__(self) -> OutboxWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OutboxReader:
    """Hands out waiting events and removes acknowledged ones; owned by the publisher thread."""

    def __init__(self, path: Path) -> None:
        """Open an outbox that `OutboxWriter` has prepared. Raises OutboxError."""
        self._path = path
        with _sqlite_as_outbox_error(path):
            self._db = connect(path)

    def pending(self, after_seq: int, limit: int) -> list[OutboxRow]:
        """The oldest `limit` rows with a greater sequence number, in order. Raises OutboxError."""
        with (
            _sqlite_as_outbox_error(self._path),
            closing(
                self._db.execute(
                    "SELECT seq, topic, event_id, payload, added_at_s FROM event"
                    " WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after_seq, limit),
                )
            ) as cursor,
        ):
            return [
                OutboxRow(seq=seq, topic=topic, event_id=event_id, payload=payload, added_at_s=at_s)
                for seq, topic, event_id, payload, at_s in cursor
            ]

    def delete(self, seqs: Iterable[int]) -> None:
        """Remove acknowledged rows; a row that is already gone is no error. Raises OutboxError."""
        waiting = deque(seqs)
        while waiting:
            chunk = [waiting.popleft() for _ in range(min(DELETE_CHUNK, len(waiting)))]
            with _sqlite_as_outbox_error(self._path):
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._delete_chunk(chunk)
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise

    def _delete_chunk(self, seqs: Sequence[int]) -> None:
        marks = ",".join("?" * len(seqs))
        # Only question marks are pasted in; the values are bound.
        gone = self._db.execute(f"DELETE FROM event WHERE seq IN ({marks})", seqs).rowcount  # noqa: S608
        _add_to_counter(self._db, "pending", -gone)

    def counts(self) -> OutboxCounts:
        """How much waits and how much was dropped. Raises OutboxError."""
        with _sqlite_as_outbox_error(self._path):
            return _counts(self._db)

    def give_space_back(self) -> None:
        """Shrink the file by one step when a long outage has blown it up. Raises OutboxError."""
        with _sqlite_as_outbox_error(self._path):
            (free_pages,) = self._db.execute("PRAGMA freelist_count").fetchone()
            if free_pages > VACUUM_FROM_PAGES:
                # As a script, because `execute` takes one step, which frees one page.
                self._db.executescript(f"PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})")

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> OutboxReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _counters(db: sqlite3.Connection, *names: str) -> list[int]:
    found: dict[str, int] = dict(db.execute("SELECT name, value FROM counter"))
    return [found[name] for name in names]


def _add_to_counter(db: sqlite3.Connection, name: str, amount: int) -> None:
    if amount:
        db.execute("UPDATE counter SET value = value + ? WHERE name = ?", (amount, name))


def _counts(db: sqlite3.Connection) -> OutboxCounts:
    pending, dropped = _counters(db, "pending", "dropped")
    return OutboxCounts(pending=pending, dropped=dropped)
