"""The health thread: a sample of the machine and the daemon every interval, judged more often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from alprd.config.models import HealthSettings
from alprd.core.events import format_time
from alprd.host.nvml import GpuMeter
from alprd.host.sample import HostMeter, health_sample
from alprd.host.tegra_reader import TegrastatsReader
from alprd.ports import Beat, Clock, StateBoard
from alprd.threads import show_name

log = structlog.get_logger(__name__)

_BEAT_S = 0.5
_LOOK_S = 5.0
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
        disk_folder: the outbox's folder.
        pipeline_figures: the daemon's own figures, for the sample's "pipeline"; called in this
            thread, must not block.
        judge: writes the sample's alerts into it and tells them; True when one began or ended.
        beat: this thread's sign of life.
        gpus: asks the driver of discrete GPUs; left to this thread.
        root: of the file system.
        clock: monotonic seconds.
        now: aware wall time.
    """

    def __init__(
        self,
        settings: HealthSettings,
        board: StateBoard,
        *,
        device_id: str,
        disk_folder: Path,
        pipeline_figures: Callable[[], Mapping[str, Any]],
        judge: Callable[[dict[str, Any]], bool],
        beat: Beat,
        gpus: Callable[[], GpuMeter] = GpuMeter,
        root: Path = Path("/"),
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._interval_s = settings.interval_s
        self._board = board
        self._device_id = device_id
        self._judge = judge
        self._make_gpus = gpus
        self._gpus: GpuMeter | None = None
        self._newest: Mapping[str, Any] | None = None
        self._disk_folder = disk_folder
        self._pipeline_figures = pipeline_figures
        self._beat = beat
        self._clock = clock
        self._now = now
        self._meter = HostMeter(root)
        self._tegrastats = TegrastatsReader(settings.tegrastats)
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
        # Two intervals of tegrastats itself, and one line that came late.
        tegra = self._tegrastats.latest(max_age_s=max(3.0, self._interval_s))
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
            meter=self._meter,
            tegra=tegra,
            tegrastats=state,
            gpus={} if self._gpus is None else self._gpus.figures(),
            disk_folder=self._disk_folder,
            pipeline=self._pipeline_figures(),
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
        # NVIDIA's library is asked by this thread alone; on a Jetson tegrastats says more.
        self._gpus = None if self._tegrastats.available else self._make_gpus()
        try:
            self._serve()
        finally:
            if self._gpus is not None:
                self._gpus.close()

    def _serve(self) -> None:
        next_s = due_s = self._clock()
        while not self._stop.is_set():
            self._beat()
            now_s = self._clock()
            if now_s >= next_s:
                is_due = now_s >= due_s
                self._look(is_due=is_due)
                next_s = _after(next_s, now_s, min(self._interval_s, _LOOK_S))
                if is_due:
                    due_s = _after(due_s, now_s, self._interval_s)
            self._stop.wait(min(_BEAT_S, max(next_s - now_s, 0.0)))


def _after(last_s: float, now_s: float, interval_s: float) -> float:
    """The next time; what the machine slept through is not made up for."""
    return last_s + interval_s if last_s + interval_s > now_s else now_s + interval_s
