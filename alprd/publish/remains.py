"""What a damaged outbox file still tells, judged: only events carry a checksum.

The counters, the announcements and the times beside the events have none, so a flipped bit shows
only when it makes no sense. Nothing of that may turn the numbers back or let them run away.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, get_args

from alprd.publish.gaps import GapReason
from alprd.publish.rows import row_bytes
from alprd.publish.seqmark import SeqMark

ROW: Final = "seq, topic, event_id, payload, size, added_at_s, aged_s, crc, tries"
ROW_V1: Final = "seq, topic, event_id, payload, size, added_at_s, 0.0, NULL, 0"
GAP: Final = "from_seq, to_seq, reason, detail, at_s, gap_id"
MAY_BE_BEHIND: Final = 1_000_000
"""Numbers that the mark may lie behind, should it not have been writable for a while."""

HIGHEST: Final = 2**48
MOST_GAPS: Final = 100_000
MOST_SECONDS: Final = 1e11
CLOCK_STEP_S: Final = 2 * 86_400.0

Anchored = tuple[str | None, float, float, float]
GapRow = tuple[int, int, str, str | None, float, str | None]


def checksum(seq: int, topic: str, event_id: str, payload: bytes) -> int:
    """Of a row: SQLite does not notice when bytes inside of one have changed."""
    return zlib.crc32(payload, zlib.crc32(f"{seq} {topic} {event_id}".encode("utf-8", "replace")))


def lenient_text(stored: bytes) -> str:
    """Of a TEXT column: a byte that has changed is for the checksum to find, not an error."""
    return stored.decode("utf-8", "replace")


def is_intact(seq: object, topic: object, event_id: object, payload: object, crc: object) -> bool:
    """By its checksum, where the row has one (those of version 1 have none)."""
    if not (isinstance(payload, bytes) and isinstance(topic, str) and isinstance(event_id, str)):
        return False
    if not isinstance(seq, int):
        return False
    return crc is None or crc == checksum(seq, topic, event_id, payload)


class Remains:
    """Reads a damaged file, as often as asked; nothing of it is kept in memory."""

    def __init__(self, damaged: Path) -> None:
        self._damaged = damaged
        found = dict(self._read("SELECT name, value FROM counter"))
        self.counters = {name: value for name, value in found.items() if isinstance(value, int)}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every whole event with the columns of the table `event`; some of them twice."""
        for table in ("event", "parked"):
            try:
                yield from self._whole_rows(table, ROW)
            except sqlite3.Error as error:
                if "no such column" in str(error):
                    yield from self._whole_rows(table, ROW_V1)

    def _whole_rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """From both ends, because reading stops at the first page that is broken."""
        for order in ("", "DESC"):
            try:
                # Only names are pasted in.
                question = f"SELECT {columns} FROM {table} ORDER BY seq {order}"  # noqa: S608
                with closing(self._connected()) as db:
                    yield from filter(None, map(_whole, db.execute(question)))
                return
            except sqlite3.Error as error:
                if "no such column" in str(error):
                    raise

    def next_seq(self, last_seq: int, mark: SeqMark) -> int:
        """The number to go on with; `last_seq` is the highest of the whole events."""
        surely = max(1, last_seq + 1, mark.safe_next)
        limit = plausible_next(surely, mark)
        told = [self.counters.get("next_seq", 0), *(gap[1] + 1 for gap in self.gaps(limit))]
        return max([surely, *(number for number in told if number <= limit)])

    def gaps(self, next_seq: int) -> list[GapRow]:
        """Announcements that were not delivered, with the columns of the table `gap`, in order."""
        found = [
            row
            for row in self._read(f"SELECT {GAP} FROM gap LIMIT {MOST_GAPS}")  # noqa: S608
            if is_gap(row, next_seq)
        ]
        return sorted(found, key=lambda row: (row[0], row[1]))

    def total(self, name: str, next_seq: int) -> int:
        """A counter of numbers that are gone."""
        return min(max(0, self.counters.get(name, 0)), next_seq)

    def notes(self) -> Mapping[str, str]:
        """What was remembered by name."""
        return {
            name: value
            for name, value in self._read("SELECT key, value FROM meta LIMIT 100")
            if isinstance(name, str) and isinstance(value, str)
        }

    def anchor(self, newest: tuple[float, float] | None) -> Anchored | None:
        """Where the axis of ages stood; None when nothing that makes sense is left.

        Args:
            newest: (wall time, age axis) of the newest whole event, which must fit.
        """
        question = "SELECT boot_id, boot_s, wall_s, aged_s FROM anchor"
        found = next((row for row in self._read(question) if is_anchor(row)), None)
        if newest is None or (found is not None and fits(found, newest)):
            return found
        # Without a boot id the wall clock is asked how long ago that was.
        return None, 0.0, newest[0], newest[1]

    def _read(self, question: str) -> Iterator[tuple[Any, ...]]:
        try:
            with closing(self._connected()) as db:
                yield from db.execute(question)
        except sqlite3.Error:
            return  # what came so far is what can be had

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self._damaged.absolute().as_uri()}?mode=rw", uri=True)
        db.text_factory = lenient_text
        # Else SQLite does not look at all at a file that is shorter than it once was.
        db.execute("PRAGMA writable_schema = ON")
        return db


