"""One SQLite file that mends itself: the outbox's connection with all that belongs to the file.

A file that turns out to be damaged is set aside, what can be read of it moves into a new one, and
the work goes on with that. Because this takes a while with a large file, a disk that damages one
file after the other is given ever longer pauses.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog

from alprd.ports import OutboxError
from alprd.publish import reading
from alprd.publish.age import AgeAxis, Anchor
from alprd.publish.ballast import Ballast
from alprd.publish.bounds import counters
from alprd.publish.outbox_file import (
    connect,
    is_damage,
    lock,
    may_be_damage,
    outbox_error,
    prepare,
)
from alprd.publish.seqmark import SeqMark
from alprd.publish.transactions import in_transaction, while_there_is_room

REPLACE_PAUSE_S: Final = 10.0
REPLACE_PAUSE_MAX_S: Final = 600.0
OPEN_PAUSE_MAX_S: Final = 30.0
LOOK_AGAIN_S: Final = 30.0

_Found = TypeVar("_Found")
Work = Callable[[sqlite3.Connection], _Found]

log = structlog.get_logger(__name__)


class Store:
    """Used by several threads: each method holds the one lock for one transaction."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], datetime],
        boot_id: str | None,
        boot_s: Callable[[], float],
        on_progress: Callable[[], None],
    ) -> None:
        """Open the file, making, migrating or replacing it. Raises OutboxError."""
        self.path = path
        self.lock = threading.Lock()
        self.db: sqlite3.Connection | None = None
        self.set_aside: Path | None = None
        """Where a damaged file was last moved to, in this process or before."""
        self._now = now
        self._boot_id = boot_id
        self._boot_s = boot_s
        self._on_progress = on_progress
        self._looked_at_s: float | None = None
        self._trouble: str | None = None
        self._again_at_s: float | None = None
        self._pause_s = REPLACE_PAUSE_S
        self._ballast = Ballast(path.with_name(f"{path.name}.reserve"))
        self._owned = lock(path)
        self.mark = SeqMark(path.with_name(f"{path.name}.seq"), boot_id=boot_id)
        try:
            self._open()
            self._ballast.load()
        except BaseException:
            self.close()
            raise

    def read(self, work: Work[_Found], *, then: Callable[[_Found], None] | None = None) -> _Found:
        """Ask the file something; `then` gets the answer under the lock. Raises OutboxError."""
        with self.lock:
            found = self._guarded(work)
            if then is not None:
                then(found)
            return found

    def write(
        self,
        work: Work[_Found],
        *,
        then: Callable[[_Found], None] | None = None,
        frees: bool = False,
        grows: bool = False,
    ) -> _Found:
        """Run one transaction; `then` gets what came of it under the lock.

        Args:
            work: all of it is done, or nothing.
            then: called once it is on disk.
            frees: it lets go of something, for which a full disk must have room.
            grows: it must leave that room free.

        Raises:
            OutboxError: nothing was done.
        """

        def transaction(db: sqlite3.Connection) -> _Found:
            return in_transaction(db, work)

        def freeing(db: sqlite3.Connection) -> _Found:
            return while_there_is_room(db, transaction, self._ballast.throw)

        def growing(db: sqlite3.Connection) -> _Found:
            if not self._ballast.is_loaded:
                self._ballast.check_room(db)
            return transaction(db)

        with self.lock:
            found = self._guarded(freeing if frees else growing if grows else transaction)
            if then is not None:
                then(found)
            return found

    def keep_reserve(self) -> None:
        """Take room for letting go of events on a full disk, where it was given up."""
        with self.lock:
            self._ballast.load()

    def aged_s(self) -> float:
        """The present moment on the axis of ages; under the lock."""
        return self._age.now_s()

    def wall_s(self) -> float:
        """Unix time."""
        return self._now().timestamp()

    def store_anchor(self, db: sqlite3.Connection) -> None:
        """As part of a transaction: where the axis of ages goes on after a restart."""
        anchor = self._age.anchor()
        db.execute(
            "INSERT OR REPLACE INTO anchor VALUES (1, ?, ?, ?, ?)",
            (anchor.boot_id, anchor.boot_s, anchor.wall_s, anchor.aged_s),
        )

    def close(self) -> None:
        """Release the file."""
        with self.lock:
            self._close_db()
            self.mark.close()
            self._owned.close()

    # -- under the lock ----------------------------------------------------------------------------

    def _guarded(self, work: Work[_Found]) -> _Found:
        """Run it; a damaged file is replaced and the work done on the new one."""
        try:
            return work(self._opened())
        except sqlite3.Error as error:
            distrusted = is_damage(error)
            if not distrusted and not (may_be_damage(error, self.path) and self._may_look()):
                raise outbox_error(self.path, error) from error
            if distrusted and self._must_wait():
                raise OutboxError(
                    f"{self.path}: damaged again ({error}), soon after a damaged file was replaced;"
                    " check the disk"
                ) from error
            log.error("outbox.damaged", file=str(self.path), error=str(error))
        self._close_db()
        try:
            return work(self._open(distrusted=distrusted))
        except sqlite3.Error as error:
            raise outbox_error(self.path, error) from error

    def _may_look(self) -> bool:
        """An I/O error may be a damage or a passing trouble: look into it, but not all the time."""
        now_s = self._boot_s()
        if self._looked_at_s is not None and now_s - self._looked_at_s < LOOK_AGAIN_S:
            return False
        self._looked_at_s = now_s
        return True

    def _must_wait(self) -> bool:
        return self._again_at_s is not None and self._boot_s() < self._again_at_s

    def _take_pause(self, longest_s: float) -> None:
        """Nothing large is tried again too soon, and ever later while it does not help."""
        now_s = self._boot_s()
        if self._again_at_s is not None and now_s - self._again_at_s > REPLACE_PAUSE_MAX_S:
            self._pause_s = REPLACE_PAUSE_S
        self._again_at_s = now_s + min(longest_s, self._pause_s)
        self._pause_s = min(REPLACE_PAUSE_MAX_S, 2.0 * self._pause_s)

    def _opened(self) -> sqlite3.Connection:
        if self.db is not None:
            return self.db
        if self._trouble is not None and self._must_wait():
            raise OutboxError(self._trouble)
        return self._open()

    def _open(self, *, distrusted: bool = False) -> sqlite3.Connection:
        try:
            aside = prepare(
                self.path,
                mark=self.mark,
                now=self._now,
                on_progress=self._on_progress,
                distrusted=distrusted,
            )
            db, known = self._taken_up()
        except OutboxError as error:
            self._trouble = str(error)
            self._take_pause(OPEN_PAUSE_MAX_S)
            raise
        self._trouble = None
        if aside is not None:
            self._take_pause(REPLACE_PAUSE_MAX_S)
            log.error(
                "outbox.set_aside",
                moved_to=str(aside),
                kept=known["pending"],
                lost=known["lost"],
                remedy="what could be read was kept; check the disk",
            )
        self.db = db
        return db

    def _taken_up(self) -> tuple[sqlite3.Connection, dict[str, int]]:
        """A connection, and the counters; ages, numbers and former damage are taken from it."""
        try:
            db = connect(self.path)
            found = db.execute("SELECT boot_id, boot_s, wall_s, aged_s FROM anchor").fetchone()
            last = None
            if found is not None:
                boot_id, boot_s, wall_s, aged_s = found
                last = Anchor(boot_id=boot_id, boot_s=boot_s, wall_s=wall_s, aged_s=aged_s)
            self._age = AgeAxis(
                last, boot_id=self._boot_id, boot_s=self._boot_s, wall_s=self.wall_s
            )
            known = counters(db)
            self.mark.reserve(known["next_seq"])
            self.mark.advance(next_seq=known["next_seq"], floor=reading.floor(db))
            kept = reading.recall(db, "set_aside")
        except sqlite3.Error as error:
            raise outbox_error(self.path, error) from error
        # Who has looked into it deletes or moves it, and has heard enough about it.
        self.set_aside = Path(kept) if kept is not None and Path(kept).exists() else None
        return db, known

    def _close_db(self) -> None:
        if self.db is not None:
            self.db.close()
            self.db = None
