"""The mux: where the frames of all cameras wait for the one inference thread.

Live cameras `offer`: a frame that was not taken yet is replaced in place by the newer one and
counted, so that inference always sees the present and a slow camera keeps its turn. Files `put`:
they wait, and lose nothing, which makes a replay deterministic.

`take` goes round the cameras in the order in which they were added, starting after the one served
last, and takes at most one item of each: no camera starves another however fast it is, and the
frames of one camera are never in one batch, so that tracking sees them strictly in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from alprd.core.types import EndOfStream, Frame

FILE_DEPTH = 2
"""Frames of a file that may wait: one to take, and one more so that decoding overlaps inference."""


class FrameMux:
    """A `FrameSink` for all cameras; its other end, `take`, belongs to the inference thread."""

    def __init__(self, camera_ids: Iterable[str] = (), *, file_depth: int = FILE_DEPTH) -> None:
        self._file_depth = file_depth
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Frame | EndOfStream]] = {}
        self._dropped: dict[str, int] = {}
        self._removed: set[str] = set()
        self._removals: dict[str, int] = {}
        self._served_last: str | None = None
        self._closing = False
        for camera_id in camera_ids:
            self.add_camera(camera_id)

    @property
    def closed(self) -> bool:
        """True once `close` was called and everything that waited has been taken."""
        with self._changed:
            return self._closing and not any(self._waiting.values())

    def add_camera(self, camera_id: str) -> None:
        """Give the camera its turn; needed again after `remove_camera`, otherwise optional."""
        with self._changed:
            self._removed.discard(camera_id)
            self._queue_of(camera_id)

    def remove_camera(self, camera_id: str) -> None:
        """Forget what waits of this camera, end its stream, and ignore it until it is added again.

        The consumer gets one `EndOfStream`; a `put` that waits for this camera returns.
        """
        with self._changed:
            if camera_id in self._removed:
                return
            self._removed.add(camera_id)
            self._removals[camera_id] = self._removals.get(camera_id, 0) + 1
            queue = self._waiting.get(camera_id)
            if queue is not None and not self._closing:
                queue.clear()
                queue.append(EndOfStream(camera_id=camera_id))
            self._changed.notify_all()

    def offer(self, frame: Frame) -> None:
        """Live: keep the newest frame of this camera; a replaced one is counted as dropped."""
        with self._changed:
            if self._refuses(frame.camera_id):
                return
            queue = self._queue_of(frame.camera_id)
            if queue and isinstance(queue[-1], Frame):
                queue[-1] = frame
                self._dropped[frame.camera_id] = self._dropped.get(frame.camera_id, 0) + 1
            else:
                queue.append(frame)
                self._changed.notify_all()

    def put(self, item: Frame | EndOfStream) -> None:
        """Files: wait until the item can be taken; nothing is lost. Returns at once when closed."""
        camera_id = item.camera_id
        with self._changed:
            # What waits since before a removal belongs to the stream that ended with it, also when
            # the camera has been added again by the time this thread wakes up.
            stream = self._removals.get(camera_id, 0)
            while not self._refuses(camera_id) and stream == self._removals.get(camera_id, 0):
                queue = self._queue_of(camera_id)
                if isinstance(item, EndOfStream) or len(queue) < self._file_depth:
                    queue.append(item)
                    self._changed.notify_all()
                    return
                self._changed.wait()

    def take(self, max_batch: int, timeout_s: float) -> list[Frame | EndOfStream]:
        """Up to `max_batch` items, at most one of each camera; waits for the first one.

        Returns [] when nothing came within `timeout_s`, and at once when the mux is closed and
        drained.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or any(self._waiting.values()), timeout=timeout_s
            )
            batch: list[Frame | EndOfStream] = []
            for camera_id in self._in_turn():
                if len(batch) >= max_batch:
                    break
                queue = self._waiting[camera_id]
                if queue:
                    batch.append(queue.popleft())
                    self._served_last = camera_id
            self._forget_the_removed()
            if batch:
                self._changed.notify_all()  # a put may have been waiting for this room
            return batch

    def close(self) -> None:
        """Accept nothing more; what waits can still be taken. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def dropped(self, camera_id: str) -> int:
        """Frames of this camera that were replaced before inference took them, since start."""
        with self._changed:
            return self._dropped.get(camera_id, 0)

    def _refuses(self, camera_id: str) -> bool:
        return self._closing or camera_id in self._removed

    def _queue_of(self, camera_id: str) -> deque[Frame | EndOfStream]:
        return self._waiting.setdefault(camera_id, deque())

    def _in_turn(self) -> list[str]:
        """All cameras, the one after the camera served last first."""
        order = list(self._waiting)
        if self._served_last not in self._waiting:
            return order
        first = order.index(self._served_last) + 1
        return order[first:] + order[:first]

    def _forget_the_removed(self) -> None:
        for camera_id in [c for c in self._removed if not self._waiting.get(c, True)]:
            del self._waiting[camera_id]
