"""The durable queue between inference and the broker: one SQLite file with a little mark beside it.

An event counts as published once `add` has returned; its row goes when the broker has acknowledged
it. Every method may be called by any thread and holds the `Store`'s lock for one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from alprd.publish import parking, reading
from alprd.publish.age import since_boot_s
from alprd.publish.ballast import DELETE_ROWS, few
from alprd.publish.bounds import (
    EventRow,
    count,
    counters,
    delete,
    drop_aged,
    drop_excess,
    note_gap,
    those_that_fit,
)
from alprd.publish.gaps import Gap
from alprd.publish.remains import checksum
from alprd.publish.rows import Bounds, NewRow, OutboxCounts, OutboxRow, Unwanted, row_bytes
from alprd.publish.store import Store

VACUUM_FROM_PAGES: Final = 2048
VACUUM_STEP_PAGES: Final = 512


class Outbox:
    """Owned by whoever made it; used by the inference and the publisher thread."""

    def __init__(
        self,
        path: Path,
        *,
        bounds: Bounds,
        now: Callable[[], datetime],
        boot_id: str | None = None,
        boot_s: Callable[[], float] = since_boot_s,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the outbox, making, migrating or replacing the file.

        Args:
            path: the SQLite file; its folder exists.
            bounds: how much may wait.
            now: aware wall time; for people, and for the time that the machine was off.
            boot_id: changes when the machine restarts.
            boot_s: seconds since the machine started.
            on_progress: called now and then while a large damaged file is replaced, for which
                whoever uses the outbox has to wait.

        Raises:
            OutboxError: the file cannot be used; the message names the remedy.
        """
        self.path = path
        self._bounds = bounds
        self._claimed: set[int] = set()
        self.store = Store(path, now=now, boot_id=boot_id, boot_s=boot_s, on_progress=on_progress)

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file was last moved to, in this process or before."""
        return self.store.set_aside

    # -- the inference thread --------------------------------------------------------------------

    def add(self, rows: Sequence[NewRow]) -> list[int]:
        """Make events durable, in order, all or none; returns their sequence numbers.

        Raises:
            OutboxError: nothing was added, no number was used up.
        """
        if not rows:
            return []

        def work(db: sqlite3.Connection) -> list[int]:
            next_seq = self._next_seq(db)
            seqs = list(range(next_seq, next_seq + len(rows)))
            self.store.mark.reserve(next_seq + len(rows))
            self._insert(db, seqs, rows)
            count(db, next_seq=len(rows))
            self.store.store_anchor(db)
            return seqs

        return self.store.write(
            work,
            then=lambda seqs: self.store.mark.advance(next_seq=seqs[-1] + 1),
            grows=True,
        )

    def add_lost(self, amount: int) -> None:
        """Give numbers to events that never became durable, and announce them. OutboxError."""

        def work(db: sqlite3.Connection) -> int:
            next_seq = self._next_seq(db)
            self.store.mark.reserve(next_seq + amount)
            seqs = range(next_seq, next_seq + amount)
            note_gap(db, seqs, reason="unsaved", detail=None, at_s=self.store.wall_s())
            count(db, next_seq=amount, dropped=amount)
            return next_seq + amount

        if amount > 0:
            self.store.write(work, then=lambda next_seq: self.store.mark.advance(next_seq=next_seq))

    def _next_seq(self, db: sqlite3.Connection) -> int:
        """The number to give now.

        Raises:
            sqlite3.DatabaseError: it is not the one that was left; worded as SQLite words damage.
        """
        next_seq, mark = counters(db)["next_seq"], self.store.mark
        if not mark.next_seq <= next_seq <= mark.reserved:
            raise sqlite3.DatabaseError(f"database disk image is malformed (number {next_seq})")
        return next_seq

    def _insert(self, db: sqlite3.Connection, seqs: Sequence[int], rows: Sequence[NewRow]) -> None:
        wall_s, aged_s = self.store.wall_s(), self.store.aged_s()
        new: list[EventRow] = []
        for seq, row in zip(seqs, rows, strict=True):
            payload = row.build(seq)
            size = row_bytes(row.topic, row.event_id, payload)
            crc = checksum(seq, row.topic, row.event_id, payload)
            new.append((seq, row.topic, row.event_id, payload, size, wall_s, aged_s, crc))
        if self._bounds.when_full == "drop_newest":
            new = those_that_fit(db, self._bounds, new)
        db.executemany(
            "INSERT INTO event (seq, topic, event_id, payload, size, added_at_s, aged_s, crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            new,
        )
        count(db, pending=len(new), bytes=sum(row[4] for row in new))
        if self._bounds.when_full == "drop_oldest":
            drop_excess(db, self._bounds, spared=self._claimed, at_s=wall_s)

    # -- the publisher thread --------------------------------------------------------------------

    def claim(
        self, after_seq: int, limit: int, *, before_seq: int | None = None
    ) -> list[OutboxRow]:
        """The oldest rows in a range of numbers that nobody has claimed; no bound drops them now.

        Raises:
            OutboxError: the file cannot be read now.
        """

        def work(db: sqlite3.Connection) -> list[OutboxRow]:
            return reading.unclaimed(
                db,
                after_seq=after_seq,
                before_seq=before_seq,
                limit=limit,
                claimed=self._claimed,
                now_s=self.store.aged_s(),
            )

        def then(rows: list[OutboxRow]) -> None:
            self._claimed.update(row.seq for row in rows)

        return self.store.read(work, then=then)

    def release(self, *, keep: Collection[int] = ()) -> None:
        """A connection is gone: what it had claimed may be claimed again, except `keep`."""
        with self.store.lock:
            self._claimed &= set(keep)

    def first_younger_than(self, age_s: float) -> int | None:
        """The lowest number of a waiting event that is at most so old; None: none is. OutboxError.

        Numbers and ages grow together, so this looks at few rows.
        """
        return self.store.read(lambda db: reading.first_since(db, self.store.aged_s() - age_s))

    def delete(self, seqs: Iterable[int]) -> None:
        """Remove acknowledged rows; a row that is already gone is no error. Raises OutboxError."""
        chosen = list(seqs)
        while chosen:
            del chosen[: self._delete_some(chosen[:DELETE_ROWS])]

    def _delete_some(self, chosen: Sequence[int]) -> int:
        """Delete the first ones; returns how many."""

        def work(db: sqlite3.Connection) -> tuple[Sequence[int], int]:
            sizes = reading.sizes(db, chosen)
            some = chosen[: few(sizes.get(seq, 0) for seq in chosen)]
            there = [seq for seq in some if seq in sizes]
            delete(db, "event", there, size=sum(sizes[seq] for seq in there))
            return some, reading.floor(db)

        def then(done: tuple[Sequence[int], int]) -> None:
            self._claimed.difference_update(done[0])
            self.store.mark.advance(floor=done[1])

        return len(self.store.write(work, then=then, frees=True)[0])

    def park(self, unwanted: Sequence[Unwanted]) -> None:
        """Put events aside that a broker refuses; announced as gaps the first time. OutboxError.

        One that is gone is no error.
        """
        left = list(unwanted)
        while left:
            del left[: self._park_some(left[:DELETE_ROWS])]

    def _park_some(self, unwanted: Sequence[Unwanted]) -> int:
        """Park the first ones; returns how many."""

        def work(db: sqlite3.Connection) -> Sequence[Unwanted]:
            sizes = reading.sizes(db, [seq for seq, _, _ in unwanted])
            some = unwanted[: few(2 * sizes.get(seq, 0) for seq, _, _ in unwanted)]
            now_s = self.store.aged_s()
            for seq, reason, passing in some:
                if parking.park(db, seq, reason, now_s=now_s, passing=passing):
                    note_gap(db, [seq], reason="refused", detail=reason, at_s=self.store.wall_s())
            return some

        def then(some: Sequence[Unwanted]) -> None:
            self._claimed.difference_update(seq for seq, _, _ in some)

        # It gives no room back, but a full disk must not hold the queue up.
        return len(self.store.write(work, then=then, frees=True))

    def unpark_due(self) -> int:
        """Offer some parked events again whose time has come; 0: none is left. OutboxError."""
        if not self.store.read(lambda db: parking.is_any_due(db, self.store.aged_s())):
            return 0
        return len(self.store.write(lambda db: parking.unpark_due(db, self.store.aged_s())))

    def unpark(self, *, after_seq: int, upto_seq: int) -> list[int]:
        """Offer some parked events again, whatever they were refused for. Raises OutboxError.

        Args:
            after_seq: those beyond this number only.
            upto_seq: and none beyond this one.

        Returns:
            Their numbers, in order; none: none is left.
        """
        return self.store.write(lambda db: parking.unpark(db, after_seq, upto_seq))

    def last_parked(self) -> int:
        """The highest number of a parked event; 0: none is parked. Raises OutboxError."""
        return self.store.read(parking.last_seq)

    def last_refusal(self) -> str | None:
        """Why the newest parked event was refused. Raises OutboxError."""
        return self.store.read(reading.last_refusal)

    def drop_aged(self) -> int:
        """Drop some of what has waited too long; 0: none is left. Raises OutboxError."""

        def work(db: sqlite3.Connection) -> int:
            return drop_aged(
                db,
                self._bounds,
                now_s=self.store.aged_s(),
                spared=self._claimed,
                at_s=self.store.wall_s(),
            )

        def is_due(db: sqlite3.Connection) -> bool:
            oldest_s = reading.oldest_aged_s(db)
            return oldest_s is not None and self.store.aged_s() - oldest_s > self._bounds.max_age_s

        self.store.keep_reserve()
        if not self.store.read(is_due):
            return 0
        return self.store.write(work, frees=True)

    def take_gaps(
        self, limit: int, new_id: Callable[[], str], *, but: Collection[str] = ()
    ) -> list[Gap]:
        """The oldest announcements, which from now on do not grow any more. Raises OutboxError.

        Args:
            limit: so many at most.
            new_id: gives an id to one that has none yet.
            but: ids of those that are under way already.
        """
        if self.store.read(counters)["gaps"] <= len(but):
            return []
        return self.store.write(lambda db: reading.sealed_gaps(db, limit, new_id, but=but))

    def delete_gaps(self, gap_ids: Iterable[str]) -> None:
        """Announcements that the broker has taken. Raises OutboxError."""
        chosen = [(gap_id,) for gap_id in gap_ids]

        def work(db: sqlite3.Connection) -> None:
            gone = db.executemany("DELETE FROM gap WHERE gap_id = ?", chosen).rowcount
            count(db, gaps=-gone)

        self.store.write(work, frees=True)

    def probe(self) -> None:
        """Find out whether the file can be written to. Raises OutboxError."""
        self.store.write(self.store.store_anchor)

    def give_space_back(self) -> None:
        """Shrink the file by one step when a long outage has blown it up. Raises OutboxError."""

        def work(db: sqlite3.Connection) -> None:
            (free_pages,) = db.execute("PRAGMA freelist_count").fetchone()
            if free_pages > VACUUM_FROM_PAGES:
                # As a script, because `execute` takes one step, which frees one page.
                db.executescript(f"PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})")

        self.store.read(work)

    # -- everybody ---------------------------------------------------------------------------------

    def counts(self) -> OutboxCounts:
        """How it stands. Raises OutboxError."""
        found = self.store.read(counters)
        return OutboxCounts(**{name: found[name] for name in OutboxCounts.__dataclass_fields__})

    def recall(self, name: str) -> str | None:
        """What was remembered under this name. Raises OutboxError."""
        return self.store.read(lambda db: reading.recall(db, name))

    def remember(self, name: str, value: str) -> None:
        """Keep a note over restarts, as safe as events. Raises OutboxError."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

        if self.recall(name) != value:
            self.store.write(work)

    def close(self) -> None:
        """Release the file."""
        self.store.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
