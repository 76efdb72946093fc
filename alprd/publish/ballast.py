"""Room on the disk that is kept for letting go of events when there is none left.

To delete from a database takes space, too. On a disk that the outbox itself has filled nothing
could ever be deleted again, and so nothing added; giving this file up breaks that circle.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

BALLAST_BYTES: Final = 1024 * 1024
"""More than the log is long (WAL_PAGES in `outbox_file`), which must fit into the file."""
DELETE_ROWS: Final = 100
"""Rows that one transaction deletes: it changes about a page for each, and the log that they go
into must fit into this room. All of a disk's events at once would not."""


class Ballast:
    """Owned by the outbox; best effort, for the disk may be full already."""

    def __init__(self, path: Path) -> None:
        self._path = path

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

    def throw(self) -> None:
        """Give the room back, if there is any."""
        with suppress(OSError):
            self._path.unlink()
