"""The durable queue: numbers, order, claims."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from alprd.publish import outbox_file
from alprd.publish.outbox import Outbox
from alprd.publish.rows import NewRow
from support.outboxes import HandClock, gaps, open_outbox, row, rows, waiting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with open_outbox(path) as opened:
        yield opened


def test_numbers_start_at_one_and_have_no_gap(outbox: Outbox) -> None:
    assert outbox.add(rows(3)) == [1, 2, 3]
    assert outbox.add(rows(2)) == [4, 5]
    assert outbox.add([]) == []


def test_rows_are_claimed_in_order_with_the_payload_built_from_their_number(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, boot_s=clock) as outbox:
        outbox.add([row("a"), row("b", topic="alpr/yard/plates")])
        clock.seconds += 7.0
        outbox.add([row("c")])
        first, second, third = outbox.claim(0, 10)
    assert [first.seq, second.seq, third.seq] == [1, 2, 3]
    assert second.payload == b'{"seq":2,"event_id":"b","p":""}'
    assert (second.event_id, second.topic) == ("b", "alpr/yard/plates")
    assert [first.age_s, third.age_s] == [7.0, 0.0]


def test_a_row_is_claimed_once_until_its_connection_is_gone(outbox: Outbox) -> None:
    outbox.add(rows(5))
    assert [r.seq for r in outbox.claim(0, 2)] == [1, 2]
    assert [r.seq for r in outbox.claim(0, 10, before_seq=5)] == [3, 4]
    assert [r.seq for r in outbox.claim(0, 10)] == [5]
    outbox.release(keep={2})
    assert [r.seq for r in outbox.claim(0, 10)] == [1, 3, 4, 5]


def test_numbers_go_on_after_all_rows_are_gone_and_the_process_was_restarted(path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox.add(rows(3))
        outbox.delete([1, 2, 3])
        assert waiting(outbox) == []
    with open_outbox(path) as again:
        assert again.add(rows(1)) == [4]


def test_a_deleted_row_is_gone_and_deleting_it_again_changes_nothing(outbox: Outbox) -> None:
    outbox.add(rows(3))
    outbox.delete([2])
    outbox.delete([2, 99])
    assert waiting(outbox) == [1, 3]
    outbox.delete([1, 3])
    counts = outbox.counts()
    assert (counts.pending, counts.bytes) == (0, 0)


def test_more_rows_can_be_deleted_than_sqlite_takes_values_in_one_statement(
    outbox: Outbox,
) -> None:
    outbox.add(rows(1000))
    outbox.delete(range(1, 1000))
    assert waiting(outbox) == [1000]


def test_a_payload_that_cannot_be_built_uses_up_no_number(outbox: Outbox) -> None:
    def fail(seq: int) -> bytes:
        raise ValueError(seq)

    with pytest.raises(ValueError, match="2"):
        outbox.add([*rows(1), NewRow(topic="t", event_id="bad", build=fail)])
    assert waiting(outbox) == []
    assert outbox.add(rows(1)) == [1]


def test_a_full_disk_adds_nothing_names_the_remedy_and_uses_up_no_number(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_file, "ROOM_BYTES", 2**62)
    outbox.add(rows(1))
    # SQLite's own way to run out of space at a given size.
    assert outbox.store.db is not None
    outbox.store.db.execute("PRAGMA max_page_count = 8")
    big = rows(1, padding=100_000)
    with pytest.raises(
        OutboxError, match=re.escape("the disk is full; free space, or set outbox.path")
    ):
        outbox.add(big)
    outbox.store.db.execute("PRAGMA max_page_count = 100000")
    assert outbox.add(big) == [2]
    assert outbox.counts().pending == 2


def test_a_file_held_by_another_process_is_an_error_that_says_so(
    outbox: Outbox, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert outbox.store.db is not None
    outbox.store.db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(OutboxError, match="another process holds the file"):
        outbox.add(rows(1))
    other.close()
    assert outbox.add(rows(1)) == [1]


def test_what_was_added_is_on_disk_before_add_returns(outbox: Outbox) -> None:
    assert outbox.store.db is not None
    assert outbox.store.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert outbox.store.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_the_file_shrinks_step_by_step_after_a_long_outage(outbox: Outbox, path: Path) -> None:
    outbox.add(rows(200, padding=100_000))
    outbox.delete(range(1, 201))
    assert outbox.store.db is not None
    outbox.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size
    for _ in range(20):
        outbox.give_space_back()
    outbox.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert before > 20_000_000
    assert path.stat().st_size < before / 2


@pytest.mark.parametrize(
    ("age_s", "found"), [(0.5, 100), (1.0, 99), (50.0, 50), (98.0, 2), (99.0, 1), (500.0, 1)]
)
def test_the_first_row_of_an_age_is_found(path: Path, age_s: float, found: int) -> None:
    clock = HandClock()
    with open_outbox(path, boot_s=clock) as outbox:
        for second in range(100):
            clock.seconds = 1000.0 + second
            outbox.add(rows(1))
        outbox.delete(range(60, 70))
        assert outbox.first_younger_than(age_s) == found


def test_no_row_is_young_enough_when_all_are_old_and_none_when_there_is_none(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, boot_s=clock) as outbox:
        assert outbox.first_younger_than(60.0) is None
        outbox.add(rows(3))
        clock.seconds += 100.0
        assert outbox.first_younger_than(60.0) is None


def test_events_that_never_became_durable_use_up_numbers_and_are_announced(
    outbox: Outbox,
) -> None:
    outbox.add(rows(1))
    outbox.add_lost(3)
    outbox.add_lost(0)
    assert outbox.add(rows(1)) == [5]
    assert gaps(outbox) == [(2, 4, "unsaved")]
    assert outbox.counts().dropped == 3
