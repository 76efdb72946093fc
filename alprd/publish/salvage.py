"""A damaged outbox file: kept under another name, read as far as it can be read, and announced."""

from __future__ import annotations

import heapq
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from alprd.publish.bounds import counters
from alprd.publish.remains import (
    GAP,
    MOST_SECONDS,
    Remains,
    fits,
    is_anchor,
    is_gap,
    plausible_next,
)
from alprd.publish.seqmark import SeqMark

COMPANIONS: Final = ("-wal", "-shm")
COPY_ROWS: Final = 200
"""Events in memory at a time, while they move into a new file."""

MOST_BESIDE_BYTES: Final = 100_000
"""What the texts of an event beside its message can take."""

KEPT_FILES: Final = 3
KEPT_BYTES: Final = 512 * 1024 * 1024
"""Damaged files are kept for somebody to look into; the newest of them always."""

log = structlog.get_logger(__name__)


def free_name(path: Path, at: datetime) -> Path:
    """Under which name a damaged file is kept."""
    stamp = at.strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    attempt = 1
    while target.exists():
        attempt += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{attempt}")
    return target


def successor(path: Path) -> Path:
    """The file that is being built to take the place of a damaged one."""
    return path.with_name(f"{path.name}.new")


def set_aside(path: Path, target: Path) -> None:
    """Rename the file and its companions, for somebody to look into.

    The file first: as long as it is there, everything can be done again.
    """
    for suffix in ("", *COMPANIONS):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))


def forget_older(path: Path, newest: Path) -> None:
    """Delete what was set aside earlier, where it is more than a disk should be filled with."""
    found = sorted(
        (
            file
            for file in path.parent.glob(f"{path.name}.corrupt-*")
            if not file.name.endswith(COMPANIONS) and file != newest
        ),
        key=lambda file: file.stat().st_mtime,
        reverse=True,
    )
    kept_bytes = _size(newest)
    for place, file in enumerate(found, start=2):
        kept_bytes += _size(file)
        if place > KEPT_FILES or kept_bytes > KEPT_BYTES:
            log.warning("outbox.damaged_file_deleted", file=str(file), reason="newer ones are kept")
            remove_with_companions(file)


def _size(file: Path) -> int:
    parts = (file.with_name(file.name + suffix) for suffix in ("", *COMPANIONS))
    return sum(part.stat().st_size for part in parts if part.exists())


def remove_with_companions(path: Path) -> None:
    """Delete a file that was not finished, or that nobody needs any more."""
    for suffix in ("", *COMPANIONS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def finish_replacing(path: Path) -> None:
    """Let the successor take the place of a file that was set aside, also after a crash between.

    While the file itself is there, the successor may be half built, and is not looked at.
    """
    new = successor(path)
    if path.exists() or not new.exists():
        return
    for suffix in COMPANIONS:
        # A log of the damaged file that stayed behind would be played into the new one.
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.corrupt{suffix}"))
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def carry_over(
    db: sqlite3.Connection,
    damaged: Path,
    mark: SeqMark,
    *,
    aside: Path,
    at: datetime,
    on_progress: Callable[[], None],
) -> None:
    """Put what is left into a new file; its numbers go on, and those that are missing are a gap.

    In parts: the events of a long outage are more than fits into memory.
    """
    left = Remains(damaged)
    db.execute("PRAGMA synchronous = OFF")  # until the last part: nobody uses this file before
    _copy_rows(db, left, on_progress)
    db.execute("PRAGMA synchronous = FULL")
    last_seq: int = db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
    next_seq = left.next_seq(last_seq, mark)
    gaps = left.gaps(next_seq)
    db.execute("BEGIN IMMEDIATE")
    db.executemany(
        "INSERT INTO gap (from_seq, to_seq, reason, detail, at_s, gap_id)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        gaps,
    )
    ranges = heapq.merge(_row_ranges(db), [(gap[0], gap[1]) for gap in gaps])
    # What lies below the first one that is known may have been delivered.
    floor = mark.floor if mark.found is not None else None
    lost = _insert_damage(db, _holes(ranges, floor, next_seq), at)
    anchor = left.anchor(_newest(db))
    if anchor is not None:
        db.execute("INSERT INTO anchor VALUES (1, ?, ?, ?, ?)", anchor)
    # A time that makes no sense must not make an event look old, nor young for ever.
    now_s = anchor[3] if anchor else 0.0
    db.execute("UPDATE event SET aged_s = ? WHERE aged_s > ?", (now_s, now_s))
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", left.notes().items())
    db.execute("INSERT OR REPLACE INTO meta VALUES ('set_aside', ?)", (str(aside),))
    for name, value in (
        ("next_seq", next_seq),
        ("dropped", left.total("dropped", next_seq)),
        ("lost", left.total("lost", next_seq) + lost),
    ):
        db.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))
    _recount(db)
    db.execute("COMMIT")


def _copy_rows(db: sqlite3.Connection, left: Remains, on_progress: Callable[[], None]) -> None:
    rows = left.rows()
    while part := list(islice(rows, COPY_ROWS)):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", part)
        db.execute("COMMIT")
        on_progress()


def _newest(db: sqlite3.Connection) -> tuple[float, float] | None:
    """(wall time, age axis) of the newest event."""
    found: tuple[float, float] | None = db.execute(
        "SELECT added_at_s, aged_s FROM event WHERE aged_s < ? ORDER BY seq DESC LIMIT 1",
        (MOST_SECONDS,),
    ).fetchone()
    return found


