"""A damaged outbox file: kept under another name, and read as far as it can be read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

COMPANIONS: Final = ("-wal", "-shm")
# Both ways, because reading stops at the first page that is broken.
FORWARDS: Final = "SELECT seq, topic, event_id, payload, size, added_at_s FROM event ORDER BY seq"
BACKWARDS: Final = f"{FORWARDS} DESC"

Connect = Callable[[Path], sqlite3.Connection]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What could be read; `rows` hold (seq, topic, event_id, payload, size, added_at_s)."""

    rows: tuple[tuple[Any, ...], ...]
    next_seq: int
    dropped: int


def set_aside(path: Path, at: datetime) -> Path:
    """Rename the file and its companions: kept for inspection, never deleted."""
    stamp = at.strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    attempt = 1
    while target.exists():
        attempt += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{attempt}")
    path.rename(target)
    for suffix in COMPANIONS:
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    return target


def read_what_is_left(damaged: Path, connect: Connect) -> Remains:
    """Every whole event, in order, and the counters where they are readable."""
    rows: dict[int, tuple[Any, ...]] = {}
    for question in (FORWARDS, BACKWARDS):
        rows.update((row[0], row) for row in _read(damaged, connect, question) if _is_whole(row))
    counters = dict(_read(damaged, connect, "SELECT name, value FROM counter"))
    return Remains(
        rows=tuple(rows[seq] for seq in sorted(rows)),
        next_seq=_count(counters, "next_seq", at_least=1),
        dropped=_count(counters, "dropped", at_least=0),
    )


def _is_whole(row: tuple[Any, ...]) -> bool:
    """Damage inside a payload shows as JSON that does not parse, or tells of another event."""
    seq, _, event_id, payload, _, _ = row
    try:
        content = json.loads(payload)
    except (TypeError, ValueError):
        return False
    return isinstance(content, dict) and (content.get("seq"), content.get("event_id")) == (
        seq,
        event_id,
    )


def _count(counters: dict[Any, Any], name: str, *, at_least: int) -> int:
    value = counters.get(name)
    return max(at_least, value) if isinstance(value, int) else at_least


def _read(damaged: Path, connect: Connect, question: str) -> Iterator[tuple[Any, ...]]:
    try:
        with closing(connect(damaged)) as db:
            yield from db.execute(question)
    except sqlite3.Error:
        return  # what came so far is what can be had
