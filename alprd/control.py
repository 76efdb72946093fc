"""Remote control: commands in, answers out, and what Home Assistant is told about the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from alprd.config import Settings
from alprd.ports import Clock
from alprd.publish.commands import CommandDesk, Request
from alprd.publish.discovery import Discovery
from alprd.publish.message import Inbound, Message
from alprd.publish.thread import PublisherThread
from alprd.remote import Action, CommandWorker


class RemoteControl:
    """Exists before the publisher, which it listens to, and serves once everything runs.

    Args:
        settings: in force.
        clock: monotonic seconds.
    """

    def __init__(self, settings: Settings, *, clock: Clock = time.monotonic) -> None:
        self._publisher: PublisherThread | None = None
        self._worker: CommandWorker | None = None
        self._discovery: Discovery | None = None
        self._settings = settings
        self._desk = CommandDesk(
            settings.commands,
            prefix=settings.mqtt.prefix,
            device_id=settings.device_id,
            camera_ids=[camera.id for camera in settings.cameras],
            send=self._send,
            submit=self._submit,
            clock=clock,
        )

    @property
    def subscriptions(self) -> Callable[[], frozenset[str]]:
        """For the publisher."""
        return self._desk.topics

    @property
    def on_message(self) -> Callable[[Inbound], None]:
        """For the publisher."""
        return self._desk.on_message

    def board(self, publisher: PublisherThread) -> Discovery:
        """The board for health, from which Home Assistant's message learns."""
        self._publisher = publisher
        self._discovery = Discovery(
            publisher,
            publisher.announce,
            device_id=self._settings.device_id,
            prefix=self._settings.mqtt.prefix,
            notes=publisher.notes,
        )
        self.use(self._settings)
        return self._discovery

    def serving(self, actions: Mapping[str, Action]) -> RemoteControl:
        """Execute commands while entered; before and after they are answered as busy."""
        self._worker = CommandWorker(actions, self._desk.answer)
        return self

    def use(self, settings: Settings) -> None:
        """Go by other settings."""
        self._settings = settings
        camera_ids = [camera.id for camera in settings.cameras]
        self._desk.use(settings.commands, camera_ids)
        if self._discovery is not None:
            self._discovery.use(settings.homeassistant, camera_ids, settings.health.interval_s)
        if self._publisher is not None:
            self._publisher.wake()

    def __enter__(self) -> RemoteControl:
        if self._worker is not None:
            self._worker.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.__exit__(kind, error, trace)

    def _send(self, message: Message) -> None:
        if self._publisher is not None:
            self._publisher.send(message)

    def _submit(self, request: Request) -> bool:
        worker = self._worker
        return worker is not None and worker.submit(request)
