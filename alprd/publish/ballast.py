"""Room on the disk that is kept for letting go of events when there is none left.

To delete from a database takes space, too. On a disk that the outbox itself has filled nothing
could ever be deleted again, and so nothing added; giving this file up breaks that circle.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

BALLAST_BYTES: Final = 1024 * 1024
"""More than the log is long (WAL_PAGES in `outbox_file`), which must fit into the file."""
DELETE_ROWS: Final = 100
DELETE_BYTES: Final = BALLAST_BYTES // 4
"""What one transaction deletes: it changes about a page for each row, and those that a large one
fills, and the log that they go into must fit into this room. All of a disk's events at once would
not."""


def few(sizes: Iterable[int]) -> int:
    """How many of these rows, in order, one transaction may let go of; one at least."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count == DELETE_ROWS or (total > DELETE_BYTES and count > 0):
            return count
    return DELETE_ROWS


class Ballast:
    """Owned by the outbox; best effort, for the disk may be full already."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_loaded(self) -> bool:
        """Whether the room is held."""
        return self._path.exists()

    def load(self) -> None:
        """Take the room, if there is enough for others, too."""
        try:
            if self._path.exists():
                return
            if shutil.disk_usage(self._path.parent).free < 2 * BALLAST_BYTES:
                return
            with self._path.open("xb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
                except OSError:
                    self._path.unlink()
        except OSError:
            return  # the next time, perhaps

    def check_room(self, db: sqlite3.Connection) -> None:
        """Where the room is not held, something else must leave as much free.

        Raises:
            sqlite3.OperationalError: there is too little; worded as SQLite words it.
        """
        ((free_pages,), (page_bytes,)) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size")
        )
        with suppress(OSError):
            room = shutil.disk_usage(self._path.parent).free + free_pages * page_bytes
            if room < BALLAST_BYTES:
                raise sqlite3.OperationalError("database or disk is full but for a reserve")

    def throw(self) -> None:
        """Give the room back, if there is any."""
        with suppress(OSError):
            self._path.unlink()
