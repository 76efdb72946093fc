"""A damaged outbox file: kept under another name, read as far as it can be read, and announced."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from alprd.publish.gaps import runs
from alprd.publish.seqmark import SeqMark

COMPANIONS: Final = ("-wal", "-shm")
_ROW: Final = "seq, topic, event_id, payload, size, added_at_s, aged_s, crc, tries"
_ROW_V1: Final = "seq, topic, event_id, payload, size, added_at_s, 0.0, NULL, 0"
# Every way there is, because reading stops at the first page that is broken.
_QUESTIONS: Final = tuple(
    f"SELECT {columns} FROM {table} ORDER BY seq {order}"  # noqa: S608 - nothing from outside
    for table, columns in (("event", _ROW), ("event", _ROW_V1), ("parked", _ROW))
    for order in ("", "DESC")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What could be read; `rows` have the columns of the table `event`, `gaps` those of `gap`."""

    rows: tuple[tuple[Any, ...], ...]
    gaps: tuple[tuple[Any, ...], ...]
    anchor: tuple[Any, ...] | None
    next_seq: int
    dropped: int
    lost: int


def checksum(seq: int, topic: str, event_id: str, payload: bytes) -> int:
    """Of a row: SQLite does not notice when bytes inside of one have changed."""
    return zlib.crc32(payload, zlib.crc32(f"{seq} {topic} {event_id}".encode("utf-8", "replace")))


def lenient_text(stored: bytes) -> str:
    """Of a TEXT column: a byte that has changed is for the checksum to find, not an error."""
    return stored.decode("utf-8", "replace")


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
    """Rename the file and its companions: kept for inspection, never deleted.

    The file first: as long as it is there, everything can be done again.
    """
    for suffix in ("", *COMPANIONS):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))


def remove_with_companions(path: Path) -> None:
    """Delete a file that was not finished."""
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


def read_what_is_left(damaged: Path) -> Remains:
    """Every whole event, in order, and the counters where they are readable."""
    rows: dict[int, tuple[Any, ...]] = {}
    broken: set[int] = set()
    for question in _QUESTIONS:
        for row in _read(damaged, question):
            if not _is_whole(row):
                # Asked for as one of version 1, without its checksum, it might pass.
                broken.add(row[0])
            elif row[0] not in broken:
                rows.setdefault(row[0], row)
    counters = dict(_read(damaged, "SELECT name, value FROM counter"))
    gaps = "SELECT from_seq, to_seq, reason, detail, at_s, gap_id FROM gap"
    anchor = "SELECT boot_id, boot_s, wall_s, aged_s FROM anchor"
    return Remains(
        rows=tuple(rows[seq] for seq in sorted(rows)),
        gaps=tuple(_read(damaged, gaps)),
        anchor=next(_read(damaged, anchor), None),
        next_seq=_count(counters, "next_seq", at_least=1),
        dropped=_count(counters, "dropped", at_least=0),
        lost=_count(counters, "lost", at_least=0),
    )


def carry_over(
    db: sqlite3.Connection, left: Remains, mark: SeqMark, *, aside: Path, at: datetime
) -> None:
    """Put what is left into a new file; its numbers go on, and those that are missing are a gap."""
    seqs = {row[0] for row in left.rows}
    next_seq = max([left.next_seq, mark.safe_next, *(seq + 1 for seq in seqs)])
    known = seqs.union(*(range(first, last + 1) for first, last, *_ in left.gaps))
    floor = mark.floor if mark.found is not None else min(known, default=next_seq)
    missing = [seq for seq in range(floor, next_seq) if seq not in known]
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", left.rows)
    db.executemany(
        "INSERT INTO gap (from_seq, to_seq, reason, detail, at_s, gap_id)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        left.gaps,
    )
    _insert_damage(db, runs(missing), at)
    if left.anchor is not None:
        db.execute("INSERT INTO anchor VALUES (1, ?, ?, ?, ?)", left.anchor)
    db.execute("INSERT INTO meta VALUES ('set_aside', ?)", (str(aside),))
    for name, value in (
        ("next_seq", next_seq),
        ("pending", len(left.rows)),
        ("bytes", sum(row[4] for row in left.rows)),
        ("dropped", left.dropped),
        ("lost", left.lost + len(missing)),
        ("gaps", len(left.gaps) + len(runs(missing))),
    ):
        db.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))
    db.execute("COMMIT")


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


def _insert_damage(db: sqlite3.Connection, lost: list[tuple[int, int]], at: datetime) -> None:
    db.executemany(
        "INSERT INTO gap (from_seq, to_seq, reason, at_s) VALUES (?, ?, 'damaged', ?)",
        [(first, last, at.timestamp()) for first, last in lost],
    )


def _is_whole(row: tuple[Any, ...]) -> bool:
    """By its checksum; a row of version 1 has none and must be JSON that tells of this event."""
    seq, topic, event_id, payload, size, *_, crc, tries = row
    if not (isinstance(payload, bytes) and isinstance(topic, str) and isinstance(event_id, str)):
        return False
    if not (isinstance(size, int) and isinstance(tries, int)):
        return False
    if crc is not None:
        return bool(crc == checksum(seq, topic, event_id, payload))
    try:
        content = json.loads(payload)
    except ValueError:
        return False
    return isinstance(content, dict) and (content.get("seq"), content.get("event_id")) == (
        seq,
        event_id,
    )


def _count(counters: dict[Any, Any], name: str, *, at_least: int) -> int:
    value = counters.get(name)
    return max(at_least, value) if isinstance(value, int) else at_least


def _read(damaged: Path, question: str) -> Iterator[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=rw", uri=True)) as db:
            db.text_factory = lenient_text
            # Else SQLite does not look at all at a file that is shorter than it once was.
            db.execute("PRAGMA writable_schema = ON")
            yield from db.execute(question)
    except sqlite3.Error:
        return  # what came so far is what can be had
