"""Messages for the moment: answers, live tracks, pictures. Nobody misses them an hour later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from alprd.publish.message import Message

CAPACITY: Final = 4000
"""A burst of commands comes faster than a busy broker acknowledges their answers; at the most that
one answer may hold, they take 10 MB."""


class Post:
    """Any thread puts, the publisher takes, in order. What no connection is there for is dropped.

    Args:
        on_change: called when there is something to send.
        capacity: messages kept at most; beyond it the oldest go.
    """

    def __init__(self, *, on_change: Callable[[], None], capacity: int = CAPACITY) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque(maxlen=capacity)

    def put(self, message: Message) -> None:
        """Send it if a broker is there."""
        with self._lock:
            self._waiting.append(message)
        self._on_change()

    def take(self, is_held: Callable[[str], bool] = lambda _: False) -> Message | None:
        """The next one.

        Args:
            is_held: whether a topic's messages must wait, and all behind them; must return at once.
        """
        with self._lock:
            if not self._waiting or is_held(self._waiting[0].topic):
                return None
            return self._waiting.popleft()

    def clear(self) -> None:
        """A connection is new: what waited was for another moment."""
        with self._lock:
            self._waiting.clear()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._lock:
            return not self._waiting
