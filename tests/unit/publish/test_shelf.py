"""The outbox through disk troubles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from alprd.publish.outbox import NewRow, OutboxReader, OutboxRow, OutboxWriter
from alprd.publish.outbox_file import OutboxDamagedError
from alprd.publish.shelf import Shelf

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


class Failing(OutboxReader):
    """A real outbox on a disk that can be made to fail."""

    broken = False

    def delete(self, seqs: Iterable[int]) -> None:
        self._check()
        super().delete(seqs)

    def pending(self, after_seq: int, limit: int) -> list[OutboxRow]:
        self._check()
        return super().pending(after_seq, limit)

    def _check(self) -> None:
        if self.broken:
            raise OutboxError("outbox.sqlite: the disk is full")


@pytest.fixture
def reader(tmp_path: Path) -> Iterable[Failing]:
    path = tmp_path / "outbox.sqlite"
    with OutboxWriter(path, max_events=100, now=lambda: NOW) as writer:
        writer.add([NewRow(topic="t", event_id=str(i), build=lambda _: b"") for i in range(3)])
        with Failing(path) as opened:
            yield opened


def test_rows_that_cannot_be_removed_are_remembered_and_removed_later(reader: Failing) -> None:
    now_s = [0.0]
    shelf = Shelf(reader, clock=lambda: now_s[0])
    reader.broken = True
    shelf.remove({1, 2})
    assert shelf.error == "outbox.sqlite: the disk is full"
    assert shelf.is_taken(1)
    assert not shelf.is_taken(3)
    assert not shelf.is_settled
    assert shelf.published == 2
    reader.broken = False
    shelf.remove(set())
    assert not shelf.is_settled  # the next try comes a little later
    now_s[0] = 2.0
    shelf.remove(set())
    assert shelf.is_settled
    assert [row.seq for row in shelf.fetch(0)] == [3]
    assert shelf.published == 2


def test_a_file_that_cannot_be_read_is_asked_again_only_after_a_while(reader: Failing) -> None:
    now_s = [0.0]
    shelf = Shelf(reader, clock=lambda: now_s[0])
    reader.broken = True
    assert shelf.fetch(0) == []
    reader.broken = False
    assert shelf.fetch(0) == []
    now_s[0] = 2.0
    assert len(shelf.fetch(0)) == 3


def test_a_file_that_broke_while_in_use_is_not_asked_again_for_ever(reader: Failing) -> None:
    shelf = Shelf(reader, clock=lambda: 0.0)
    reader._db.execute("DROP TABLE event")
    with pytest.raises(OutboxDamagedError, match="restart alprd, it sets the file aside"):
        shelf.fetch(0)
