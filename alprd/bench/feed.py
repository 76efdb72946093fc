"""Frames from memory into the mux: a thread that stands in for all cameras at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from types import TracebackType

from alprd.bench.pictures import Pictures
from alprd.core.types import Frame
from alprd.ports import FrameSink

STEP_S = 0.5
"""Between a camera's frames, on its own time axis: so long that a plate which stands is read in
every frame. At a camera's usual rate it would be left alone, and the rate of pictures with a plate
would not be the rate of those that are read."""

_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def is_positive(number: int, rate: float) -> bool:
    """Whether the frame is one with a plate; those are spread as evenly as the rate allows."""
    return int((number + 1) * rate) > int(number * rate)


def swinging(step: int, length: int) -> int:
    """0, 1, .. length - 1 and back again: what comes nearer goes away again, and never jumps."""
    there = step % max(1, 2 * (length - 1))
    return min(there, 2 * (length - 1) - there)


def frames(pictures: Pictures, *, rate: float, cameras: int, count: int) -> Iterator[Frame]:
    """`count` frames, one camera after the other.

    Args:
        pictures: what they show.
        rate: share of frames with a plate, 0..1.
        cameras: how many take turns.
        count: frames in all.
    """
    ids = camera_ids(cameras)
    for number in range(count):
        seq, camera = divmod(number, cameras)
        # Turned from turn to turn, so that no camera sees nothing but plates, or none at all.
        place = seq * cameras + (camera + seq) % cameras
        pool = pictures.positive if is_positive(place, rate) else pictures.negative
        yield Frame(
            camera_id=ids[camera],
            seq=seq,
            captured_at=_START + timedelta(seconds=seq * STEP_S),
            t_s=seq * STEP_S,
            # An object of its own, as every picture of a camera is one: nothing that knows it by
            # its identity may take it for one that it has seen.
            image=pool[swinging(seq + camera, len(pool))][:],
        )


def camera_ids(cameras: int) -> list[str]:
    """Their names."""
    return [f"camera-{number}" for number in range(cameras)]


class Feeder:
    """Puts frames into a mux as fast as it takes them; entering starts it, leaving waits for it."""

    def __init__(self, source: Iterator[Frame], mux: FrameSink) -> None:
        self._source = source
        self._mux = mux
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join()

    def _run(self) -> None:
        for frame in self._source:
            self._mux.put(frame)
