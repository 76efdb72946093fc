"""Events on their way to the disk, kept here while the disk refuses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import structlog

from alprd.core.types import PlateEvent
from alprd.ports import Clock, EventSink, OutboxError

log = structlog.get_logger(__name__)

CAPACITY = 20_000
"""Events kept in memory at most, about 40 MB; then the oldest go, counted and announced."""

RETRY_S = 1.0


class UnsavedEvents:
    """Hands events to the sink in order; used by one thread, its figures are read by others.

    Args:
        sink: where events become durable.
        clock: monotonic seconds.
        capacity: events kept at most.
    """

    def __init__(self, sink: EventSink, clock: Clock, *, capacity: int = CAPACITY) -> None:
        self.lost = 0
        self._untold = 0
        self._sink = sink
        self._clock = clock
        self._waiting: deque[PlateEvent] = deque()
        self._capacity = capacity
        self._retry_at_s: float | None = None

    @property
    def count(self) -> int:
        """Events that are not on disk yet."""
        return len(self._waiting)

    def add(self, events: Sequence[PlateEvent]) -> None:
        """Make them durable, or keep them for `retry`."""
        self._waiting.extend(events)
        if self._retry_at_s is None:
            self._save()
        self._drop_excess()

    def retry(self) -> None:
        """Try again if the last attempt failed and is long enough ago."""
        if self._retry_at_s is not None and self._clock() >= self._retry_at_s:
            self._save()

    def flush(self) -> OutboxError | None:
        """Try at once, for the last time; what is left is lost. Returns why."""
        error = self._save()
        if error is not None:
            self.lost += len(self._waiting)
            log.error("events.lost", count=len(self._waiting), error=str(error))
            self._waiting.clear()
        return error

    def _save(self) -> OutboxError | None:
        if not self._waiting:
            return None
        try:
            if self._untold:  # they came before those that wait
                self._sink.add_lost(self._untold)
                self._untold = 0
            self._sink.add(tuple(self._waiting))
        except OutboxError as error:
            if self._retry_at_s is None:
                log.error("outbox.refused", kept=len(self._waiting), error=str(error))
            self._retry_at_s = self._clock() + RETRY_S
            return error
        if self._retry_at_s is not None:
            log.info("outbox.accepts_again", saved=len(self._waiting))
        self._waiting.clear()
        self._retry_at_s = None
        return None

    def _drop_excess(self) -> None:
        excess = len(self._waiting) - self._capacity
        if excess <= 0:
            return
        for _ in range(excess):
            self._waiting.popleft()
        self.lost += excess
        self._untold += excess
        log.error("events.lost", count=excess, kept=self._capacity)
