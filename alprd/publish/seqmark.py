"""The highest number ever given, in a little file beside the outbox: no number is given twice.

When the outbox's file is lost or damaged, its counter goes with it. This file then says where to go
on, and from which number on events may be missing. It is written in place after each commit without
waiting for the disk, which survives any end of the process; that an end of the machine does not
turn the number back is what `reserved` is for, which is on disk before a number near it is given.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

RESERVE: Final = 1000
_SLOT_BYTES: Final = 512
_SLOTS: Final = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is known; `floor` is the lowest number that may not have been delivered.

    Attributes:
        next_seq: the number after the last one given.
        floor: below it everything was delivered or announced.
        reserved: after an end of the machine, numbers below it may have been given.
        boot_id: of the machine's run in which this was written.
    """

    next_seq: int = 1
    floor: int = 1
    reserved: int = 1
    boot_id: str | None = None


class SeqMark:
    """Owned by the outbox. Trouble with this file is logged once and stops nothing."""

    def __init__(
        self,
        path: Path,
        *,
        boot_id: str | None,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self._path = path
        self._boot_id = boot_id
        self._sync = sync
        self._fd: int | None = None
        self._writes = 0
        self._failed = False
        self.found: Mark | None = None
        """What is known; None before the first number with a new or unreadable file."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self.found = self._read(self._fd)
        except OSError as error:
            self._trouble(error)
        self._mark = self.found or Mark()

    @property
    def safe_next(self) -> int:
        """A number that was surely never given, as far as this file knows."""
        if self.found is None:
            return 1
        if self._boot_id is not None and self.found.boot_id == self._boot_id:
            return self._mark.next_seq
        return max(self._mark.next_seq, self._mark.reserved)

    @property
    def next_seq(self) -> int:
        """The number after the last one that surely was given."""
        return self._mark.next_seq

    @property
    def floor(self) -> int:
        """Below it everything was delivered or announced."""
        return self._mark.floor

    @property
    def reserved(self) -> int:
        """No number from this one on has been given."""
        return self._mark.reserved

    def reserve(self, next_seq: int) -> None:
        """Before numbers below `next_seq` are committed."""
        if next_seq > self._mark.reserved:
            self._write(replace(self._mark, reserved=next_seq + RESERVE, boot_id=self._boot_id))
            self._do_sync()

    def advance(self, *, next_seq: int | None = None, floor: int | None = None) -> None:
        """After a commit."""
        new = replace(
            self._mark,
            next_seq=self._mark.next_seq if next_seq is None else next_seq,
            floor=self._mark.floor if floor is None else floor,
            boot_id=self._boot_id,
        )
        if new != self._mark:
            self._write(new)

    def close(self) -> None:
        """Release the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, mark: Mark) -> None:
        """Two slots in turn, so that a torn write costs one step only."""
        self._mark = self.found = mark
        if self._fd is None:
            return
        self._writes += 1
        text = (
            f"alprd-seq 1 {self._writes} {mark.next_seq} {mark.floor} {mark.reserved}"
            f" {mark.boot_id or '-'}"
        )
        line = f"{text} {zlib.crc32(text.encode()):08x}\n".ljust(_SLOT_BYTES).encode()
        try:
            os.pwrite(self._fd, line, (self._writes % _SLOTS) * _SLOT_BYTES)
        except OSError as error:
            self._trouble(error)

    def _do_sync(self) -> None:
        if self._fd is None:
            return
        try:
            self._sync(self._fd)
        except OSError as error:
            self._trouble(error)

    def _read(self, fd: int) -> Mark | None:
        found: list[tuple[int, Mark]] = []
        for slot in range(_SLOTS):
            line = os.pread(fd, _SLOT_BYTES, slot * _SLOT_BYTES)
            text, _, crc = line.decode("ascii", "replace").strip().rpartition(" ")
            parts = text.split(" ")
            if len(parts) != 7 or crc != f"{zlib.crc32(text.encode()):08x}":
                continue
            writes, next_seq, floor, reserved = (int(part) for part in parts[2:6])
            boot_id = None if parts[6] == "-" else parts[6]
            mark = Mark(next_seq=next_seq, floor=floor, reserved=reserved, boot_id=boot_id)
            found.append((writes, mark))
        if not found:
            return None
        self._writes, newest = max(found, key=lambda item: item[0])
        return newest

    def _trouble(self, error: OSError) -> None:
        if not self._failed:
            log.warning("outbox.mark_unwritable", file=str(self._path), error=str(error))
        self._failed = True
