"""Time and rate of frames: the time axis of files, the frame-rate limit, the back-off."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

FIRST_RETRY_S = 1.0
FPS_WINDOW_S = 5.0


class FileAxis:
    """The steady time of a file or folder: strictly increasing, across loops and re-openings.

    Presentation times may be missing, repeated or start below zero (reordered frames do); a time
    that does not increase is replaced by one frame period after the last.
    """

    def __init__(self) -> None:
        self._base_s = 0.0
        self._last_s: float | None = None
        self._period_s = 0.04
        self._opened_at: datetime | None = None

    def restart(self, opened_at: datetime, *, period_s: float) -> None:
        """The file starts again: its position 0 comes one period after the last frame."""
        self._period_s = period_s
        self._base_s = 0.0 if self._last_s is None else self._last_s + period_s
        self._opened_at = opened_at

    def place(self, position_s: float) -> float:
        """The time on the axis of a frame at this position of the file."""
        t_s = self._base_s + max(position_s, 0.0)
        if self._last_s is not None and t_s <= self._last_s:
            t_s = self._last_s + self._period_s
        self._last_s = t_s
        return t_s

    def wall_time(self, t_s: float) -> datetime:
        """When the frame was "captured": the time of opening plus the position in the file."""
        if self._opened_at is None:
            raise ValueError("restart() comes first: the axis has no origin yet")
        return self._opened_at + timedelta(seconds=t_s - self._base_s)


class FrameLimiter:
    """Admits at most `max_fps` frames per second of stream time, evenly.

    It keeps to a grid rather than to a minimum distance, so that 20 of 30 frames per second are 20
    and not 15.
    """

    def __init__(self, max_fps: float | None) -> None:
        self._period_s = None if max_fps is None else 1.0 / max_fps
        self._due_s: float | None = None

    def admits(self, t_s: float) -> bool:
        """Whether the frame of this time is handed on; times come in increasing order."""
        if self._period_s is None:
            return True
        if self._due_s is None:
            self._due_s = t_s
        if t_s < self._due_s - 1e-6:  # rounding of t_s must not cost every second frame
            return False
        self._due_s += self._period_s
        if self._due_s < t_s:  # a gap: no burst afterwards
            self._due_s = t_s + self._period_s
        return True


class Backoff:
    """Growing, jittered pauses between attempts, so that cameras do not return in step.

    Args:
        longest_s: the cap.
        random: uniform in [0, 1).
    """

    def __init__(self, longest_s: float, random: Callable[[], float]) -> None:
        self._longest_s = longest_s
        self._random = random
        self._next_s = FIRST_RETRY_S

    def reset(self) -> None:
        """The camera worked for a while: the next pause is the shortest again."""
        self._next_s = FIRST_RETRY_S

    def pause_s(self) -> float:
        """How long to wait now: between half of the present step and all of it."""
        step_s = min(self._next_s, self._longest_s)
        self._next_s = min(self._next_s * 2.0, self._longest_s)
        return step_s * (0.5 + 0.5 * self._random())


class FpsMeter:
    """Frames per second over the last seconds, from a counter that is looked at now and then."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> None:
        """The counter stands at `count`."""
        self._samples.append((now_s, count))
        while self._samples[-1][0] - self._samples[0][0] > FPS_WINDOW_S:
            self._samples.popleft()

    def fps(self) -> float | None:
        """None until a second has been seen."""
        if not self._samples:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        if last_s - first_s < 1.0:
            return None
        return (last - first) / (last_s - first_s)
