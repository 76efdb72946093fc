"""The durable queue between inference and the broker: one SQLite file with a little mark beside it.

An event counts as published once `add` has returned; its row goes when the broker has acknowledged
it. Every method may be called by any thread and holds the one lock for one transaction. A file that
turns out to be damaged is set aside, what can be read of it moves into a new one, and the call goes
on with that.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog

from alprd.publish import parking, reading
from alprd.publish.age import AgeAxis, Anchor, since_boot_s
from alprd.publish.ballast import DELETE_ROWS, Ballast
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
from alprd.publish.outbox_file import (
    connect,
    is_damage,
    lock,
    may_be_damage,
    outbox_error,
    prepare,
)
from alprd.publish.rows import Bounds, NewRow, OutboxCounts, OutboxRow
from alprd.publish.salvage import checksum
from alprd.publish.seqmark import SeqMark
from alprd.publish.transactions import in_transaction, while_there_is_room

VACUUM_FROM_PAGES: Final = 2048
VACUUM_STEP_PAGES: Final = 512
ROW_BYTES: Final = 100  # what a row takes beside its texts, about

_Found = TypeVar("_Found")

log = structlog.get_logger(__name__)


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
    ) -> None:
        """Open the outbox, making, migrating or replacing the file.

        Args:
            path: the SQLite file; its folder exists.
            bounds: how much may wait.
            now: aware wall time; for people, and for the time that the machine was off.
            boot_id: changes when the machine restarts.
            boot_s: seconds since the machine started.

        Raises:
            OutboxError: the file cannot be used; the message names the remedy.
        """
        self.path = path
        self._bounds = bounds
        self._now = now
        self._boot_id = boot_id
        self._boot_s = boot_s
        self._lock = threading.Lock()
        self._claimed: set[int] = set()
        self._db: sqlite3.Connection | None = None
        self._broken_at_s: float | None = None
        self.set_aside: Path | None = None
        """Where a damaged file was last moved to, in this process or before."""
        self._ballast = Ballast(path.with_name(f"{path.name}.reserve"))
        self._owned = lock(path)
        self._mark = SeqMark(path.with_name(f"{path.name}.seq"), boot_id=boot_id)
        try:
            self._open()
            self._ballast.load()
        except BaseException:
            self.close()
            raise

    # -- the inference thread --------------------------------------------------------------------

    def add(self, rows: Sequence[NewRow]) -> list[int]:
        """Make events durable, in order, all or none; returns their sequence numbers.

        Raises:
            OutboxError: nothing was added, no number was used up.
        """
        if not rows:
            return []

        def work(db: sqlite3.Connection) -> list[int]:
            next_seq = counters(db)["next_seq"]
            seqs = list(range(next_seq, next_seq + len(rows)))
            self._mark.reserve(next_seq + len(rows))
            self._insert(db, seqs, rows)
            count(db, next_seq=len(rows))
            self._store_anchor(db)
            return seqs

        return self._write(work, then=lambda seqs: self._mark.advance(next_seq=seqs[-1] + 1))

    def add_lost(self, amount: int) -> None:
        """Give numbers to events that never became durable, and announce them. OutboxError."""

        def work(db: sqlite3.Connection) -> int:
            next_seq = counters(db)["next_seq"]
            self._mark.reserve(next_seq + amount)
            seqs = range(next_seq, next_seq + amount)
            note_gap(db, seqs, reason="unsaved", detail=None, at_s=self._wall_s())
            count(db, next_seq=amount, dropped=amount)
            return next_seq + amount

        if amount > 0:
            self._write(work, then=lambda next_seq: self._mark.advance(next_seq=next_seq))

    def _insert(self, db: sqlite3.Connection, seqs: Sequence[int], rows: Sequence[NewRow]) -> None:
        wall_s, aged_s = self._wall_s(), self._age.now_s()
        new: list[EventRow] = []
        for seq, row in zip(seqs, rows, strict=True):
            payload = row.build(seq)
            size = len(payload) + len(row.topic) + len(row.event_id) + ROW_BYTES
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
                now_s=self._age.now_s(),
            )

        with self._lock:
            rows = self._guarded(work)
            self._claimed.update(row.seq for row in rows)
        return rows

    def release(self, *, keep: Collection[int] = ()) -> None:
        """A connection is gone: what it had claimed may be claimed again, except `keep`."""
        with self._lock:
            self._claimed &= set(keep)

    def first_younger_than(self, age_s: float) -> int | None:
        """The lowest number of a waiting event that is at most so old; None: none is. OutboxError.

        Numbers and ages grow together, so this looks at few rows.
        """
        with self._lock:
            return self._guarded(lambda db: reading.first_since(db, self._age.now_s() - age_s))

    def delete(self, seqs: Iterable[int]) -> None:
        """Remove acknowledged rows; a row that is already gone is no error. Raises OutboxError."""
        chosen = list(seqs)
        for start in range(0, len(chosen), DELETE_ROWS):
            self._delete_some(chosen[start : start + DELETE_ROWS])

    def _delete_some(self, chosen: Sequence[int]) -> None:
        def work(db: sqlite3.Connection) -> int:
            sizes = reading.sizes(db, chosen)
            delete(db, "event", list(sizes), size=sum(sizes.values()))
            return reading.floor(db)

        def then(floor: int) -> None:
            self._claimed.difference_update(chosen)
            self._mark.advance(floor=floor)

        self._write(work, then=then, frees=True)

    def park(self, seq: int, reason: str, *, passing: bool) -> None:
        """Put an event aside that a broker refuses; announced as a gap the first time. OutboxError.

        Args:
            seq: the event; one that is gone is no error.
            reason: the broker's, for people.
            passing: offer it again by itself after a while.
        """

        def work(db: sqlite3.Connection) -> None:
            now_s = self._age.now_s()
            if parking.park(db, seq, reason, now_s=now_s, passing=passing):
                note_gap(db, [seq], reason="refused", detail=reason, at_s=self._wall_s())

        self._write(work, then=lambda _: self._claimed.discard(seq))

    def unpark(self, *, everything: bool) -> int:
        """Offer parked events again: all, or those whose time has come. Raises OutboxError."""
        return self._write(lambda db: parking.unpark(db, None if everything else self._age.now_s()))

    def last_refusal(self) -> str | None:
        """Why the newest parked event was refused. Raises OutboxError."""
        with self._lock:
            return self._guarded(reading.last_refusal)

    def drop_aged(self) -> int:
        """Drop what has waited too long; returns how many went. Raises OutboxError."""

        def work(db: sqlite3.Connection) -> int:
            return drop_aged(
                db,
                self._bounds,
                now_s=self._age.now_s(),
                spared=self._claimed,
                at_s=self._wall_s(),
            )

        with self._lock:
            self._ballast.load()
            oldest_s = self._guarded(reading.oldest_aged_s)
            if oldest_s is None or self._age.now_s() - oldest_s <= self._bounds.max_age_s:
                return 0
        return self._write(work)

    def take_gaps(self, limit: int, new_id: Callable[[], str]) -> list[Gap]:
        """The oldest announcements, which from now on do not grow any more. Raises OutboxError."""
        with self._lock:
            if not self._guarded(counters)["gaps"]:
                return []
        return self._write(lambda db: reading.sealed_gaps(db, limit, new_id))

    def delete_gaps(self, gap_ids: Iterable[str]) -> None:
        """Announcements that the broker has taken. Raises OutboxError."""
        chosen = [(gap_id,) for gap_id in gap_ids]

        def work(db: sqlite3.Connection) -> None:
            gone = db.executemany("DELETE FROM gap WHERE gap_id = ?", chosen).rowcount
            count(db, gaps=-gone)

        self._write(work, frees=True)

    def give_space_back(self) -> None:
        """Shrink the file by one step when a long outage has blown it up. Raises OutboxError."""

        def work(db: sqlite3.Connection) -> None:
            (free_pages,) = db.execute("PRAGMA freelist_count").fetchone()
            if free_pages > VACUUM_FROM_PAGES:
                # As a script, because `execute` takes one step, which frees one page.
                db.executescript(f"PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})")

        with self._lock:
            self._guarded(work)

    # -- everybody ---------------------------------------------------------------------------------

    def counts(self) -> OutboxCounts:
        """How it stands. Raises OutboxError."""
        with self._lock:
            found = self._guarded(counters)
        return OutboxCounts(**{name: found[name] for name in OutboxCounts.__dataclass_fields__})

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._close_db()
            self._mark.close()
            self._owned.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- under the lock ----------------------------------------------------------------------------

    def _write(
        self,
        work: Callable[[sqlite3.Connection], _Found],
        *,
        then: Callable[[_Found], None] | None = None,
        frees: bool = False,
    ) -> _Found:
        def transaction(db: sqlite3.Connection) -> _Found:
            return in_transaction(db, work)

        def freeing(db: sqlite3.Connection) -> _Found:
            return while_there_is_room(db, transaction, self._ballast.throw)

        with self._lock:
            found = self._guarded(freeing if frees else transaction)
            if then is not None:
                then(found)
            return found

    def _guarded(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        """Run it; a damaged file is replaced and the work done on the new one."""
        try:
            return work(self._opened())
        except sqlite3.Error as error:
            if not is_damage(error) and not (
                may_be_damage(error, self.path) and self._may_reopen()
            ):
                raise outbox_error(self.path, error) from error
            log.error("outbox.damaged", file=str(self.path), error=str(error))
            distrusted = is_damage(error)
        self._close_db()
        try:
            return work(self._open(distrusted=distrusted))
        except sqlite3.Error as error:
            raise outbox_error(self.path, error) from error

    def _may_reopen(self) -> bool:
        """An I/O error may be a damage or a passing trouble: look into it, but not all the time."""
        now_s = self._boot_s()
        if self._broken_at_s is not None and now_s - self._broken_at_s < 30.0:
            return False
        self._broken_at_s = now_s
        return True

    def _opened(self) -> sqlite3.Connection:
        return self._db if self._db is not None else self._open()

    def _open(self, *, distrusted: bool = False) -> sqlite3.Connection:
        aside = prepare(self.path, mark=self._mark, now=self._now, distrusted=distrusted)
        try:
            db = connect(self.path)
            found = db.execute("SELECT boot_id, boot_s, wall_s, aged_s FROM anchor").fetchone()
            last = None
            if found is not None:
                boot_id, boot_s, wall_s, aged_s = found
                last = Anchor(boot_id=boot_id, boot_s=boot_s, wall_s=wall_s, aged_s=aged_s)
            self._age = AgeAxis(
                last, boot_id=self._boot_id, boot_s=self._boot_s, wall_s=self._wall_s
            )
            known = counters(db)
            self._mark.reserve(known["next_seq"])
            self._mark.advance(next_seq=known["next_seq"], floor=reading.floor(db))
            kept = db.execute("SELECT value FROM meta WHERE key = 'set_aside'").fetchone()
        except sqlite3.Error as error:
            raise outbox_error(self.path, error) from error
        # Who has looked into it deletes or moves it, and has heard enough about it.
        self.set_aside = Path(kept[0]) if kept is not None and Path(kept[0]).exists() else None
        if aside is not None:
            log.error(
                "outbox.set_aside",
                moved_to=str(aside),
                kept=known["pending"],
                lost=known["lost"],
                remedy="what could be read was kept; check the disk",
            )
        self._db = db
        return db

    def _close_db(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _store_anchor(self, db: sqlite3.Connection) -> None:
        anchor = self._age.anchor()
        db.execute(
            "INSERT OR REPLACE INTO anchor VALUES (1, ?, ?, ?, ?)",
            (anchor.boot_id, anchor.boot_s, anchor.wall_s, anchor.aged_s),
        )

    def _wall_s(self) -> float:
        return self._now().timestamp()
