"""A stage that stops beating is found, and only that one."""

from __future__ import annotations

import pytest

from alprd.host.heartbeats import Heartbeats


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_stage_that_does_not_beat_in_time_has_stalled(clock: FakeClock) -> None:
    heartbeats = Heartbeats({"inference": 5.0, "publish": 30.0}, clock=clock)
    clock.now_s += 5.0
    assert heartbeats.stalled() == []
    clock.now_s += 0.1
    assert heartbeats.stalled() == ["inference"]


def test_a_beat_counts_from_when_it_came(clock: FakeClock) -> None:
    heartbeats = Heartbeats({"inference": 5.0}, clock=clock)
    clock.now_s += 4.0
    heartbeats.beat("inference")
    clock.now_s += 4.0
    assert heartbeats.stalled() == []
    clock.now_s += 2.0
    assert heartbeats.stalled() == ["inference"]
    heartbeats.beater("inference")()
    assert heartbeats.stalled() == []


def test_stalled_stages_are_named_in_order(clock: FakeClock) -> None:
    heartbeats = Heartbeats({"publish": 1.0, "health": 1.0}, clock=clock)
    clock.now_s += 2.0
    assert heartbeats.stalled() == ["health", "publish"]


def test_an_added_stage_is_expected_and_a_removed_one_is_not(clock: FakeClock) -> None:
    heartbeats = Heartbeats({}, clock=clock)
    heartbeats.add("camera gate-in", 5.0)
    clock.now_s += 6.0
    assert heartbeats.stalled() == ["camera gate-in"]
    heartbeats.remove("camera gate-in")
    assert heartbeats.stalled() == []


def test_a_stage_added_late_is_not_stalled_at_once(clock: FakeClock) -> None:
    heartbeats = Heartbeats({}, clock=clock)
    clock.now_s += 60.0
    heartbeats.add("camera gate-in", 5.0)
    assert heartbeats.stalled() == []


def test_the_thread_of_a_removed_camera_does_not_beat_for_its_successor(clock: FakeClock) -> None:
    heartbeats = Heartbeats({"camera gate-in": 5.0}, clock=clock)
    former = heartbeats.beater("camera gate-in")
    heartbeats.remove("camera gate-in")
    heartbeats.add("camera gate-in", 5.0)
    clock.now_s += 6.0
    former()
    assert heartbeats.stalled() == ["camera gate-in"]


def test_a_stage_that_nobody_expects_cannot_beat(clock: FakeClock) -> None:
    heartbeats = Heartbeats({"inference": 5.0}, clock=clock)
    with pytest.raises(KeyError):
        heartbeats.beat("inferense")


def test_of_several_stages_those_that_are_expected_beat(clock: FakeClock) -> None:
    heartbeats = Heartbeats({"inference": 5.0, "publisher": 5.0, "health": 5.0}, clock=clock)
    clock.now_s += 6.0
    heartbeats.beat_those("inference", "publisher", "not-yet-started")
    assert heartbeats.stalled() == ["health"]
