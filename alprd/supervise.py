"""What the main thread does while the daemon runs: honest keepalives, a status line, the end."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import structlog

from alprd.ports import Clock
from alprd.stacks import ABORT_THREAD

log = structlog.get_logger(__name__)

STATUS_INTERVAL_S = 5.0
WAIT_S = 1.0


class Notify(Protocol):
    """What the supervisor tells the service manager."""

    @property
    def watchdog_interval_s(self) -> float | None:
        """Pause between keepalives; None when nobody watches."""

    def watchdog(self) -> None:
        """Send a keepalive."""

    def status(self, text: str) -> None:
        """Send the one-line status."""


class Pulse:
    """Sends keepalives while every stage makes progress, and the status line when it changes.

    Args:
        notify: the service manager.
        stalled: names of the stages that have made no progress for too long.
        status: the status line of this moment.
        clock: monotonic seconds.
        on_keepalive: called after each keepalive.
    """

    def __init__(
        self,
        notify: Notify,
        stalled: Callable[[], list[str]],
        status: Callable[[], str],
        clock: Clock,
        *,
        on_keepalive: Callable[[], object],
    ) -> None:
        self._notify = notify
        self._stalled = stalled
        self._status = status
        self._clock = clock
        self._on_keepalive = on_keepalive
        self._next_keepalive_s = clock()
        self._next_status_s = clock()
        self._last_status = ""
        self._last_stalled: list[str] = []

    def beat(self) -> float:
        """Do what is due; seconds until the next thing is."""
        now_s = self._clock()
        self._look_at_stages()
        interval_s = self._notify.watchdog_interval_s
        if interval_s is not None and now_s >= self._next_keepalive_s and not self._last_stalled:
            self._notify.watchdog()
            self._on_keepalive()
            self._next_keepalive_s = now_s + interval_s
        if now_s >= self._next_status_s:
            text = self._status()
            if text != self._last_status:
                self._notify.status(text)
                self._last_status = text
            self._next_status_s = now_s + STATUS_INTERVAL_S
        wait_s = min(WAIT_S, self._next_status_s - now_s)
        if interval_s is not None:
            wait_s = min(wait_s, interval_s)
        return max(wait_s, 0.0)

    def _look_at_stages(self) -> None:
        stalled = self._stalled()
        if stalled != self._last_stalled:
            if stalled:
                log.error("stage.stalled", stages=stalled, keepalive="withheld")
            else:
                log.info("stage.recovered", stages=self._last_stalled)
        self._last_stalled = stalled


class StopDeadline:
    """Entered when the stop begins; ends the process when the stop does not.

    A hung library call must not turn `systemctl stop` into a SIGKILL minutes later. Events that
    reached the outbox are on disk and are sent after the next start.

    Args:
        timeout_s: seconds that the stop may take.
        leave: ends the process at once; replaced in tests.
    """

    def __init__(self, timeout_s: float, leave: Callable[[int], object] = os._exit) -> None:
        self._timeout_s = timeout_s
        self._leave = leave
        self._timer = threading.Timer(timeout_s, self._overrun)
        self._timer.daemon = True

    def __enter__(self) -> StopDeadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._timer.join()

    def _overrun(self) -> None:
        # Daemon threads too: all that can hang here are. This timer and the thread that waits for
        # an abort are no suspects.
        innocent = {threading.current_thread().name, ABORT_THREAD}
        names = [thread.name for thread in threading.enumerate()]
        alive = sorted(name for name in names if name not in innocent)
        log.error(
            "daemon.stop_overran",
            stop_timeout_s=self._timeout_s,
            threads=alive,
            remedy="events in the outbox are safe; a larger process.stop_timeout_s gives more time",
        )
        try:
            faulthandler.dump_traceback()
        finally:
            self._leave(1)
