"""Counts per camera what inference takes out of the mux: what is really looked at."""

from __future__ import annotations

import time
from dataclasses import dataclass

from alprd.cameras.mux import FrameMux
from alprd.core.types import EndOfStream, Frame
from alprd.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken of one camera since start: how many frames, and when the last one."""

    frames: int
    last_s: float


class TakenFrames:
    """The mux's end for the inference thread; `of` may be called by any thread.

    Args:
        mux: where the frames are.
        clock: monotonic seconds.
    """

    def __init__(self, mux: FrameMux, *, clock: Clock = time.monotonic) -> None:
        self._mux = mux
        self._clock = clock
        self._taken: dict[str, Taken] = {}

    @property
    def closed(self) -> bool:
        """As the mux."""
        return self._mux.closed

    def take(self, max_batch: int, timeout_s: float) -> list[Frame | EndOfStream]:
        """As the mux."""
        items = self._mux.take(max_batch, timeout_s)
        now_s = self._clock()
        for item in items:
            if isinstance(item, Frame):
                before = self._taken.get(item.camera_id)
                # Replaced, never changed: whoever reads it meanwhile has the one or the other.
                self._taken[item.camera_id] = Taken(
                    frames=1 if before is None else before.frames + 1, last_s=now_s
                )
        return items

    def close(self) -> None:
        """As the mux."""
        self._mux.close()

    def of(self, camera_id: str) -> Taken | None:
        """What was taken of a camera; None before the first frame."""
        return self._taken.get(camera_id)
