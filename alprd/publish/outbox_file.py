"""The outbox's file: its schema, and what to do when it is not what it should be."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from alprd.ports import OutboxError
from alprd.publish.bounds import counters
from alprd.publish.remains import lenient_text
from alprd.publish.salvage import (
    carry_over,
    catch_up,
    finish_replacing,
    forget_older,
    free_name,
    make_good,
    remove_with_companions,
    set_aside,
    successor,
    why_untrue,
)
from alprd.publish.seqmark import SeqMark

APPLICATION_ID: Final = 0x616C7072  # "alpr": tells our file from somebody else's database
SCHEMA_VERSION: Final = 3
BUSY_TIMEOUT_S: Final = 10.0
ROOM_BYTES: Final = 8 * 1024 * 1024
WAL_KEPT_BYTES: Final = 16 * 1024 * 1024
WAL_PAGES: Final = 100
"""The log is moved into the file when it is so long."""
SQLITE_MAGIC: Final = b"SQLite format 3\x00"

# One list of statements per version step; version 0 is the empty file.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        "INSERT INTO counter VALUES ('next_seq', 1), ('pending', 0), ('dropped', 0)",
        "CREATE TABLE event ("
        " seq INTEGER PRIMARY KEY,"
        " topic TEXT NOT NULL,"
        " event_id TEXT NOT NULL,"
        " payload BLOB NOT NULL,"
        " size INTEGER NOT NULL,"
        " added_at_s REAL NOT NULL)",
    ),
    (
        # aged_s: on the axis of `AgeAxis`; crc: NULL for rows of version 1; tries: how often a
        # broker has refused it.
        "ALTER TABLE event ADD COLUMN aged_s REAL NOT NULL DEFAULT 0",
        "ALTER TABLE event ADD COLUMN crc INTEGER",
        "ALTER TABLE event ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE parked ("
        " seq INTEGER PRIMARY KEY,"
        " topic TEXT NOT NULL,"
        " event_id TEXT NOT NULL,"
        " payload BLOB NOT NULL,"
        " size INTEGER NOT NULL,"
        " added_at_s REAL NOT NULL,"
        " aged_s REAL NOT NULL,"
        " crc INTEGER,"
        " tries INTEGER NOT NULL,"
        " reason TEXT NOT NULL,"
        " retry_aged_s REAL)",  # NULL: not by itself
        "CREATE TABLE gap ("
        " id INTEGER PRIMARY KEY,"
        " from_seq INTEGER NOT NULL,"
        " to_seq INTEGER NOT NULL,"
        " reason TEXT NOT NULL,"
        " detail TEXT,"
        " at_s REAL NOT NULL,"
        " gap_id TEXT)",  # NULL: may still grow
        "CREATE TABLE anchor (id INTEGER PRIMARY KEY CHECK (id = 1), boot_id TEXT,"
        " boot_s REAL NOT NULL, wall_s REAL NOT NULL, aged_s REAL NOT NULL)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "INSERT INTO counter SELECT 'bytes', coalesce(sum(size), 0) FROM event",
        "INSERT INTO counter VALUES ('parked', 0), ('lost', 0), ('gaps', 0)",
    ),
    (
        # All three are asked for all the time, and there can be a million rows.
        "CREATE INDEX parked_due ON parked (retry_aged_s) WHERE retry_aged_s IS NOT NULL",
        "CREATE INDEX gap_from ON gap (from_seq)",
        "CREATE INDEX gap_named ON gap (gap_id) WHERE gap_id IS NOT NULL",
    ),
)
COUNTERS: Final = frozenset({"next_seq", "pending", "dropped", "bytes", "parked", "lost", "gaps"})


class OutboxDamagedError(OutboxError):
    """The file broke while in use, and a new one could not be made either."""


class _DamagedFileError(Exception):
    """The file was an outbox once and cannot be trusted any more."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the outbox's settings; transactions are begun explicitly.

    The file must exist, so that a file which vanishes is an error and never a silent new start.
    """
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    db.text_factory = lenient_text
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def lock(path: Path) -> IO[bytes]:
    """Claim the outbox for this process; closing the result gives it back, as does any death.

    Two daemons on one outbox would send every event twice.
    """
    try:
        file = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise outbox_error(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OutboxError(
            f"{path}: another alprd uses this outbox; stop it, or set outbox.path"
        ) from error
    return file


def prepare(
    path: Path,
    *,
    mark: SeqMark,
    now: Callable[[], datetime],
    on_progress: Callable[[], None],
    distrusted: bool = False,
) -> Path | None:
    """Make the file ready: create it, migrate it, or set a damaged one aside and start anew.

    What can still be read of a damaged file moves into the new one; what is missing is announced,
    as is what a file lacks that is whole but too old.

    Args:
        path: the outbox.
        mark: the numbers that were given.
        now: for the name of a damaged file.
        on_progress: called now and then while much is moved into a new one.
        distrusted: damage was seen while the file was in use; no check can make it good.

    Returns:
        Where the damaged file now lies; None when there was none.

    Raises:
        OutboxError: the file or its folder cannot be used, or holds somebody else's data.
    """
    try:
        finish_replacing(path)
        _refuse_text(path)
        try:
            if distrusted:
                raise _DamagedFileError("damaged while in use")
            _open_and_migrate(path)
            with closing(connect(path)) as db:
                _check(db, mark)
                make_good(db)
        except _DamagedFileError:
            return _replace(path, mark, at=now(), on_progress=on_progress)
        with closing(connect(path)) as db:
            catch_up(db, mark, at=now())
    except (OSError, sqlite3.Error) as error:
        raise outbox_error(path, error) from error
    except _DamagedFileError as error:
        raise OutboxError(f"{path}: a new file is damaged at once ({error}); check the disk") from (
            error
        )
    return None


def _replace(path: Path, mark: SeqMark, *, at: datetime, on_progress: Callable[[], None]) -> Path:
    """Build the new file beside the damaged one; only a whole one takes its place."""
    new, aside = successor(path), free_name(path, at)
    remove_with_companions(new)
    _open_and_migrate(new)
    with closing(connect(new)) as db:
        carry_over(db, path, mark, aside=aside, at=at, on_progress=on_progress)
    # Closing the last connection has moved everything from its log into the file.
    set_aside(path, aside)
    finish_replacing(path)
    forget_older(path, aside)
    return aside


def _refuse_text(path: Path) -> None:
    """A mistaken path must damage nothing: text was written by somebody else for a purpose.

    A damaged outbox does not look like text: its first page is SQLite's, or zeros, or noise.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        return
    if head and not head.startswith(SQLITE_MAGIC) and b"\x00" not in head and _is_text(head):
        raise _foreign(path)


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # only the last character, cut in two
    return True