def plausible_next(surely: int, mark: SeqMark) -> int:
    """The highest number that may be the next one; beyond it a bit has flipped."""
    if mark.found is None:
        return HIGHEST
    return max(surely, mark.reserved) + MAY_BE_BEHIND


def is_anchor(row: tuple[Any, ...]) -> bool:
    """Whether it can be one: boot_id, boot_s, wall_s, aged_s."""
    boot_id, *times = row
    return (boot_id is None or isinstance(boot_id, str)) and all(map(is_time, times))


def fits(anchor: tuple[Any, ...], newest: tuple[float, float]) -> bool:
    """Whether both clocks went on alike between the newest event and the last one stored."""
    _, _, wall_s, aged_s = anchor
    wall_before_s, aged_before_s = newest
    went_on_s: float = aged_s - aged_before_s
    stepped_s: float = wall_s - wall_before_s - went_on_s
    return went_on_s >= 0.0 and abs(stepped_s) <= CLOCK_STEP_S


def _whole(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The row, with what has no checksum made good; None when it is not what was written."""
    seq, topic, event_id, payload, _, added_at_s, aged_s, crc, tries = row
    if not is_intact(seq, topic, event_id, payload, crc):
        return None
    if crc is None and not _tells_of(payload, seq, event_id):
        return None
    return (
        seq,
        topic,
        event_id,
        payload,
        row_bytes(topic, event_id, payload),
        added_at_s if is_time(added_at_s) else 0.0,
        aged_s if is_time(aged_s) else MOST_SECONDS,  # brought down to the present later
        checksum(seq, topic, event_id, payload),
        tries if isinstance(tries, int) and tries >= 0 else 0,
    )


def _tells_of(payload: bytes, seq: int, event_id: str) -> bool:
    """A row of version 1 must be JSON that tells of this event."""
    try:
        content = json.loads(payload)
    except ValueError:
        return False
    return isinstance(content, dict) and (content.get("seq"), content.get("event_id")) == (
        seq,
        event_id,
    )


def is_time(value: object) -> bool:
    """Whether it can be seconds on any axis."""
    return isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= MOST_SECONDS


def is_gap(row: tuple[Any, ...], next_seq: int) -> bool:
    """Whether it can be one: the columns `GAP`."""
    first, last, reason, detail, at_s, gap_id = row
    return (
        isinstance(first, int)
        and isinstance(last, int)
        and 1 <= first <= last < next_seq
        and reason in get_args(GapReason)
        and (detail is None or isinstance(detail, str))
        and is_time(at_s)
        and (gap_id is None or isinstance(gap_id, str))
    )
