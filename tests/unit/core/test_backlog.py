"""How long events wait, told from counters."""

from __future__ import annotations

from alprd.core.backlog import WaitMeter


def test_nothing_waits_in_an_empty_queue() -> None:
    meter = WaitMeter()
    assert meter.look(0.0, waiting=0, left=0) is None
    assert meter.look(9.0, waiting=0, left=5) is None


def test_the_oldest_grows_older_until_it_has_left() -> None:
    meter = WaitMeter()
    meter.look(0.0, waiting=0, left=10)
    assert meter.look(10.0, waiting=2, left=10) == 0.0
    assert meter.look(30.0, waiting=3, left=10) == 20.0
    assert meter.look(40.0, waiting=2, left=11) == 30.0  # the second came with the first
    assert meter.look(50.0, waiting=1, left=12) == 20.0
    assert meter.look(60.0, waiting=0, left=13) is None
    assert meter.look(70.0, waiting=1, left=13) == 0.0


def test_a_queue_that_moves_has_no_old_events_however_long_it_is_used() -> None:
    meter = WaitMeter()
    ages = [meter.look(float(n), waiting=3, left=3 * n) for n in range(10_000)]
    assert max(age for age in ages if age is not None) <= 1.0


def test_what_was_there_at_the_start_is_as_old_as_the_watch() -> None:
    meter = WaitMeter()
    assert meter.look(5.0, waiting=100, left=0) == 0.0
    assert meter.look(605.0, waiting=99, left=1) == 600.0


def test_counters_that_disagree_for_a_moment_make_no_age_up() -> None:
    meter = WaitMeter()
    meter.look(0.0, waiting=5, left=0)
    assert meter.look(10.0, waiting=5, left=5) == 0.0  # those that left were still counted


def test_the_age_is_right_for_days_in_a_queue_that_only_grows_and_then_drains() -> None:
    meter = WaitMeter()
    looks = 20_000
    came = range(1, looks + 1)
    for n in came:
        age = meter.look(n * 5.0, waiting=n, left=0)
        assert age == (n - 1) * 5.0
    now_s = looks * 5.0
    for left in range(0, looks, 97):
        age = meter.look(now_s, waiting=looks - left, left=left)
        truth_s = (looks - left - 1) * 5.0
        assert age is not None
        assert truth_s - 0.001 * now_s <= age <= truth_s
