"""The outbox through disk troubles."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from alprd.publish.message import Refusal
from alprd.publish.outbox import Outbox
from alprd.publish.rows import Bounds, OutboxRow
from alprd.publish.shelf import Shelf
from support.outboxes import NOW, HandClock, rows


class Failing(Outbox):
    """A real outbox on a disk that can be made to fail."""

    broken = False

    def delete(self, seqs: Iterable[int]) -> None:
        self._check()
        super().delete(seqs)

    def claim(
        self, after_seq: int, limit: int, *, before_seq: int | None = None
    ) -> list[OutboxRow]:
        self._check()
        return super().claim(after_seq, limit, before_seq=before_seq)

    def _check(self) -> None:
        if self.broken:
            raise OutboxError("outbox.sqlite: the disk is full")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterable[Failing]:
    bounds = Bounds(max_events=100, max_bytes=10**6, max_age_s=1e9)
    with Failing(tmp_path / "outbox.sqlite", bounds=bounds, now=lambda: NOW) as opened:
        opened.add(rows(3))
        yield opened


def seqs_of(found: Collection[OutboxRow]) -> list[int]:
    return [row.seq for row in found]


def test_rows_that_cannot_be_removed_are_remembered_and_removed_later(outbox: Failing) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    shelf.claim(0, None)
    outbox.broken = True
    shelf.remove({1, 2})
    assert shelf.error == "outbox.sqlite: the disk is full"
    assert not shelf.is_settled
    assert shelf.published == 2
    outbox.broken = False
    shelf.new_connection()
    clock.seconds += 0.5
    shelf.remove(set())
    assert not shelf.is_settled  # the next try comes a little later
    clock.seconds += 2.0
    assert seqs_of(shelf.claim(0, None)) == [3]  # what the broker has is not sent again
    shelf.remove(set())
    assert shelf.is_settled
    assert outbox.counts().pending == 1
    assert shelf.published == 2


def test_a_file_that_cannot_be_read_is_asked_again_only_after_a_while(outbox: Failing) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    outbox.broken = True
    assert shelf.claim(0, None) == []
    outbox.broken = False
    assert shelf.claim(0, None) == []
    clock.seconds += 2.0
    assert len(shelf.claim(0, None)) == 3


def test_gaps_go_out_at_once_on_a_new_connection_and_then_every_few_seconds(
    outbox: Failing,
) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    outbox.add_lost(1)
    assert [gap.from_seq for gap in shelf.take_gaps()] == [4]
    outbox.add_lost(1)
    assert shelf.take_gaps() == []
    clock.seconds += 5.0
    assert [gap.from_seq for gap in shelf.take_gaps()] == [5]
    shelf.new_connection()
    gaps = shelf.take_gaps()
    assert [gap.from_seq for gap in gaps] == [4, 5]
    shelf.remove((), {gaps[0].gap_id})
    shelf.new_connection()
    assert [gap.from_seq for gap in shelf.take_gaps()] == [5]


def test_a_refusal_that_may_pass_is_offered_again_by_itself_the_others_are_not(
    outbox: Failing,
) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    first, second, _ = shelf.claim(0, None)
    shelf.park([(first, Refusal(code=0x97, text="Quota exceeded"))])
    shelf.park([(second, Refusal(code=0x87, text="Not authorized"))])
    shelf.remove(())
    assert shelf.last_refusal == "alpr/gate/plates: Not authorized"
    assert shelf.refused == 2
    outbox.release()
    assert seqs_of(shelf.claim(0, None)) == [3]
    shelf.offer_parked_again()
    assert seqs_of(shelf.claim(0, None)) == [1, 2]
    clock.seconds += 5.0
    shelf.maintain()
    assert shelf.last_refusal is None


def test_acknowledged_events_are_let_go_in_batches_but_never_late(outbox: Failing) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    shelf.claim(0, None)
    shelf.remove({1}, at_least=2)
    assert (outbox.counts().pending, shelf.kept_back) == (3, 1)
    shelf.remove({2}, at_least=2)
    assert (outbox.counts().pending, shelf.kept_back) == (1, 0)
    shelf.remove({3}, at_least=2)
    assert outbox.counts().pending == 1
    clock.seconds += 0.05
    shelf.remove((), at_least=2)
    assert (outbox.counts().pending, shelf.kept_back) == (0, 0)
