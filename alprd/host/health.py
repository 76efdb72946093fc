"""The health thread: a sample of the machine and the daemon every interval, judged more often.

The watchdog does not wait for it: a sensor, disk or driver that hangs is no reason for a restart,
which would not end the hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

import structlog

from alprd.config.models import HealthSettings
from alprd.core.events import format_time
from alprd.host.machine import Machine
from alprd.host.sample import health_sample
from alprd.host.tegra_reader import TegrastatsReader
from alprd.ports import Clock, StateBoard
from alprd.threads import show_name

log = structlog.get_logger(__name__)

_LOOK_S = 5.0
# Two intervals of tegrastats itself, and one line that came late.
_LINE_AGE_S = 3.0
_TURN_S = 0.5
_JOIN_S = 2.0


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class HealthThread:
    """Puts a health sample on the board every `interval_s` while entered, the first at once.

    It looks and judges at least every 5 s, and publishes at once when an alert begins or ends.

    Args:
        settings: [health].
        board: where the sample goes.
        device_id: this device's name in topics.
        machine: is measured; stays the owner's.
        pipeline_figures: the daemon's own figures, for the sample's "pipeline"; called in this
            thread, must not block.
        judge: writes the sample's alerts into it and tells them; True when one began or ended.
        turn: held while it runs, by which one waits for a thread before it that hangs.
        tegrastats: the program's reader, entered and left with this thread.
        clock: monotonic seconds.
        now: aware wall time.
    """

    def __init__(
        self,
        settings: HealthSettings,
        board: StateBoard,
        *,
        device_id: str,
        machine: Machine,
        pipeline_figures: Callable[[], Mapping[str, Any]],
        judge: Callable[[dict[str, Any]], bool],
        turn: threading.Lock,
        tegrastats: TegrastatsReader | None = None,
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._interval_s = settings.interval_s
        self._board = board
        self._device_id = device_id
        self._judge = judge
        self._newest: Mapping[str, Any] | None = None
        self._machine = machine
        self._pipeline_figures = pipeline_figures
        self._turn = turn
        self._clock = clock
        self._now = now
        self._tegrastats = tegrastats or TegrastatsReader(settings.tegrastats)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def __enter__(self) -> HealthThread:
        self._tegrastats.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)
        self._tegrastats.__exit__(kind, error, trace)

    @property
    def newest(self) -> Mapping[str, Any] | None:
        """The newest sample, also of those that were not published; for any thread."""
        return self._newest

    def sample(self) -> dict[str, Any]:
        """One sample, now, without alerts."""
        machine = self._machine
        tegra = self._tegrastats.latest(max_age_s=_LINE_AGE_S)
        state = None
        if self._tegrastats.available:
            state = {
                "coverage": None if tegra is None else tegra.coverage,
                "unknown": [] if tegra is None else list(tegra.unknown),
                "restarts": max(self._tegrastats.starts - 1, 0),
                "last_error": self._tegrastats.last_error,
            }
        return health_sample(
            at=format_time(self._now()),
            device_id=self._device_id,
            meter=machine.meter,
            tegra=tegra,
            tegrastats=state,
            # On a Jetson tegrastats says more.
            gpus={} if self._tegrastats.available else machine.gpus(),
            disk_folder=machine.disk_folder,
            pipeline=self._pipeline_figures(),
            disk_bytes=lambda _: machine.disk_bytes(),
        )

    def _look(self, *, is_due: bool) -> None:
        try:
            sample = self.sample()
            news = self._judge(sample)
            self._newest = sample
            if is_due or news:
                self._board.device("health", sample, retain=True)
        except Exception as error:  # a surprise in one figure must not end the daemon's health
            log.error("health.failed", error=str(error), exc_info=True)

    def _run(self) -> None:
        show_name()
        if not self._turn.acquire(blocking=False):
            log.error("health.failed", error="the thread before a reload hangs; this one waits")
            while not self._turn.acquire(timeout=_TURN_S):
                if self._stop.is_set():
                    return
        try:
            self._serve()
        finally:
            self._turn.release()

    def _serve(self) -> None:
        next_s = due_s = self._clock()
        while not self._stop.is_set():
            now_s = self._clock()
            if now_s >= next_s:
                is_due = now_s >= due_s
                self._look(is_due=is_due)
                next_s = _after(next_s, now_s, min(self._interval_s, _LOOK_S))
                if is_due:
                    due_s = _after(due_s, now_s, self._interval_s)
            self._stop.wait(max(next_s - now_s, 0.0))


def _after(last_s: float, now_s: float, interval_s: float) -> float:
    """The next time; what the machine slept through is not made up for."""
    return last_s + interval_s if last_s + interval_s > now_s else now_s + interval_s
