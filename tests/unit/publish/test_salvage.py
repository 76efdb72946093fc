"""What a damaged outbox file tells is judged before it is believed, and takes little to read."""

from __future__ import annotations

import os
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from alprd.ports import OutboxError
from alprd.publish import salvage
from support.outboxes import NOW, HandClock, gaps, open_outbox, peek, row, rows, waiting


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: nobody cuts the power here."""
    shared = Path("/dev/shm")  # noqa: S108
    with TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.fixture
def path(folder: Path) -> Path:
    """An outbox of the events 11..60 of 60, and an announcement of 61..65."""
    path = folder / "outbox.sqlite"
    with open_outbox(path, boot_s=HandClock()) as outbox:
        outbox.add([row(f"id-{number}", padding=600) for number in range(1, 61)])
        outbox.add_lost(5)
        outbox.delete(range(1, 11))
    return path


def change(path: Path, *statements: str) -> None:
    """As bits on the disk change: behind the outbox's back, into what is no good, and damage."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


DAMAGED = "UPDATE event SET payload = x'00' WHERE seq = 30"
NONSENSE = [
    "UPDATE counter SET value = 1099511627776 WHERE name = 'next_seq'",
    "UPDATE counter SET value = 3 WHERE name = 'next_seq'",
    "UPDATE counter SET value = -7 WHERE name = 'next_seq'",
    "UPDATE counter SET value = 'x' WHERE name = 'next_seq'",
    "UPDATE counter SET value = x'00' WHERE name = 'pending'",
    "UPDATE counter SET value = 1099511627776 WHERE name = 'bytes'",
    "UPDATE counter SET value = -1099511627776 WHERE name = 'dropped'",
    "UPDATE counter SET value = 1099511627776 WHERE name = 'lost'",
    "UPDATE counter SET value = 12345 WHERE name = 'gaps'",
    "UPDATE gap SET to_seq = 1099511627776",
    "UPDATE gap SET from_seq = -5",
    "UPDATE gap SET from_seq = x'ff', to_seq = 'b'",
    "UPDATE gap SET at_s = 9e99",
    "UPDATE gap SET at_s = 'then', reason = 'whim'",
    "UPDATE anchor SET aged_s = 'x'",
    "UPDATE anchor SET aged_s = 1e300, boot_s = -1e300",
    "UPDATE anchor SET aged_s = aged_s + 4e7",
    "UPDATE event SET aged_s = 9e99 WHERE seq = 40",
    "UPDATE event SET aged_s = x'01', size = 'big', tries = x'02', added_at_s = 'x' WHERE seq = 60",
    "UPDATE event SET size = 1099511627776 WHERE seq = 40",
]


@pytest.mark.parametrize("damaged", [True, False])
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_flipped_bit_costs_no_number_no_memory_and_no_event(
    path: Path, nonsense: str, *, damaged: bool
) -> None:
    change(path, nonsense, *([DAMAGED] if damaged else []))
    clock = HandClock()
    tracemalloc.start()
    with open_outbox(path, boot_s=clock, max_age_s=86_400.0) as outbox:
        outbox.drop_aged()
        there = [found.seq for found in outbox.claim(0, 1000)]
        kept = set(range(11, 61)) - ({30} if damaged else set())
        assert kept - set(there) <= {40, 60}  # what was changed itself
        announced = gaps(outbox)
        (next_seq,) = outbox.add(rows(1))
        assert next_seq == 66
        numbers = {seq for first, last, _ in announced for seq in range(first, last + 1)}
        assert numbers | set(there) == set(range(11, 66))
        outbox.delete(there)
        outbox.delete([next_seq])
        counts = outbox.counts()
        assert (counts.pending, counts.bytes, counts.parked) == (0, 0, 0)
        assert counts.gaps == len(announced)
        assert counts.lost >= 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_without_the_mark_the_counter_is_all_there_is_and_is_believed(path: Path) -> None:
    path.with_name("outbox.sqlite.seq").unlink()
    change(path, "UPDATE counter SET value = 4711 WHERE name = 'next_seq'", DAMAGED)
    with open_outbox(path) as outbox:
        assert outbox.add(rows(1)) == [4711]


