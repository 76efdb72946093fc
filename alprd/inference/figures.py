"""How long the stages of inference take: the last few hundred batches, readable by any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from alprd.ports import Clock

STAGES = ("detect", "read", "track", "cut", "attributes", "store")
_WINDOW = 256  # batches


class StageFigures:
    """Counts and times; written by the inference thread.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: Mapping[str, deque[float]] = {
            stage: deque(maxlen=_WINDOW) for stage in STAGES
        }
        self._counts = {"frames": 0, "bad_frames": 0, "plates": 0, "events": 0}

    @contextmanager
    def timed(self, stage: str, items: int) -> Iterator[None]:
        """Time a stage's work on a batch; what raises is not counted.

        Args:
            stage: one of STAGES.
            items: frames, plates or events that share the time; none: nothing is noted.
        """
        started_s = self._clock()
        yield
        self.note(stage, self._clock() - started_s, items)

    def note(self, stage: str, seconds: float, items: int) -> None:
        """Note how long a stage took for a batch that came to it in pieces; arguments as above."""
        if items:
            with self._lock:
                self._seconds[stage].append(seconds / items)

    def count(self, what: str, number: int) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[what] += number

    def snapshot(self) -> dict[str, Any]:
        """Counters since start, and per stage milliseconds per item; None before the first.

        `detect`, `track` and `cut` are per frame, `read` per plate, `attributes` and `store` per
        event.
        """
        with self._lock:
            counts = dict(self._counts)
            seconds = {stage: list(times) for stage, times in self._seconds.items()}
        return {**counts, "stages": {stage: _figures(times) for stage, times in seconds.items()}}


def _figures(times_s: list[float]) -> dict[str, float] | None:
    if not times_s:
        return None
    median, p95 = np.percentile(times_s, (50.0, 95.0)) * 1e3
    return {"median_ms": round(float(median), 3), "p95_ms": round(float(p95), 3)}
