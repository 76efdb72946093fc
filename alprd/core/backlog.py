"""How long the oldest event in a queue has waited, told from the queue's counters alone."""

from __future__ import annotations

from collections import deque

_MOST_MARKS = 4096
_FEW_MARKS = 512


class WaitMeter:
    """Follows a first-in-first-out queue by looking at its counters now and then.

    An event that was there at the first look is taken to have come then, so the age is the least
    that it can be; else it is right to the time between two looks, or, in a queue that grows over
    days, to a thousandth of its age, and rather too small than too great.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._step_s = 0.0
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
            self._mark(now_s)
        while self._marks and self._marks[0][1] <= left:
            self._marks.popleft()
        if waiting == 0:
            return None
        return now_s - self._marks[0][0] if self._marks else 0.0

    def _mark(self, now_s: float) -> None:
        """Note how many have come by now; marks closer than a step become the later of them."""
        marks = self._marks
        if len(marks) > 1 and marks[-1][0] - marks[-2][0] < self._step_s:
            marks.pop()
        marks.append((now_s, self._came))
        if len(marks) > _MOST_MARKS:
            self._step_s = 2.0 * (now_s - marks[0][0]) / _MOST_MARKS
            self._marks = _thinned(marks, self._step_s)
        elif len(marks) < _FEW_MARKS:
            self._step_s = 0.0


def _thinned(marks: deque[tuple[float, int]], step_s: float) -> deque[tuple[float, int]]:
    """The same marks, of those within a step only the last; the oldest stays."""
    kept: deque[tuple[float, int]] = deque()
    for mark in marks:
        if len(kept) > 1 and kept[-1][0] - kept[-2][0] < step_s:
            kept.pop()
        kept.append(mark)
    return kept
