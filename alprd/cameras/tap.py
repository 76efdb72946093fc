"""Lets somebody else have a camera's next frame, on its way to the mux."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from alprd.core.types import EndOfStream, Frame
from alprd.ports import FrameSink


class FrameTap:
    """A `FrameSink` in front of another one; frames are immutable, so two may have the same.

    It costs the cameras a look at an empty dictionary per frame.
    """

    def __init__(self, sink: FrameSink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._wanted: dict[str, list[Future[Frame]]] = {}

    def next_frame(self, camera_id: str, timeout_s: float) -> Frame | None:
        """The camera's next frame; None when none comes in time. Blocks its caller only."""
        wanted = self.ask(camera_id)
        try:
            return wanted.result(timeout_s)
        except FutureTimeoutError:
            with self._lock:
                waiting = self._wanted.get(camera_id, [])
                if wanted in waiting:
                    waiting.remove(wanted)
            return None

    def ask(self, camera_id: str) -> Future[Frame]:
        """The camera's next frame, when it comes; cancel it when it is no longer wanted."""
        wanted: Future[Frame] = Future()
        with self._lock:
            waiting = [each for each in self._wanted.get(camera_id, []) if not each.cancelled()]
            self._wanted[camera_id] = [*waiting, wanted]
        return wanted

    def offer(self, frame: Frame) -> None:
        """As the sink behind it."""
        self._show(frame)
        self._sink.offer(frame)

    def put(self, item: Frame | EndOfStream) -> None:
        """As the sink behind it."""
        if isinstance(item, Frame):
            self._show(item)
        self._sink.put(item)

    def dropped(self, camera_id: str) -> int:
        """As the sink behind it."""
        return self._sink.dropped(camera_id)

    def _show(self, frame: Frame) -> None:
        if frame.camera_id in self._wanted:
            with self._lock:
                waiting = self._wanted.pop(frame.camera_id, [])
            for wanted in waiting:
                if wanted.set_running_or_notify_cancel():
                    wanted.set_result(frame)