@pytest.mark.parametrize("value", ["5", "1099511627776", "'x'"])
def test_a_number_that_changes_while_the_outbox_runs_is_not_given(path: Path, value: str) -> None:
    with open_outbox(path) as outbox:
        assert outbox.store.db is not None
        outbox.store.db.execute(f"UPDATE counter SET value = {value} WHERE name = 'next_seq'")  # noqa: S608
        assert outbox.add(rows(1)) == [66]
        assert outbox.set_aside is not None


def test_a_file_that_breaks_in_its_first_life_gives_no_number_twice(folder: Path) -> None:
    with open_outbox(folder / "outbox.sqlite") as outbox:
        outbox.add(rows(5))
        assert outbox.store.db is not None
        outbox.store.db.execute("DROP TABLE event")
        outbox.store.db.execute("DROP TABLE counter")
        assert outbox.add(rows(1)) == [6]
        assert gaps(outbox) == [(1, 5, "damaged")]


def test_a_large_outbox_moves_into_a_new_file_in_parts(folder: Path) -> None:
    path = folder / "outbox.sqlite"
    with open_outbox(path, max_events=10_000) as outbox:
        for start in range(0, 2000, 100):
            outbox.add(rows(100, start=start, padding=10_000))
    change(path, DAMAGED)
    signs: list[int] = []
    with open_outbox(path, on_progress=lambda: signs.append(1)) as outbox:
        tracemalloc.start()
        some = outbox.claim(0, 64)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(some) == 64
        assert outbox.set_aside is not None
        assert outbox.counts().pending == 1999
    assert peak < 6_000_000  # of 20 MB
    assert len(signs) == 10  # nobody takes it for a stall


def test_a_disk_that_damages_file_after_file_is_given_ever_longer_pauses(path: Path) -> None:
    clock = HandClock()
    asides: set[Any] = set()
    with open_outbox(path, boot_s=clock) as outbox:

        def breaks(seq: int) -> bool:
            """Whether a row that breaks is noticed, by a new file."""
            assert outbox.store.db is not None
            outbox.store.db.execute("UPDATE event SET payload = x'00' WHERE seq = ?", (seq,))
            before = outbox.set_aside
            with suppress(OutboxError):
                outbox.claim(0, 1000)
            outbox.release()
            asides.add(outbox.set_aside)
            return outbox.set_aside != before

        assert breaks(20)
        assert not breaks(21)
        clock.seconds += 11.0
        assert breaks(22)
        clock.seconds += 11.0
        assert not breaks(23)
        clock.seconds += 10.0
        assert breaks(24)
        assert waiting(outbox) == [seq for seq in range(11, 61) if seq not in range(20, 25)]
    assert len(asides) == 3


def test_a_file_that_cannot_be_opened_is_not_read_again_all_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tries = HandClock(), []

    def fail(*_: object) -> None:
        tries.append(clock.seconds)
        raise OSError(28, "No space left on device")

    with open_outbox(path, boot_s=clock) as outbox:
        assert outbox.store.db is not None
        outbox.store.db.execute("DROP TABLE event")
        with monkeypatch.context() as full:
            full.setattr(salvage, "_copy_rows", fail)
            for _ in range(40):
                with pytest.raises(OutboxError, match="the disk is full"):
                    outbox.add(rows(1))
                clock.seconds += 1.0
        assert len(tries) <= 3
        clock.seconds += 60.0
        assert outbox.add(rows(1)) == [66]


def test_of_the_damaged_files_only_the_newest_are_kept(path: Path) -> None:
    asides = []
    for age_s in range(6, 0, -1):
        path.write_bytes(os.urandom(5000))
        with open_outbox(path, now=lambda s=age_s: NOW - timedelta(seconds=s)) as outbox:
            assert outbox.set_aside is not None
            asides.append(outbox.set_aside)
        past_s = NOW.timestamp() - age_s
        os.utime(asides[-1], (past_s, past_s))
    assert [aside.exists() for aside in asides] == [False] * 3 + [True] * 3


def test_a_large_damaged_file_leaves_no_room_for_older_ones(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salvage, "KEPT_BYTES", 12_000)
    asides = []
    for age_s in (3, 2, 1):
        path.write_bytes(os.urandom(5000))
        with open_outbox(path) as outbox:
            assert outbox.set_aside is not None
            asides.append(outbox.set_aside)
        past_s = NOW.timestamp() - age_s
        os.utime(asides[-1], (past_s, past_s))
    assert [aside.exists() for aside in asides] == [False, True, True]
    assert peek(path, "SELECT count(*) FROM event") == [0]