def _foreign(path: Path) -> OutboxError:
    return OutboxError(
        f"{path}: is not an outbox of alprd; set outbox.path to another file, or move it away"
    )


def _open_and_migrate(path: Path) -> None:
    # Created by hand: the kernel's error (missing folder, read-only) says more than SQLite's.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    try:
        with closing(connect(path)) as db:
            version = _version(db, path)
            if version == 0:
                # Must precede the first table; lets the file shrink after a long outage.
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            # Nothing is written for a file that is up to date: the disk may be full.
            if version < SCHEMA_VERSION:
                db.execute("BEGIN IMMEDIATE")
                for step in MIGRATIONS[version:]:
                    for statement in step:
                        db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                db.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise _DamagedFileError(str(error)) from error
        raise


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The schema version of a file that is ours; 0 for an empty one."""
    version: int
    ((owner,), (version,), (objects,)) = (
        db.execute(question).fetchone()
        for question in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if owner != APPLICATION_ID and (owner, version, objects) != (0, 0, 0):
        raise _foreign(path)
    if version > SCHEMA_VERSION:
        raise OutboxError(
            f"{path}: written by a newer alprd (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); install that version again, or move the file away"
        )
    return version


def _check(db: sqlite3.Connection, mark: SeqMark) -> None:
    try:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _DamagedFileError(str(verdict))
        if not counters(db).keys() >= COUNTERS:
            raise _DamagedFileError("a counter is missing")
        untrue = why_untrue(db, mark)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise _DamagedFileError(str(error)) from error
        raise
    if untrue is not None:
        raise _DamagedFileError(untrue)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content is at fault, not the disk or a lock.

    By text, because Python 3.10 does not hand out SQLite's error codes.
    """
    text = str(error).lower()
    marks = ("malformed", "not a database", "no such table", "could not decode")
    return any(mark in text for mark in marks)


def is_full(error: sqlite3.Error) -> bool:
    """Whether there was no room."""
    text = str(error).lower()
    return "is full" in text or "no space" in text


def may_be_damage(error: sqlite3.Error, path: Path) -> bool:
    """Whether only a closer look can tell: the disk fails, or SQLite reads nonsense from the file.

    A page number of nonsense lies beyond every limit, and SQLite says that the disk is full.
    """
    if is_full(error):
        return shutil.disk_usage(path.parent).free > ROOM_BYTES
    return "disk i/o error" in str(error).lower()


def outbox_error(path: Path, error: Exception) -> OutboxError:
    """The error with its remedy."""
    text = str(error).lower()
    if isinstance(error, FileNotFoundError):
        remedy = f"the folder does not exist; create it: mkdir -p {path.parent}"
    elif isinstance(error, NotADirectoryError):
        remedy = f"{path.parent} is a file; set outbox.path to a file in a folder"
    elif isinstance(error, IsADirectoryError):
        remedy = "is a folder; set outbox.path to a file in it"
    elif isinstance(error, PermissionError):
        remedy = "permission denied; make the file and its folder writable for alprd's user"
    elif "readonly" in text or "read-only" in text:
        remedy = "read-only; remount the disk writable, or make file and folder writable"
    elif "full" in text or "no space" in text:
        remedy = "the disk is full; free space, or set outbox.path to another disk"
    elif "locked" in text:
        remedy = "another process holds the file; stop it, or set outbox.path"
    elif isinstance(error, sqlite3.Error) and is_damage(error):
        return OutboxDamagedError(
            f"{path}: the file is damaged ({error}) and a new one broke at once; check the disk"
        )
    elif "unable to open" in text:
        remedy = f"cannot be opened; check that {path.parent} exists and is writable"
    else:
        remedy = f"{error}; check the disk"
    return OutboxError(f"{path}: {remedy}")
