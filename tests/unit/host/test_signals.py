"""Signals interrupt the wait at once and are never lost; real signals to this process."""

from __future__ import annotations

import os
import signal
import threading
import time

from alprd.host.signals import SAME_REQUEST_S, Signals


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def ignore(_name: str) -> None:
    return


def test_a_stop_signal_ends_the_wait_at_once() -> None:
    with Signals(ignore) as signals:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        started_s = time.monotonic()
        signals.wait(30.0)
        assert time.monotonic() - started_s < 5.0
        assert signals.stop == "SIGTERM"


def test_a_signal_that_comes_before_the_wait_is_not_slept_through() -> None:
    with Signals(ignore) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        started_s = time.monotonic()
        signals.wait(30.0)
        assert time.monotonic() - started_s < 5.0
        assert signals.take_reload()
        assert not signals.take_reload()


def test_another_thread_can_wake_the_wait() -> None:
    with Signals(ignore) as signals:
        threading.Timer(0.05, signals.wake).start()
        started_s = time.monotonic()
        signals.wait(30.0)
        assert time.monotonic() - started_s < 5.0
        assert signals.stop is None
    signals.wake()  # too late, and harmless


def test_a_second_stop_signal_is_told_apart_from_an_echo_of_the_first() -> None:
    clock = FakeClock()
    impatient: list[str] = []
    with Signals(impatient.append, clock=clock) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert impatient == []
        clock.now_s += SAME_REQUEST_S + 0.1
        os.kill(os.getpid(), signal.SIGTERM)
        assert impatient == ["SIGTERM"]
        assert signals.stop == "SIGINT"


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Signals(ignore):
        pass
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    assert after == before
