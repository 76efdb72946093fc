"""A camera's pipeline with those who look on, and an outbox in memory behind the policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alprd.config import Settings
from alprd.core.events import uuid7
from alprd.core.lists import PlateList
from alprd.core.types import PlateEvent
from alprd.extras import FrontSink
from alprd.images.store import ImageBounds, ImageStore
from alprd.images.worker import ImageThread
from alprd.live_tracks import Describe, TrackNews
from alprd.observed import ObservedPipeline
from alprd.onlookers import Onlookers
from alprd.pictures import Album
from alprd.pipeline import CameraPipeline
from alprd.policy.sink import Policy, PolicySink
from alprd.ports import OutboxError
from alprd.publish.message import Message
from alprd.publish.spare import SpareLane
from support.payloads import validator
from support.plates_in_frames import START
from support.replay import Rules, event_ids

BOUNDS = ImageBounds(max_files=1000, max_bytes=10**9, max_age_s=1e6, min_free_bytes=0)


class Disk:
    """An outbox: numbers its events, or refuses them."""

    def __init__(self) -> None:
        self.full = False
        self.events: list[PlateEvent] = []
        self.listeners: list[Any] = []

    def add(self, events: Sequence[PlateEvent]) -> None:
        if self.full:
            raise OutboxError("the disk is full; free some space")
        for event in events:
            self.events.append(event)
            for listener in self.listeners:
                listener(event.event_id, len(self.events))

    def add_lost(self, count: int) -> None:
        """Nothing is lost here."""


class Gate:
    """One or more cameras, wired as the daemon does; without threads of its own but the pictures'.

    Args:
        folder: of the pictures.
        settings: sections of the configuration.
        lists: the plate lists.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        lists: Sequence[PlateList] = (),
        drop_unlisted: bool = False,
        key: bytes | None = None,
        cameras: Sequence[str] = ("gate",),
        rules: Rules | None = None,
        worker: ImageThread | None = None,
        describe: Describe = lambda event: event,
    ) -> None:
        self.lists = tuple(lists)
        self.rules = rules or Rules()
        self.messages: list[Message] = []
        self.pictures: list[Message] = []
        self.disk = Disk()
        self.lane = SpareLane(on_change=lambda: None, clock=lambda: 0.0)
        policy = Policy(lists=lambda: self.lists, drop_unlisted=drop_unlisted, key=key)
        self.policy = PolicySink(self.disk, policy)
        self._noise = event_ids()
        self._cameras = cameras
        made = self._settings(settings)
        self.folder = folder
        self.worker = worker or ImageThread(
            ImageStore(folder, BOUNDS, clock=lambda: 0.0, now=lambda: START),
            writable=True,
            clock=lambda: 0.0,
            wait_s=20.0,
        )
        self.news = TrackNews(
            made, policy=lambda: self.policy.policy, send=self._send, describe=describe
        )
        self.album = Album(
            made, self.worker, policy=lambda: self.policy.policy, send=self.pictures.append
        )
        self.disk.listeners.append(self.news.stored)
        self.onlookers = Onlookers()
        kept = PolicySink(self.album.guard(self.disk, self.onlookers), policy)
        self.policy = kept
        self.sink = FrontSink(kept, self.news, self.album, self.onlookers)
        self.lines = {camera: self._line(camera) for camera in cameras}
        self.line = self.lines[cameras[0]]

    def use(self, settings: Mapping[str, Any]) -> None:
        """A reload."""
        made = self._settings(settings)
        self.news.use(made)
        self.album.use(made)

    def store(self, events: Sequence[PlateEvent]) -> None:
        """As the inference thread does with a step's events."""
        if events:
            self.sink.add(events)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The tracks so far; all keep to their schema."""
        found = [json.loads(message.payload) for message in self.messages]
        for payload in found:
            assert [e.message for e in validator("track-1").iter_errors(payload)] == []
        return found

    @property
    def kinds(self) -> list[str]:
        """Of the tracks so far."""
        return [payload["kind"] for payload in self.told]

    def _send(
        self, message: Message, *, replaces: str | None = None, outdates: Sequence[str] = ()
    ) -> None:
        assert replaces is not None
        self.lane.put(message, replaces=replaces, outdates=outdates)
        self.messages.append(message)

    def _settings(self, sections: Mapping[str, Any]) -> Settings:
        cameras = [{"id": each, "source": "/x"} for each in self._cameras]
        return Settings.model_validate({"device_id": "edge-07", "cameras": cameras, **sections})

    def _new_id(self, at: Any) -> str:
        return uuid7(at, next(self._noise))

    def _line(self, camera_id: str) -> ObservedPipeline:
        return ObservedPipeline(
            lambda name: CameraPipeline(
                camera_id, self.rules, None, new_event_id=self._new_id, name_pass=name
            ),
            new_event_id=self._new_id,
            news=self.news.camera(camera_id),
            album=self.album.camera(camera_id),
            onlookers=self.onlookers,
        )
