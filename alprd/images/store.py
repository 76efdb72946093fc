"""The folder of the pictures: <camera>/<day>/<event id>.jpg, written whole, bounded, aged.

Only files of that form are ever looked at or deleted. How old a picture is counts on a steady
clock from the moment it was written, or found at the start by its date: setting the wall clock
neither keeps a picture longer nor deletes it early.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from alprd.ports import Clock, ImageStoreError

_CAMERA: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PICTURE: Final = re.compile(rf"{_ID}\.jpg")
_HALF: Final = re.compile(rf"\.{_ID}\.tmp")

EARLIEST: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""A clock that says less is wrong: this program did not exist."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
A_TURN: Final = 200
"""Pictures that are found or deleted at a time, so that a new one does not wait for long."""

FAILURES: Final = 10
"""After so many old ones that cannot be deleted a new one finds no room."""

ASIDE_S: Final = 600.0
"""A picture that could not be deleted is tried again after this long."""

log = structlog.get_logger(__name__)


class NotKeptError(Exception):
    """A picture could not be written; `reason` is a word for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBounds:
    """How much is kept."""

    max_files: int
    max_bytes: int
    max_age_s: float
    min_free_bytes: int


@dataclass(frozen=True, slots=True)
class _Kept:
    since_s: float
    name: str
    size_bytes: int


