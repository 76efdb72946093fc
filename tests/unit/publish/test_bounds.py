"""What goes when the outbox is full or events are old, and how it is announced."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from alprd.publish.outbox import Outbox
from support.outboxes import NOW, HandClock, gaps, open_outbox, rows, waiting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def test_beyond_the_number_the_oldest_go_and_one_gap_tells_which(path: Path) -> None:
    with open_outbox(path, max_events=4) as outbox:
        for start in range(6):
            outbox.add(rows(1, start=start))
        assert waiting(outbox) == [3, 4, 5, 6]
        assert gaps(outbox) == [(1, 2, "events")]
        assert (outbox.counts().pending, outbox.counts().dropped) == (4, 2)
    with open_outbox(path, max_events=4) as again:
        assert again.counts().dropped == 2
        assert gaps(again) == [(1, 2, "events")]  # the gap is as durable as an event


def test_beyond_the_bytes_the_oldest_go(path: Path) -> None:
    with open_outbox(path, max_bytes=10_000) as outbox:
        outbox.add(rows(20, padding=1000))
        assert outbox.counts().bytes <= 10_000
        left = waiting(outbox)
        assert 7 <= len(left) <= 9
        assert left[-1] == 20
        assert gaps(outbox) == [(1, left[0] - 1, "bytes")]


def test_an_event_larger_than_the_bound_is_announced_and_stops_nothing(path: Path) -> None:
    with open_outbox(path, max_bytes=10_000) as outbox:
        outbox.add(rows(1, padding=20_000))
        outbox.add(rows(1))
        assert waiting(outbox) == [2]
        assert gaps(outbox) == [(1, 1, "bytes")]


def test_with_drop_newest_the_new_ones_use_up_numbers_and_the_old_ones_stay(path: Path) -> None:
    with open_outbox(path, max_events=3, when_full="drop_newest") as outbox:
        assert outbox.add(rows(5)) == [1, 2, 3, 4, 5]
        assert waiting(outbox) == [1, 2, 3]
        assert gaps(outbox) == [(4, 5, "events")]
        outbox.delete([1])
        assert outbox.add(rows(1)) == [6]
        assert waiting(outbox) == [2, 3, 6]
        assert outbox.counts().dropped == 2


def test_with_drop_newest_the_bytes_bound_too(path: Path) -> None:
    with open_outbox(path, max_bytes=10_000, when_full="drop_newest") as outbox:
        outbox.add(rows(20, padding=1000))
        left = waiting(outbox)
        assert left == list(range(1, len(left) + 1))
        assert gaps(outbox) == [(len(left) + 1, 20, "bytes")]
        assert outbox.counts().bytes <= 10_000


def test_what_is_on_its_way_to_the_broker_is_not_dropped(path: Path) -> None:
    with open_outbox(path, max_events=4) as outbox:
        outbox.add(rows(4))
        outbox.claim(0, 2)
        outbox.add(rows(2))
        outbox.release()
        assert waiting(outbox) == [1, 2, 5, 6]
        assert gaps(outbox) == [(3, 4, "events")]


def test_an_event_that_waited_too_long_goes(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, max_age_s=100.0, boot_s=clock) as outbox:
        for _ in range(3):
            outbox.add(rows(1))
            clock.seconds += 40.0
        assert outbox.drop_aged() == 1
        assert outbox.drop_aged() == 0
        assert waiting(outbox) == [2, 3]
        assert gaps(outbox) == [(1, 1, "age")]
        assert outbox.counts().dropped == 1


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=1), timedelta(days=-20000)])
def test_a_step_of_the_wall_clock_makes_no_event_older(path: Path, step: timedelta) -> None:
    clock, wall = HandClock(), [NOW]
    with open_outbox(path, max_age_s=600.0, boot_s=clock, now=lambda: wall[0]) as outbox:
        outbox.add(rows(1))
        wall[0] += step
        clock.seconds += 1.0
        outbox.add(rows(1))
        assert outbox.drop_aged() == 0
        assert [row.age_s for row in outbox.claim(0, 10)] == [1.0, 0.0]
    # The process is new, the machine is not: nothing is guessed from the wall clock.
    clock.seconds += 1.0
    with open_outbox(path, max_age_s=600.0, boot_s=clock, now=lambda: wall[0]) as again:
        assert again.drop_aged() == 0
        assert [row.age_s for row in again.claim(0, 10)] == [2.0, 1.0]


@pytest.mark.parametrize(("off", "age_s"), [(3600.0, 3605.0), (-3600.0, 5.0)])
def test_after_a_restart_of_the_machine_the_time_that_it_was_off_counts_if_it_is_known(
    path: Path, off: float, age_s: float
) -> None:
    with open_outbox(path, boot_s=HandClock(9000.0)) as outbox:
        outbox.add(rows(1))
    clock = HandClock(0.0)
    later = NOW + timedelta(seconds=off)
    with open_outbox(path, boot_id="next-boot", boot_s=clock, now=lambda: later) as outbox:
        clock.seconds += 5.0
        assert [row.age_s for row in outbox.claim(0, 10)] == [age_s]


def test_a_gap_that_was_handed_out_does_not_grow_any_more_and_keeps_its_id(path: Path) -> None:
    with open_outbox(path, max_events=2) as outbox:
        outbox.add(rows(3))
        (first,) = outbox.take_gaps(10, lambda: "one")
        outbox.add(rows(1))
        again, second = outbox.take_gaps(10, lambda: "two")
        assert again == first
        assert (first.from_seq, first.to_seq, first.gap_id) == (1, 1, "one")
        assert (second.from_seq, second.to_seq, second.gap_id) == (2, 2, "two")
        outbox.delete_gaps(["one"])
        assert outbox.counts().gaps == 1


def test_a_refused_event_is_announced_once_and_comes_back_to_its_place(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, boot_s=clock) as outbox:
        outbox.add(rows(3))
        outbox.park([(2, "Quota exceeded", True)])
        assert waiting(outbox) == [1, 3]
        assert outbox.last_refusal() == "alpr/gate/plates: Quota exceeded"
        assert outbox.unpark_due() == 0
        clock.seconds += 61.0
        assert outbox.unpark_due() == 1
        assert waiting(outbox) == [1, 2, 3]
        outbox.park([(2, "Quota exceeded", True)])
        clock.seconds += 61.0
        assert outbox.unpark_due() == 0  # the second pause is longer
        assert gaps(outbox) == [(2, 2, "refused")]
        assert (outbox.counts().pending, outbox.counts().parked) == (2, 1)


def test_refused_for_good_is_offered_again_only_on_demand(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, boot_s=clock) as outbox:
        outbox.add(rows(1))
        outbox.park([(1, "Not authorized", False)])
        outbox.park([(1, "Not authorized", False)])  # gone already: no error
        clock.seconds += 1e6
        assert outbox.unpark_due() == 0
        assert outbox.unpark(after_seq=0, upto_seq=9) == [1]
        assert waiting(outbox) == [1]


def steps_of(outbox: Outbox, work: Callable[[], object]) -> int:
    """How many times ten instructions of SQLite some work takes, about."""
    counted = [0]
    assert outbox.store.db is not None

    def count() -> int:
        counted[0] += 1
        return 0

    outbox.store.db.set_progress_handler(count, 10)
    work()
    outbox.store.db.set_progress_handler(None, 0)
    return counted[0]


def test_what_is_asked_every_second_does_not_look_at_all_that_is_parked_or_announced(
    path: Path,
) -> None:
    clock = HandClock()
    with open_outbox(path, max_events=10_000, boot_s=clock) as outbox:
        outbox.add(rows(2000))
        outbox.park([(seq, "Not authorized", False) for seq in range(1, 2001, 2)])
        outbox.park([(seq, "Quota exceeded", True) for seq in range(2, 1000, 2)])
        (first, *_) = outbox.take_gaps(1000, iter(map(str, range(1000))).__next__)
        assert outbox.counts().gaps > 500
        assert steps_of(outbox, outbox.unpark_due) < 20
        assert steps_of(outbox, lambda: outbox.delete([2000])) < 50  # it asks for the first gap
        assert steps_of(outbox, lambda: outbox.delete_gaps([first.gap_id])) < 20
        clock.seconds += 61.0
        assert steps_of(outbox, outbox.unpark_due) < 1000


def test_however_much_there_is_to_do_one_transaction_does_a_part(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, max_age_s=500.0, boot_s=clock) as outbox:
        outbox.add(rows(450))
        outbox.park([(seq, "Quota exceeded", True) for seq in range(1, 451)])
        clock.seconds += 61.0
        assert outbox.unpark_due() == 100
        assert outbox.unpark(after_seq=150, upto_seq=440) == list(range(151, 251))
        assert outbox.unpark(after_seq=350, upto_seq=440) == list(range(351, 441))
        assert outbox.unpark(after_seq=440, upto_seq=440) == []
        assert (outbox.counts().pending, outbox.counts().parked) == (290, 160)
        clock.seconds += 500.0
        assert outbox.drop_aged() == 100
        assert sum(iter(outbox.drop_aged, 0)) == 350


def test_large_events_are_offered_again_in_smaller_parts(path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox.add(rows(10, padding=40_000))
        outbox.park([(seq, "Not authorized", False) for seq in range(1, 11)])
        assert outbox.unpark(after_seq=0, upto_seq=10) == [1, 2, 3]


def test_the_bound_first_takes_what_a_broker_has_refused_anyway(path: Path) -> None:
    with open_outbox(path, max_events=3) as outbox:
        outbox.add(rows(3))
        outbox.park([(3, "Not authorized", False)])
        outbox.add(rows(1))
        assert waiting(outbox) == [1, 2, 4]
        assert gaps(outbox) == [(3, 3, "refused")]  # it was announced before
        assert (outbox.counts().parked, outbox.counts().dropped) == (0, 1)


def test_refused_events_age_too(path: Path) -> None:
    clock = HandClock()
    with open_outbox(path, max_age_s=100.0, boot_s=clock) as outbox:
        outbox.add(rows(2, padding=50))
        outbox.park([(1, "Not authorized", False)])
        outbox.delete([2])
        clock.seconds += 101.0
        assert outbox.drop_aged() == 1
        counts = outbox.counts()
        assert (counts.parked, counts.pending, counts.bytes, counts.dropped) == (0, 0, 0, 1)
