"""Watches over the running device: the health thread, its alerts and metrics, as one thing.

The health thread calls `figures` and `judge`; everything else belongs to the main thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import structlog

from alprd.camera_set import CameraBook
from alprd.cameras.pictures import PictureWatch
from alprd.config import Settings
from alprd.core.types import CameraStatus
from alprd.host.alarm import Alarm
from alprd.host.health import HealthThread
from alprd.host.local_sample import write_sample
from alprd.host.machine import Machine
from alprd.host.metrics import MetricsServer
from alprd.ports import Clock, StateBoard
from alprd.publish.thread import PublisherThread
from alprd.sight import Sight

log = structlog.get_logger(__name__)

_OPEN = frozenset({"online", "stalled"})
_MIN_RATE_S = 1.0


class Wellbeing:
    """A context manager: leaving ends the health thread.

    Args:
        settings: in force.
        board: takes the health message.
        publisher: takes the alerts.
        book: the cameras' states.
        sight: what inference looks at.
        figures: the daemon's own figures but for the cameras'; called in the health thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        board: StateBoard,
        publisher: PublisherThread,
        book: CameraBook,
        sight: Sight,
        figures: Callable[[], Mapping[str, Any]],
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings = settings
        self._board = board
        self._publisher = publisher
        self._sight = sight
        self._figures = figures
        self._cameras = CameraFigures(book, sight, clock)
        self._alarm = Alarm(settings.alerts, self._say, min_fps=_min_fps(settings), clock=clock)
        self._machine = Machine(settings.outbox.path.absolute().parent)
        self._turn = threading.Lock()
        self._running = ExitStack()

    def __enter__(self) -> Wellbeing:
        self._machine.__enter__()
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self._machine.__exit__()

    def _start(self) -> None:
        settings = self._settings
        pictures = None
        if settings.alerts.enabled:
            pictures = PictureWatch(self._sight.tap, frozen_s=settings.alerts.frozen_s)
            self._running.callback(pictures.close)
        ids = [camera.id for camera in settings.cameras]
        health = self._running.enter_context(
            HealthThread(
                settings.health,
                self._board,
                device_id=settings.device_id,
                machine=self._machine,
                pipeline_figures=lambda: {
                    **self._figures(),
                    "cameras": self._cameras.look(ids, pictures),
                },
                judge=self._judge,
                turn=self._turn,
            )
        )
        if settings.metrics.enabled:
            self._running.enter_context(MetricsServer(settings.metrics, lambda: health.newest))

    def use(self, settings: Settings) -> None:
        """Go by other settings: what watches is built anew where it depends on them."""
        before, self._settings = self._settings, settings
        if _watched(before) != _watched(settings):
            self._running.close()
            self._alarm.use(settings.alerts, _min_fps(settings))
            self._start()

    def _judge(self, sample: dict[str, Any]) -> bool:
        news = self._alarm.judge(sample)
        try:
            write_sample(sample)
        except OSError as error:
            log.debug("health.not_written", error=str(error))
        return news

    def _say(self, kind: str, payload: Mapping[str, Any] | None) -> None:
        name = f"alerts/{kind}"
        if payload is not None:
            self._publisher.device(name, payload, retain=True)
            return
        topic = f"{self._settings.mqtt.prefix}/devices/{self._settings.device_id}/{name}"
        self._publisher.announce(topic, b"")


def _watched(settings: Settings) -> tuple[object, ...]:
    cameras = tuple((camera.id, camera.min_fps) for camera in settings.cameras)
    return settings.health, settings.alerts, settings.metrics, cameras


def _min_fps(settings: Settings) -> dict[str, float]:
    return {c.id: c.min_fps for c in settings.cameras if c.min_fps is not None}


class CameraFigures:
    """What health says about each camera; used by the health thread.

    Args:
        book: the cameras' states.
        sight: what inference takes of them.
        clock: monotonic seconds.
    """

    def __init__(self, book: CameraBook, sight: Sight, clock: Clock) -> None:
        self._book = book
        self._sight = sight
        self._clock = clock
        self._before: dict[str, tuple[float, int, float | None]] = {}

    def look(self, camera_ids: list[str], pictures: PictureWatch | None) -> list[dict[str, Any]]:
        """The cameras in the order of the configuration."""
        now_s = self._clock()
        known = self._book.statuses()
        is_open = [name for name in camera_ids if name in known and known[name].state in _OPEN]
        verdicts = {} if pictures is None else pictures.look(is_open, now_s)
        lights = {} if pictures is None else pictures.lights()
        for camera_id, light in lights.items():
            self._book.note_light(camera_id, light)
        return [
            {
                **self._camera(camera_id, known.get(camera_id), verdicts.get(camera_id), now_s),
                "light": lights.get(camera_id),
            }
            for camera_id in camera_ids
        ]

    def _camera(
        self, camera_id: str, status: CameraStatus | None, picture: str | None, now_s: float
    ) -> dict[str, Any]:
        taken = self._sight.taken.of(camera_id)
        age_s = None if taken is None else round(now_s - taken.last_s, 1)
        if age_s is None and status is not None:
            age_s = status.last_frame_age_s
        return {
            "id": camera_id,
            "state": None if status is None else status.state,
            "fps": None if status is None else status.fps,
            "processed_fps": self._rate(camera_id, 0 if taken is None else taken.frames, now_s),
            "dropped": self._sight.dropped(camera_id),
            "last_frame_age_s": age_s,
            "picture": picture,
            "last_error": None if status is None else status.last_error,
        }

    def _rate(self, camera_id: str, frames: int, now_s: float) -> float | None:
        """Frames per second that were looked at since the look before."""
        before = self._before.get(camera_id)
        if before is None:
            self._before[camera_id] = now_s, frames, None
            return None
        since_s, counted, rate = before
        if now_s - since_s >= _MIN_RATE_S:
            rate = round((frames - counted) / (now_s - since_s), 2)
            self._before[camera_id] = now_s, frames, rate
        return rate
