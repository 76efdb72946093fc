"""Which stages are alive: each beats at least as often as it promised, or it has stalled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from alprd.ports import Clock


class _Stage:
    __slots__ = ("last_s", "limit_s")

    def __init__(self, limit_s: float, now_s: float) -> None:
        self.limit_s = limit_s
        self.last_s = now_s


class Heartbeats:
    """The stages' signs of life; any thread may call any method.

    A beat is one assignment, and the table of stages is replaced, never changed, so that neither
    needs a lock.

    Args:
        limits_s: stage -> seconds without a beat after which it counts as stalled.
        clock: monotonic seconds.
    """

    def __init__(self, limits_s: Mapping[str, float], *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        now_s = clock()
        self._stages = {name: _Stage(limit_s, now_s) for name, limit_s in limits_s.items()}

    def add(self, name: str, limit_s: float) -> None:
        """Expect beats of one more stage from now on; one of this name is replaced."""
        self._stages = {**self._stages, name: _Stage(limit_s, self._clock())}

    def remove(self, name: str) -> None:
        """Expect no more beats of this stage."""
        self._stages = {n: stage for n, stage in self._stages.items() if n != name}

    def beat(self, name: str) -> None:
        """The stage makes progress. Raises KeyError for a stage that is not expected."""
        self._stages[name].last_s = self._clock()

    def beat_those(self, *names: str) -> None:
        """These stages make progress, those of them that are expected."""
        stages = self._stages
        for name in names:
            if name in stages:
                stages[name].last_s = self._clock()

    def beater(self, name: str) -> Callable[[], None]:
        """A call that beats for this stage, for its thread.

        It stays bound to the stage as it is now: the thread of a removed camera, still running
        out, does not beat for a new camera of the same name.
        """
        stage = self._stages[name]
        clock = self._clock

        def beat() -> None:
            stage.last_s = clock()

        return beat

    def stalled(self) -> list[str]:
        """The names of the stages whose last beat is too long ago, sorted."""
        now_s = self._clock()
        return sorted(
            n for n, stage in self._stages.items() if now_s - stage.last_s > stage.limit_s
        )
