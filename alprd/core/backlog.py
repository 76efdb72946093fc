"""How long the oldest event in a queue has waited, told from the queue's counters alone."""

from __future__ import annotations

from collections import deque

_MOST_MARKS = 4096


class WaitMeter:
    """Follows a first-in-first-out queue by looking at its counters now and then.

    An event that was there at the first look is taken to have come then, so the age is the least
    that it can be; else it is right to the time between two looks.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MOST_MARKS)
        self._came = 0

    def look(self, now_s: float, *, waiting: int, left: int) -> float | None:
        """The age of the oldest, seconds; None while nothing waits.

        Args:
            now_s: monotonic seconds.
            waiting: events in the queue.
            left: events that have left it so far, in whatever way; never falls.
        """
        self._came = max(self._came, left + waiting)  # counters are no snapshot of one moment
        if not self._marks or self._came > self._marks[-1][1]:
            self._marks.append((now_s, self._came))
        while self._marks and self._marks[0][1] <= left:
            self._marks.popleft()
        if waiting == 0:
            return None
        return now_s - self._marks[0][0] if self._marks else 0.0
