"""The durable queue: numbers, order, bounds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from alprd.publish.outbox import NewRow, OutboxReader, OutboxWriter

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


def open_writer(path: Path, *, max_events: int = 1000) -> OutboxWriter:
    return OutboxWriter(path, max_events=max_events, now=lambda: NOW)


def rows(count: int, *, start: int = 0) -> list[NewRow]:
    return [
        NewRow(topic="alpr/gate/plates", event_id=f"id-{start + i}", build=lambda seq: b"%d" % seq)
        for i in range(count)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[OutboxWriter]:
    with open_writer(path) as opened:
        yield opened


@pytest.fixture
def reader(writer: OutboxWriter, path: Path) -> Iterator[OutboxReader]:
    with OutboxReader(path) as opened:
        yield opened


def test_numbers_start_at_one_and_have_no_gap(writer: OutboxWriter) -> None:
    assert writer.add(rows(3)) == [1, 2, 3]
    assert writer.add(rows(2)) == [4, 5]
    assert writer.add([]) == []


def test_a_reader_sees_rows_in_order_with_the_payload_built_from_their_number(
    writer: OutboxWriter, reader: OutboxReader
) -> None:
    writer.add(rows(3))
    first, second, third = reader.pending(0, 10)
    assert [first.seq, second.seq, third.seq] == [1, 2, 3]
    assert second.payload == b"2"
    assert (second.event_id, second.topic) == ("id-1", "alpr/gate/plates")
    assert second.added_at_s == NOW.timestamp()


def test_pending_starts_after_a_number_and_ends_at_the_limit(
    writer: OutboxWriter, reader: OutboxReader
) -> None:
    writer.add(rows(5))
    assert [row.seq for row in reader.pending(2, 2)] == [3, 4]


def test_numbers_go_on_after_all_rows_are_gone_and_the_process_was_restarted(path: Path) -> None:
    with open_writer(path) as writer, OutboxReader(path) as reader:
        writer.add(rows(3))
        reader.delete([1, 2, 3])
        assert reader.pending(0, 10) == []
    with open_writer(path) as again:
        assert again.add(rows(1)) == [4]


def test_a_deleted_row_is_gone_and_deleting_it_again_changes_nothing(
    writer: OutboxWriter, reader: OutboxReader
) -> None:
    writer.add(rows(3))
    reader.delete([2])
    reader.delete([2, 99])
    assert [row.seq for row in reader.pending(0, 10)] == [1, 3]
    assert reader.counts().pending == 2


def test_more_rows_can_be_deleted_than_sqlite_takes_values_in_one_statement(
    writer: OutboxWriter, reader: OutboxReader
) -> None:
    writer.add(rows(1000))
    reader.delete(range(1, 1000))
    assert [row.seq for row in reader.pending(0, 10)] == [1000]


def test_beyond_the_bound_the_oldest_are_dropped_and_counted(path: Path) -> None:
    with open_writer(path, max_events=4) as writer, OutboxReader(path) as reader:
        writer.add(rows(3))
        writer.add(rows(3, start=3))
        assert [row.seq for row in reader.pending(0, 10)] == [3, 4, 5, 6]
        assert (reader.counts().pending, reader.counts().dropped) == (4, 2)
    with open_writer(path, max_events=4) as again:
        assert again.counts().dropped == 2


def test_a_payload_that_cannot_be_built_uses_up_no_number(
    writer: OutboxWriter, reader: OutboxReader
) -> None:
    def fail(seq: int) -> bytes:
        raise ValueError(seq)

    with pytest.raises(ValueError, match="2"):
        writer.add([*rows(1), NewRow(topic="t", event_id="bad", build=fail)])
    assert reader.pending(0, 10) == []
    assert writer.add(rows(1)) == [1]


def test_a_full_disk_adds_nothing_names_the_remedy_and_uses_up_no_number(
    writer: OutboxWriter, path: Path
) -> None:
    writer.add(rows(1))
    # SQLite's own way to run out of space at a given size.
    writer._db.execute("PRAGMA max_page_count = 8")
    big = [NewRow(topic="t", event_id="big", build=lambda _: b"x" * 100_000)]
    with pytest.raises(
        OutboxError, match=re.escape("the disk is full; free space, or set outbox.path")
    ):
        writer.add(big)
    writer._db.execute("PRAGMA max_page_count = 100000")
    assert writer.add(big) == [2]
    assert writer.counts().pending == 2


def test_a_file_held_by_another_process_is_an_error_that_says_so(
    writer: OutboxWriter, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer._db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(OutboxError, match="another process holds the file"):
        writer.add(rows(1))
    other.close()
    assert writer.add(rows(1)) == [1]


def test_what_was_added_is_on_disk_before_add_returns(writer: OutboxWriter) -> None:
    assert writer._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_the_file_shrinks_step_by_step_after_a_long_outage(
    writer: OutboxWriter, reader: OutboxReader, path: Path
) -> None:
    big = [NewRow(topic="t", event_id=str(i), build=lambda _: b"x" * 100_000) for i in range(200)]
    writer.add(big)
    reader.delete(range(1, 201))
    reader._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size
    for _ in range(20):
        reader.give_space_back()
    reader._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert before > 20_000_000
    assert path.stat().st_size < before / 2
