"""Unix signals as things to wait for; the handlers themselves do almost nothing."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from alprd.ports import Clock

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_REQUEST_S = 0.5
"""Stop signals this close together are one request: Ctrl-C reaches the whole foreground group, and
a wrapper often adds its own SIGTERM."""


class Signals:
    """Collects SIGTERM, SIGINT and SIGHUP while entered; belongs to the main thread.

    The C-level handler writes to a pipe, so `wait` returns at once and no signal falls between a
    check and a sleep; other threads interrupt `wait` with `wake`.

    Args:
        on_second_stop: called (in the main thread, possibly in the middle of a blocking call) for
            every later stop signal: the operator will not wait for the drain.
        clock: monotonic seconds.
    """

    def __init__(
        self, on_second_stop: Callable[[str], None], *, clock: Clock = time.monotonic
    ) -> None:
        self._on_second_stop = on_second_stop
        self._clock = clock
        self._stop: str | None = None
        self._stop_at_s = 0.0
        self._reload = False
        self._read_fd = -1
        self._write_fd = -1
        self._previous_fd = -1
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._previous_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, self._stopped)
        self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._reloaded)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        read_fd, write_fd = self._read_fd, self._write_fd
        self._read_fd = self._write_fd = -1
        os.close(write_fd)
        os.close(read_fd)

    @property
    def stop(self) -> str | None:
        """Name of the first stop signal, once there was one."""
        return self._stop

    def take_reload(self) -> bool:
        """True once for any number of SIGHUPs since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def wake(self) -> None:
        """Make `wait` return; safe from every thread, also after the exit."""
        fd = self._write_fd
        if fd < 0:
            return
        try:
            os.write(fd, b"\0")
        except (BlockingIOError, OSError):
            return  # full: it wakes up anyway; closed: nobody waits any more

    def wait(self, timeout_s: float) -> None:
        """Sleep until a signal, a `wake` or the time-out."""
        ready, _, _ = select.select([self._read_fd], [], [], max(timeout_s, 0.0))
        if ready:
            os.read(self._read_fd, 4096)

    def _stopped(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._stop is None:
            self._stop, self._stop_at_s = name, self._clock()
        elif self._clock() - self._stop_at_s > SAME_REQUEST_S:
            self._on_second_stop(name)

    def _reloaded(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True
