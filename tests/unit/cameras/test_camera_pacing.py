"""Time axis of files, frame-rate limit, back-off, frame-rate meter."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.cameras.pacing import Backoff, FileAxis, FpsMeter, FrameLimiter

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_a_loop_continues_one_period_after_the_last_frame() -> None:
    axis = FileAxis()
    axis.restart(AT, period_s=0.5)
    assert [axis.place(p) for p in (0.0, 0.5, 1.0)] == [0.0, 0.5, 1.0]
    axis.restart(AT, period_s=0.5)
    assert [axis.place(p) for p in (0.0, 0.5)] == [1.5, 2.0]


def test_captured_at_is_the_time_of_opening_plus_the_position() -> None:
    axis = FileAxis()
    axis.restart(AT, period_s=0.5)
    assert axis.wall_time(axis.place(0.5)) == AT + timedelta(seconds=0.5)
    later = AT + timedelta(hours=1)
    axis.restart(later, period_s=0.5)
    assert axis.wall_time(axis.place(0.0)) == later


def test_an_axis_without_an_origin_refuses_wall_times() -> None:
    with pytest.raises(ValueError, match="restart"):
        FileAxis().wall_time(0.0)


@given(
    st.lists(st.lists(st.floats(min_value=-10, max_value=1e5), max_size=20), min_size=1, max_size=4)
)
def test_file_time_always_increases_whatever_the_file_says(passes: list[list[float]]) -> None:
    axis = FileAxis()
    times = []
    for positions in passes:
        axis.restart(AT, period_s=0.04)
        times += [axis.place(position) for position in positions]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert not times or times[0] >= 0.0


@pytest.mark.parametrize(
    ("source_fps", "max_fps"), [(30, 10), (30, 20), (25, 25), (50, 12), (5, 9)]
)
def test_the_limit_gives_the_wanted_rate_evenly(source_fps: int, max_fps: int) -> None:
    limiter = FrameLimiter(float(max_fps))
    times = [n / source_fps for n in range(source_fps * 10)]
    kept = [t for t in times if limiter.admits(t)]
    assert len(kept) == pytest.approx(10 * min(source_fps, max_fps), abs=1)
    longest = max(later - earlier for earlier, later in itertools.pairwise(kept))
    assert longest <= 1 / min(source_fps, max_fps) + 1 / source_fps + 1e-9


def test_no_burst_follows_a_gap() -> None:
    limiter = FrameLimiter(1.0)
    assert [limiter.admits(t) for t in (0.0, 0.5, 10.0, 10.1, 10.9, 11.0)] == [
        *(True, False),
        *(True, False, False, True),
    ]


def test_without_a_limit_every_frame_passes() -> None:
    limiter = FrameLimiter(None)
    assert all(limiter.admits(0.0) for _ in range(3))


def test_pauses_grow_to_the_cap_and_start_again_after_a_reset() -> None:
    backoff = Backoff(10.0, random=lambda: 1.0)
    assert [backoff.pause_s() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    backoff.reset()
    assert backoff.pause_s() == 1.0


def test_jitter_takes_at_most_half_of_a_pause() -> None:
    assert Backoff(10.0, random=lambda: 0.0).pause_s() == 0.5


def test_the_meter_looks_at_the_last_seconds_only() -> None:
    meter = FpsMeter()
    assert meter.fps() is None
    meter.note(0.0, 0)
    meter.note(0.5, 15)
    assert meter.fps() is None
    for second in range(1, 20):
        meter.note(float(second), 30 + (second - 1) * 30)
    assert meter.fps() == pytest.approx(30.0)
    for second in range(20, 30):
        meter.note(float(second), 30 + 18 * 30)
    assert meter.fps() == 0.0
