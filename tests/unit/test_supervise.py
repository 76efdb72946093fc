"""Keepalives are truthful, the status line is sent when it changes, a hung stop ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from alprd.supervise import STATUS_INTERVAL_S, Pulse, StopDeadline


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class RecordingNotify:
    watchdog_interval_s: float | None = 2.0
    sent: list[str] = field(default_factory=list)

    def watchdog(self) -> None:
        self.sent.append("watchdog")

    def status(self, text: str) -> None:
        self.sent.append(text)

    def postpone(self) -> None:
        self.sent.append("postponed")


def make_pulse(
    notify: RecordingNotify,
    clock: FakeClock,
    *,
    stalled: Callable[[], list[str]] = list,
    status: Callable[[], str] = str,
) -> Pulse:
    return Pulse(notify, stalled, status, clock, on_keepalive=notify.postpone)


def test_a_keepalive_is_sent_every_interval_while_all_stages_make_progress() -> None:
    clock, notify = FakeClock(), RecordingNotify()
    pulse = make_pulse(notify, clock)
    for _ in range(5):
        pulse.beat()
        clock.now_s += 1.0
    # What else waits for the main thread counts from the same moments.
    assert notify.sent == ["watchdog", "postponed"] * 3


def test_a_stalled_stage_withholds_the_keepalive_until_it_recovers() -> None:
    clock, notify = FakeClock(), RecordingNotify()
    stalled = ["inference"]
    pulse = make_pulse(notify, clock, stalled=lambda: list(stalled))
    for _ in range(10):
        pulse.beat()
        clock.now_s += 2.0
    assert notify.sent == []
    stalled.clear()
    pulse.beat()
    assert notify.sent == ["watchdog", "postponed"]


def test_without_a_watchdog_no_keepalive_is_sent() -> None:
    clock, notify = FakeClock(), RecordingNotify(watchdog_interval_s=None)
    make_pulse(notify, clock).beat()
    assert notify.sent == []


def test_the_status_line_is_sent_when_it_changes_and_at_most_every_few_seconds() -> None:
    clock, notify = FakeClock(), RecordingNotify(watchdog_interval_s=None)
    lines = iter(["1 of 2 online", "1 of 2 online", "2 of 2 online"])
    pulse = make_pulse(notify, clock, status=lambda: next(lines))
    for _ in range(3):
        pulse.beat()
        pulse.beat()
        clock.now_s += STATUS_INTERVAL_S
    assert notify.sent == ["1 of 2 online", "2 of 2 online"]


def test_the_pause_between_beats_never_exceeds_the_keepalive_interval() -> None:
    pulse = make_pulse(RecordingNotify(watchdog_interval_s=0.25), FakeClock())
    assert pulse.beat() <= 0.25


def test_a_stop_that_hangs_ends_the_process_with_exit_code_1() -> None:
    left: list[int] = []
    ended = threading.Event()

    def leave(code: int) -> None:
        left.append(code)
        ended.set()

    with StopDeadline(0.01, leave=leave):
        assert ended.wait(5.0)
    assert left == [1]


def test_a_stop_that_hangs_names_every_thread_and_shows_where_each_one_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended, release = threading.Event(), threading.Event()
    hung = threading.Thread(target=release.wait, name="inference", daemon=True)
    hung.start()
    alive = {thread.name for thread in threading.enumerate()}
    with capture_logs() as lines, StopDeadline(0.01, leave=lambda _: ended.set()):
        assert ended.wait(5.0)
    release.set()
    hung.join()
    (overran,) = [line for line in lines if line["event"] == "daemon.stop_overran"]
    assert {"inference", "MainThread"} <= set(overran["threads"])
    assert set(overran["threads"]) <= alive  # so not the timer itself
    stacks = capfd.readouterr().err
    assert stacks.count("most recent call first") >= 3
    assert "test_supervise.py" in stacks


def test_a_stop_in_time_is_left_alone() -> None:
    left: list[int] = []
    with StopDeadline(60.0, leave=left.append):
        pass
    assert left == []
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
