"""Keeps a trouble that repeats itself from filling the log: a processor for structlog."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

from alprd.ports import Clock

FREE: Final = 5
"""So many lines about one thing are written in a minute."""

EVERY_S: Final = 60.0
"""After those one line in this time, which says in `repeated` how many were left out before it."""

_MOST_KEYS: Final = 1000
_LIMITED: Final = frozenset({"warning", "error", "exception"})
# What a line is about; figures and reasons may differ from one line to the next.
_ABOUT: Final = (
    "broker",
    "camera",
    "command",
    "file",
    "folder",
    "kind",
    "list",
    "part",
    "problem",
    "setting",
    "stages",
    "subject",
    "thread",
    "topic",
)


@dataclass(slots=True)
class _Seen:
    since_s: float
    written: int = 0
    left_out: int = 0


class RepeatLimiter:
    """Drops warnings and errors that repeat themselves; may be called by any thread.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Pass the line on, or raise DropEvent."""
        if method not in _LIMITED:
            return event
        key = (event.get("event"), *(str(event.get(name, "")) for name in _ABOUT))
        with self._lock:
            left_out = self._note(key)
        if left_out is None:
            raise structlog.DropEvent
        return {**event, "repeated": left_out} if left_out else event

    def _note(self, key: tuple[object, ...]) -> int | None:
        """How many were left out before this line; None when it is left out itself."""
        now_s = self._clock()
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(now_s)
            if len(self._seen) > _MOST_KEYS:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        left_out = 0
        if now_s - seen.since_s >= EVERY_S:
            left_out, seen.left_out = seen.left_out, 0
            seen.since_s = now_s
            # What went on through the last minute has used up its free lines.
            seen.written = FREE - 1 if left_out else 0
        if seen.written >= FREE:
            seen.left_out += 1
            return None
        seen.written += 1
        return left_out