class ImageStore:
    """Used by one thread alone, but for its figures and `bounds`.

    Args:
        folder: made when it is missing, but not the folders above it.
        bounds: how much is kept; may be replaced at any time.
        clock: monotonic seconds.
        now: wall time, for the dates of files from before the start.
    """

    def __init__(
        self,
        folder: Path,
        bounds: ImageBounds,
        *,
        clock: Clock,
        now: Callable[[], datetime],
    ) -> None:
        self.bounds = bounds
        self.bytes = 0
        self.deleted = 0
        self._folder = folder
        self._clock = clock
        self._now = now
        self._kept: deque[_Kept] = deque()  # oldest first
        # What is there from before the start, until all of it is found; None from then on.
        self._finding: Iterator[_Kept] | None = None
        self._found: list[_Kept] = []
        self._is_open = False
        # Those that could not be deleted, with the time to try again, soonest first.
        self._aside: deque[tuple[float, _Kept]] = deque()
        self._lasting: set[Path] = set()  # folders whose entries are surely on the disk

    @property
    def files(self) -> int:
        """How many are kept."""
        return len(self._kept) + len(self._aside)

    @property
    def undeletable(self) -> int:
        """How many of them should be gone and cannot be deleted."""
        return len(self._aside)

    def open(self, *, writable: bool) -> None:
        """Begin to find what is there; `maintain` goes on with it, a part at a time.

        Args:
            writable: whether pictures will be written; otherwise the old ones only age, and a
                folder that is not there is left so.

        Raises:
            ImageStoreError: pictures are to be written and cannot be.
        """
        if writable:
            self._make_sure()
        if not self._is_open:
            self._is_open = True
            self._finding = self._scan()

    def write(self, camera_id: str, event_id: str, captured_at: datetime, data: bytes) -> str:
        """Keep a picture; its path below the folder. On return it is on the disk, all of it.

        Raises:
            NotKeptError: it is not.
        """
        if len(data) > self.bounds.max_bytes:
            raise NotKeptError("too_large", f"{len(data)} bytes are more than images.max_bytes")
        day = captured_at.astimezone(timezone.utc).strftime("%Y-%m-%d")
        name = f"{camera_id}/{day}/{event_id}.jpg"
        try:
            self._check_room(len(data))
            self._make_room(len(data))
            self._put(name, data)
        except OSError as error:
            reason = "disk_full" if error.errno in FULL else "folder"
            raise NotKeptError(reason, f"{self._folder}: {error.strerror}") from error
        self._kept.append(_Kept(self._clock(), name, len(data)))
        self.bytes += len(data)
        return name

    def delete(self, name: str) -> None:
        """A picture is not wanted after all."""
        kept = next((each for each in reversed(self._kept) if each.name == name), None)
        if kept is not None and self._remove(kept):
            self._kept.remove(kept)

    def maintain(self) -> float:
        """Delete what is too old or too much; seconds until there is something to do again."""
        if self._finding is not None:
            self._find(self._finding)
            return 0.0
        self._try_again()
        for _ in range(A_TURN):
            if not self._kept:
                return 60.0
            age_s = self._clock() - self._kept[0].since_s
            if (
                age_s < self.bounds.max_age_s
                and self.files <= self.bounds.max_files
                and self.bytes <= self.bounds.max_bytes
            ):
                return min(60.0, max(0.05, self.bounds.max_age_s - age_s))
            self._remove_oldest()
        return 0.0

    def _find(self, finding: Iterator[_Kept]) -> None:
        """Some of what is there from before; the last time all of it is kept from then on."""
        more = list(islice(finding, A_TURN))
        self._found += more
        if len(more) == A_TURN:
            return
        since = {kept.name for kept in self._kept}  # written meanwhile
        found = [kept for kept in self._found if kept.name not in since]
        self.bytes += sum(kept.size_bytes for kept in found)
        both = [*found, *self._kept]
        self._kept = deque(sorted(both, key=lambda kept: (kept.since_s, kept.name)))
        self._finding, self._found = None, []

    def _remove_oldest(self) -> bool:
        """Whether it is gone; one that cannot be deleted must not keep the others for ever."""
        oldest = self._kept[0]
        removed = self._remove(oldest)
        self._kept.popleft()
        if not removed:
            self._aside.append((self._clock() + ASIDE_S, oldest))
        return removed

    def _try_again(self) -> None:
        for _ in range(min(A_TURN, len(self._aside))):
            again_at_s, kept = self._aside[0]
            if self._clock() < again_at_s:
                return
            removed = self._remove(kept)
            self._aside.popleft()
            if not removed:
                self._aside.append((self._clock() + ASIDE_S, kept))

    def _make_sure(self) -> None:
        """The folder is there and can be written to."""
        probe = self._folder / f".probe-{os.getpid()}"
        try:
            with suppress(FileExistsError):
                self._folder.mkdir(mode=0o750)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            if error.errno in FULL:
                return  # it gets better by itself; until then events have no picture
            raise ImageStoreError(
                f"images.path: pictures cannot be kept in {self._folder}: {error.strerror}; let "
                "this user write there, name another folder, or set images.enabled = false"
            ) from error

    def _scan(self) -> Iterator[_Kept]:
        for camera in _folders(self._folder, _CAMERA):
            for day in _folders(camera, _DAY):
                for entry in _entries(day):
                    path = day / entry.name
                    if _HALF.fullmatch(entry.name):  # of a run that was cut short
                        with suppress(OSError):
                            path.unlink()
                    elif _PICTURE.fullmatch(entry.name):
                        with suppress(OSError):  # it vanished
                            found = entry.stat(follow_symlinks=False)
                            if stat.S_ISREG(found.st_mode):
                                name = f"{camera.name}/{day.name}/{entry.name}"
                                since_s = self._clock() - self._age_s(path, found, self._now())
                                yield _Kept(since_s, name, found.st_size)

    def _age_s(self, path: Path, found: os.stat_result, now: datetime) -> float:
        """By its date; one whose date tells nothing counts from now on."""
        dated = datetime.fromtimestamp(found.st_mtime, timezone.utc)
        if now < EARLIEST:
            return 0.0
        if EARLIEST <= dated <= now:
            return (now - dated).total_seconds()
        with suppress(OSError):  # from now on for the next start, too
            os.utime(path, (now.timestamp(), now.timestamp()), follow_symlinks=False)
        return 0.0

    def _check_room(self, size_bytes: int) -> None:
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < self.bounds.min_free_bytes + size_bytes:
            raise OSError(errno.ENOSPC, "less is free than images.min_free_bytes leaves")

    def _make_room(self, size_bytes: int) -> None:
        failures = 0
        while (
            self.files >= self.bounds.max_files or self.bytes + size_bytes > self.bounds.max_bytes
        ):
            if not self._kept or failures == FAILURES:
                raise OSError(errno.EACCES, "old pictures cannot be deleted")
            failures += not self._remove_oldest()

    def _put(self, name: str, data: bytes) -> None:
        path = self._folder / name
        for folder in (path.parent.parent, path.parent):
            # Not the folder of all: where its disk is not mounted, pictures belong nowhere.
            with suppress(FileExistsError):
                folder.mkdir(mode=0o750)
                self._lasting.discard(folder)  # somebody else took the one before away
        half = path.with_name(f".{path.stem}.tmp")
        try:
            _write_through(half, data)
            half.rename(path)
            _sync(path.parent)
            # A new folder may else be gone after a power cut, with all that is in it.
            for folder in (path.parent, path.parent.parent):
                if folder not in self._lasting:
                    _sync(folder.parent)
                    self._lasting.add(folder)
        except OSError:
            for left in (half, path):
                with suppress(OSError):
                    left.unlink()
            raise

    def _remove(self, kept: _Kept) -> bool:
        """Whether it is gone."""
        path = self._folder / kept.name
        try:
            path.unlink()
        except FileNotFoundError:
            pass  # somebody else took it away
        except OSError as error:
            if not self._aside:
                log.error(
                    "images.cannot_delete",
                    folder=str(self._folder),
                    error=error.strerror,
                    remedy="let the daemon's user write there",
                )
            return False
        self.bytes -= kept.size_bytes
        self.deleted += 1
        with suppress(OSError):  # only empty ones go
            for folder in (path.parent, path.parent.parent):
                folder.rmdir()
                self._lasting.discard(folder)
        return True


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _folders(folder: Path, form: re.Pattern[str]) -> Iterator[Path]:
    for entry in _entries(folder):
        if form.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield folder / entry.name


def _write_through(path: Path, data: bytes) -> None:
    with suppress(FileNotFoundError):
        path.unlink()  # of a run that was cut short
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o640), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
