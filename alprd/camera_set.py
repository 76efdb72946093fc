"""The cameras of a running daemon as one thing: started, replaced and stopped together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any

from alprd.cameras.sources import kind_of
from alprd.config import CameraSettings
from alprd.core.types import CameraStatus
from alprd.ports import Clock, StateBoard

OpenCamera = Callable[[CameraSettings], AbstractContextManager[object]]
"""Builds the camera's capture; entering starts it, leaving stops it."""


class CameraBook:
    """A StateBoard that remembers each camera's last state and passes on what others should hear.

    Args:
        board: where the messages go.
        on_change: called from the camera's thread when its state or error (not a figure) changed.
        every_s: gives how often others hear of a camera that does not change; may change itself.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        board: StateBoard,
        on_change: Callable[[], None],
        *,
        every_s: Callable[[], float] = lambda: 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._board = board
        self._on_change = on_change
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, CameraStatus] = {}
        self._published_s: dict[str, float] = {}
        self._lights: dict[str, str | None] = {}

    def camera_status(self, status: CameraStatus) -> None:
        """Remember; publish at once when it is news, else now and then."""
        now_s = self._clock()
        with self._lock:
            status = replace(status, light=self._lights.get(status.camera_id))
            before = self._known.get(status.camera_id)
            self._known[status.camera_id] = status
            changed = before is None or _said(before) != _said(status)
            # The first rate of a camera that has just come online is news as well.
            first_rate = before is None or (before.fps is None) != (status.fps is None)
            due_s = self._published_s.get(status.camera_id, now_s) + self._every_s()
            is_news = changed or first_rate or now_s >= due_s
            if is_news:
                self._published_s[status.camera_id] = now_s
        if is_news:
            self._board.camera_status(status)
        if changed:
            self._on_change()

    def note_light(self, camera_id: str, light: str | None) -> None:
        """By what light the camera sees; published when it is news. From any thread."""
        with self._lock:
            known = self._known.get(camera_id)
            is_news = known is not None and light != self._lights.get(camera_id)
            self._lights[camera_id] = light
        if known is not None and is_news:
            self.camera_status(known)

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        """Publish."""
        self._board.device(name, payload, retain=retain)

    def forget(self, camera_id: str) -> None:
        """The camera is no longer configured."""
        with self._lock:
            self._known.pop(camera_id, None)
            self._published_s.pop(camera_id, None)
            self._lights.pop(camera_id, None)

    def count(self, state: str) -> int:
        """How many cameras are in this state."""
        with self._lock:
            return sum(1 for known in self._known.values() if known.state == state)

    def states(self) -> dict[str, str]:
        """Camera id -> its state."""
        with self._lock:
            return {camera_id: known.state for camera_id, known in self._known.items()}

    def statuses(self) -> dict[str, CameraStatus]:
        """Camera id -> its last status."""
        with self._lock:
            return dict(self._known)

    def over(self, camera_ids: Collection[str], recorded: Collection[str]) -> bool:
        """True when none of these cameras will give another frame: files, read or failed.

        Args:
            camera_ids: the enabled cameras; one that has not been heard of yet is not over.
            recorded: ids of the cameras that are files or folders.
        """
        with self._lock:
            known = [self._known.get(camera_id) for camera_id in camera_ids]
        return all(
            status is not None
            and (status.state == "ended" or (status.camera_id in recorded and _failed(status)))
            for status in known
        )

    def failures(self) -> dict[str, str]:
        """Camera id -> why, of the cameras that are offline with a reason."""
        with self._lock:
            return {
                known.camera_id: known.last_error or ""
                for known in self._known.values()
                if _failed(known)
            }


def recorded_cameras(cameras: Iterable[CameraSettings]) -> frozenset[str]:
    """Ids of the cameras that are files or folders."""
    return frozenset(camera.id for camera in cameras if kind_of(camera.source).recorded)


def live_cameras(cameras: Sequence[CameraSettings]) -> frozenset[str]:
    """Ids of those whose time goes on without frames: all but files read as fast as possible."""
    recorded = recorded_cameras(camera for camera in cameras if not camera.realtime)
    return frozenset(camera.id for camera in cameras) - recorded


def _said(status: CameraStatus) -> tuple[str | None, ...]:
    return status.state, status.last_error, status.light


def _failed(status: CameraStatus) -> bool:
    return status.state == "offline" and status.last_error is not None


class CameraSet:
    """Owns the camera threads; used by the main thread only.

    Args:
        open_camera: builds one camera's thread.
        board: told about disabled cameras, which have no thread of their own.
    """

    def __init__(self, open_camera: OpenCamera, board: StateBoard) -> None:
        self._open = open_camera
        self._board = board
        self._running: dict[str, AbstractContextManager[object]] = {}

    def __enter__(self) -> CameraSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(tuple(self._running))

    def start(self, cameras: Iterable[CameraSettings]) -> None:
        """Start the enabled ones; say of the others that they are disabled."""
        for settings in cameras:
            if not settings.enabled:
                self._board.camera_status(CameraStatus(camera_id=settings.id, state="disabled"))
                continue
            camera = self._open(settings)
            camera.__enter__()
            self._running[settings.id] = camera

    def stop(self, camera_ids: Iterable[str]) -> None:
        """Stop these at the same time: hung captures cost one time-out, not one each."""
        leaving = [
            threading.Thread(target=camera.__exit__, args=(None, None, None), daemon=True)
            for camera in (self._running.pop(name, None) for name in camera_ids)
            if camera is not None
        ]
        for thread in leaving:
            thread.start()
        for thread in leaving:
            thread.join()
