"""A StateBoard that tests can look at and wait on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from alprd.core.types import CameraStatus


class RecordingBoard:
    """Remembers every camera status."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.statuses: list[CameraStatus] = []

    def camera_status(self, status: CameraStatus) -> None:
        with self._changed:
            self.statuses.append(status)
            self._changed.notify_all()

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        raise AssertionError(f"a camera says nothing about the device: {name} {payload} {retain}")

    @property
    def states(self) -> list[str]:
        """The states in order, without immediate repetitions."""
        with self._changed:
            states: list[str] = []
            for status in self.statuses:
                if not states or states[-1] != status.state:
                    states.append(status.state)
            return states

    @property
    def last(self) -> CameraStatus:
        with self._changed:
            return self.statuses[-1]

    def wait_for(
        self, wanted: Callable[[CameraStatus], bool], *, after: int = 0, timeout_s: float = 20.0
    ) -> CameraStatus:
        """The first status from number `after` on that is wanted; fails after the time-out."""
        found: list[CameraStatus] = []

        def look() -> bool:
            found[:] = [status for status in self.statuses[after:] if wanted(status)]
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(look, timeout_s):
                raise AssertionError(
                    f"not seen within {timeout_s} s; seen: {self.statuses[after:]}"
                )
            return found[0]

    def wait_for_state(
        self, state: str, *, after: int = 0, timeout_s: float = 20.0
    ) -> CameraStatus:
        return self.wait_for(lambda s: s.state == state, after=after, timeout_s=timeout_s)
