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


def test_a_million_parked_events_are_offered_again_a_part_a_turn_and_each_once(
    outbox: Failing,
) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    outbox.add(rows(47, start=10))
    outbox.add(rows(50, start=100))
    for start in (1, 51):
        outbox.park([(seq, "Not authorized", False) for seq in range(start, start + 50)])
    shelf.offer_parked_again()
    turns = 0
    while shelf.is_offering:
        assert shelf.is_hurried  # the next turn does not wait
        back = shelf.claim(0, None)
        assert len(back) <= 64
        # The broker does not want them this time either: that is no reason to go on for ever.
        shelf.park([(row, Refusal(code=0x87, text="Not authorized")) for row in back])
        shelf.remove(())
        shelf.maintain()
        turns += 1
        assert turns < 10
    assert shelf.refused >= 64
    assert outbox.counts().pending + outbox.counts().parked == 100


def test_parked_events_are_offered_again_although_the_disk_did_not_take_it_at_first(
    outbox: Failing,
) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    outbox.park([(1, "Not authorized", False)])
    assert outbox.store.db is not None
    outbox.store.db.execute("PRAGMA query_only = ON")
    shelf.offer_parked_again()
    assert shelf.error is not None
    assert not shelf.is_hurried  # a disk that balks is not asked all the time
    outbox.store.db.execute("PRAGMA query_only = OFF")
    clock.seconds += 2.0
    shelf.maintain()
    shelf.maintain()
    assert outbox.counts().parked == 0
    assert not shelf.is_offering


def test_what_piled_up_while_the_disk_balked_is_let_go_a_part_a_turn(tmp_path: Path) -> None:
    clock = HandClock()
    bounds = Bounds(max_events=1000, max_bytes=10**6, max_age_s=1e9)
    with Failing(tmp_path / "large.sqlite", bounds=bounds, now=lambda: NOW) as outbox:
        shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
        outbox.add(rows(250))
        outbox.broken = True
        shelf.remove(range(1, 251))
        outbox.broken = False
        clock.seconds += 2.0
        left = []
        while outbox.counts().pending:
            shelf.remove(())
            left.append(outbox.counts().pending)
            assert shelf.is_hurried == bool(left[-1])
        assert left == [150, 50, 0]
        assert shelf.is_settled


def test_what_is_too_old_goes_a_part_a_turn_without_a_pause(tmp_path: Path) -> None:
    clock, age = HandClock(), HandClock()
    bounds = Bounds(max_events=1000, max_bytes=10**6, max_age_s=100.0)
    with Outbox(tmp_path / "old.sqlite", bounds=bounds, now=lambda: NOW, boot_s=age) as outbox:
        shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
        outbox.add(rows(250))
        age.seconds += 101.0
        left = []
        for _ in range(3):
            shelf.maintain()
            left.append(outbox.counts().pending)
        assert left == [150, 50, 0]
        shelf.maintain()
        assert not shelf.is_hurried


def test_a_trouble_that_has_passed_is_forgotten_also_while_no_broker_is_there(
    outbox: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = HandClock()
    shelf = Shelf(outbox, clock=clock, now=lambda: NOW)
    assert outbox.store.db is not None
    outbox.store.db.execute("PRAGMA query_only = ON")
    shelf.note(OutboxError("outbox.sqlite: disk I/O error"))
    for _ in range(20):
        clock.seconds += 1.0
        shelf.maintain()
        assert shelf.error is not None  # it can be read, but that is not enough
    outbox.store.db.execute("PRAGMA query_only = OFF")
    clock.seconds += 2.0
    shelf.maintain()
    assert shelf.error is None
    assert capsys.readouterr().out.count("outbox.usable_again") == 1
