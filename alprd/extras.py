"""What the daemon gives beside its events: live tracks and pictures, where they are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from alprd.config import CameraSettings, Settings
from alprd.core.types import PlateEvent
from alprd.images.store import ImageBounds, ImageStore
from alprd.images.worker import ImageThread
from alprd.live_tracks import Describe, TrackNews
from alprd.observed import ObservedPipeline
from alprd.onlookers import PICTURES, TRACKS, Onlookers
from alprd.pictures import Album
from alprd.pipelines import new_event_id, new_pipeline
from alprd.policy.sink import Policy
from alprd.ports import Clock, EventSink, OutboxError
from alprd.publish.thread import PublisherThread


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Extras:
    """A context manager: entering opens the folder of the pictures; `use` after a reload.

    Args:
        settings: in force.
        publisher: sends what there is room for.
        policy: gives the one that events go by.
        clock: monotonic seconds.
        now: wall time.
        describe: adds what is known of an event's vehicle by now; for live tracks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        publisher: PublisherThread,
        policy: Callable[[], Policy],
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        describe: Describe = lambda event: event,
    ) -> None:
        self._publisher = publisher
        self._settings = settings
        self._onlookers = Onlookers()
        store = ImageStore(settings.images_path, _bounds(settings), clock=clock, now=now)
        self._worker = ImageThread(store, writable=_writes(settings), clock=clock)
        self._album = Album(settings, self._worker, policy=policy, send=publisher.send_picture)
        self._news = TrackNews(
            settings, policy=policy, send=publisher.send_track, describe=describe
        )

    def pipeline(self, settings: Settings, camera: CameraSettings) -> ObservedPipeline:
        """A camera's pipeline, looked on by both."""
        return ObservedPipeline(
            lambda name_pass: new_pipeline(settings, camera, name_pass=name_pass),
            new_event_id=new_event_id,
            news=self._news.camera(camera.id),
            album=self._album.camera(camera.id),
            onlookers=self._onlookers,
        )

    def behind_policy(self, sink: EventSink) -> EventSink:
        """For the events that the policy lets pass, on their way to the outbox."""
        return self._album.guard(sink, self._onlookers)

    def in_front(self, sink: EventSink) -> EventSink:
        """For all events, on their way to the policy."""
        return FrontSink(sink, self._news, self._album, self._onlookers)

    def stored(self, event_id: str, seq: int) -> None:
        """An event is durable and has its number."""
        with self._onlookers.look(TRACKS):
            self._news.stored(event_id, seq)

    def use(self, settings: Settings) -> None:
        """Go by other settings from the next frame on, when the policy has changed already."""
        before, self._settings = self._settings, settings
        if (settings.privacy, settings.lists) != (before.privacy, before.lists):
            self._publisher.forget_spare()  # it may show what is not shown any more
        self._worker.use(_bounds(settings), writable=_writes(settings))
        self._album.use(settings)
        self._news.use(settings)

    def figures(self) -> dict[str, Any]:
        """For health; callable from any thread."""
        return {
            "images": self._worker.figures(),
            "sent": asdict(self._publisher.spare_figures()),
            "failed": self._onlookers.failed,
        }

    def __enter__(self) -> Extras:
        """Raises ImageStoreError."""
        self._worker.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.__exit__(kind, error, trace)


class FrontSink:
    """An `EventSink` in front of all others: after it is known what they made of the events."""

    def __init__(
        self, sink: EventSink, news: TrackNews, album: Album, onlookers: Onlookers
    ) -> None:
        self._sink = sink
        self._news = news
        self._album = album
        self._onlookers = onlookers

    def add(self, events: Sequence[PlateEvent]) -> None:
        """As the sink behind it."""
        ids = [event.event_id for event in events]
        try:
            self._sink.add(events)
        except OutboxError:
            with self._onlookers.look(TRACKS):
                self._news.settle(ids)  # who left has left, whether the disk takes its event or not
            raise
        with self._onlookers.look(PICTURES):
            self._album.settle(ids)
        with self._onlookers.look(TRACKS):
            self._news.settle(ids)

    def add_lost(self, count: int) -> None:
        """As the sink behind it."""
        self._sink.add_lost(count)


def _bounds(settings: Settings) -> ImageBounds:
    images = settings.images
    return ImageBounds(
        max_files=images.max_files,
        max_bytes=images.max_bytes,
        max_age_s=images.max_age_s,
        min_free_bytes=images.min_free_bytes,
    )


def _writes(settings: Settings) -> bool:
    return any(map(settings.images_of, settings.cameras))