def _row_ranges(db: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of events without a hole."""
    first = last = None
    for (seq,) in db.execute("SELECT seq FROM event ORDER BY seq"):
        if last is not None and seq == last + 1:
            last = seq
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = seq
    if first is not None and last is not None:
        yield first, last


def _holes(
    ranges: Iterable[tuple[int, int]], floor: int | None, end: int
) -> Iterator[tuple[int, int]]:
    """What ordered ranges leave out from `floor` (None: the first range) up to before `end`."""
    at = floor
    for first, last in ranges:
        if at is not None and first > at:
            yield at, first - 1
        at = last + 1 if at is None else max(at, last + 1)
    if at is not None and at < end:
        yield at, end - 1


def catch_up(db: sqlite3.Connection, mark: SeqMark, *, at: datetime) -> None:
    """A whole file that knows less than the mark: its newest events were lost with their log."""
    ((next_seq,),) = db.execute("SELECT value FROM counter WHERE name = 'next_seq'").fetchall()
    # A file without a single event is a new one: as with a damaged one, nothing of it is known.
    target = mark.next_seq if next_seq > 1 else mark.safe_next
    if target <= next_seq:
        return
    first = next_seq if next_seq > 1 else mark.floor
    db.execute("BEGIN IMMEDIATE")
    if first < target:
        _insert_damage(db, [(first, target - 1)], at)
        db.execute("UPDATE counter SET value = value + 1 WHERE name = 'gaps'")
        db.execute("UPDATE counter SET value = value + ? WHERE name = 'lost'", (target - first,))
    db.execute("UPDATE counter SET value = ? WHERE name = 'next_seq'", (target,))
    db.execute("COMMIT")


def why_untrue(db: sqlite3.Connection, mark: SeqMark) -> str | None:
    """What makes no sense in a file whose pages are whole; None when all does.

    Counters that can be counted again are not among it: `make_good` does that.
    """
    known = counters(db)
    (last_seq,) = db.execute(
        "SELECT max(coalesce((SELECT max(seq) FROM event), 0),"
        " coalesce((SELECT max(seq) FROM parked), 0))"
    ).fetchone()
    if known["next_seq"] <= last_seq:
        return "the sequence counter lies behind the rows"
    if known["next_seq"] > plausible_next(last_seq + 1, mark):
        return f"the sequence counter has run away to {known['next_seq']}"
    if min(known["dropped"], known["lost"]) < 0:
        return "a counter is negative"
    gaps = db.execute(f"SELECT {GAP} FROM gap")  # noqa: S608 - only names
    if not all(is_gap(row, known["next_seq"]) for row in gaps):
        return "an announcement is none"
    for table in ("event", "parked"):
        if db.execute(_ODD_ROWS.format(table)).fetchone() is not None:
            return "the size or the time of an event is none"
    anchors = db.execute("SELECT boot_id, boot_s, wall_s, aged_s FROM anchor").fetchall()
    return None if all(map(is_anchor, anchors)) else "a time is none"


_ODD_ROWS: Final = (  # only numbers and names are pasted in
    "SELECT 1 FROM {} WHERE typeof(size) <> 'integer' OR typeof(aged_s) <> 'real'"  # noqa: S608
    f" OR size NOT BETWEEN 0 AND length(payload) + {MOST_BESIDE_BYTES}"
    f" OR aged_s NOT BETWEEN 0 AND {MOST_SECONDS} LIMIT 1"
)


def make_good(db: sqlite3.Connection) -> None:
    """Correct what the tables tell better than the counters, by which the bounds go.

    And a present that lies far beyond the newest event, by one clock only: all would look too old.
    """
    known = counters(db)
    newest = _newest(db)
    anchor = db.execute("SELECT boot_id, boot_s, wall_s, aged_s FROM anchor").fetchone()
    ran_away = anchor is not None and newest is not None and not fits(anchor, newest)
    if not ran_away and all(known[name] == value for name, value in _counted(db)):
        return
    log.warning("outbox.corrected", ages=ran_away, remedy="check disk and clock")
    db.execute("BEGIN IMMEDIATE")
    _recount(db)
    if ran_away and newest is not None:
        db.execute("UPDATE anchor SET boot_id = NULL, wall_s = ?, aged_s = ?", newest)
    db.execute("COMMIT")


def _recount(db: sqlite3.Connection) -> None:
    for name, value in list(_counted(db)):
        db.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))


def _counted(db: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    pending, pending_bytes = db.execute(_COUNT_ROWS.format("event")).fetchone()
    parked, parked_bytes = db.execute(_COUNT_ROWS.format("parked")).fetchone()
    yield "pending", pending
    yield "parked", parked
    yield "bytes", pending_bytes + parked_bytes
    yield "gaps", db.execute("SELECT count(*) FROM gap").fetchone()[0]


_COUNT_ROWS: Final = "SELECT count(*), CAST(total(size) AS INTEGER) FROM {}"


def _insert_damage(db: sqlite3.Connection, lost: Iterable[tuple[int, int]], at: datetime) -> int:
    """Announce ranges of numbers; returns how many numbers those are."""
    count = 0
    for first, last in lost:
        db.execute(
            "INSERT INTO gap (from_seq, to_seq, reason, at_s) VALUES (?, ?, 'damaged', ?)",
            (first, last, at.timestamp()),
        )
        count += last - first + 1
    return count
