"""What the commands over MQTT do in a running daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from alprd.camera_set import CameraBook
from alprd.cameras.tap import FrameTap
from alprd.config import Settings
from alprd.core.events import format_time
from alprd.core.types import PLATE_LABEL, Frame
from alprd.errands import Errands
from alprd.images.jpeg import Cut, JpegError, encode_cut
from alprd.inference.models import Models
from alprd.inference.preprocess import ImageError
from alprd.pictures import picture_message, plate_quad
from alprd.policy.sink import Policy
from alprd.ports import CameraError, EngineError
from alprd.publish.thread import PublisherThread
from alprd.remote import Action, CommandFailedError

RELOAD_TIMEOUT_S: Final = 30.0
SELFTEST_TIMEOUT_S: Final = 30.0
SNAPSHOT_TIMEOUT_S: Final = 5.0
FLUSH_TIMEOUT_S: Final = 10.0
JPEG_QUALITY: Final = 85
_LOOK_S: Final = 0.1


class Daemon(Protocol):
    """What the main thread can do for a command; called in it."""

    @property
    def settings(self) -> Settings:
        """In force."""

    def reload(self) -> Mapping[str, Any]:
        """Read the configuration again; what changed. Raises CommandFailedError."""

    def switch_camera(self, camera_id: str, *, enabled: bool) -> Mapping[str, Any]:
        """Open or close a camera until the next start. Raises CommandFailedError."""


class Actions:
    """Made when everything runs; used by the command thread.

    Args:
        daemon: the main thread's part.
        main: errands for the main thread.
        inference: errands for the inference thread, which alone may use the models.
        models: what the self-test proves, and what finds the plates to cover.
        publisher: takes pictures; says how delivery goes.
        tap: where frames come by.
        book: the cameras' states.
        stalled: names of the stages without progress.
        policy: gives the one that events go by.
    """

    def __init__(
        self,
        daemon: Daemon,
        *,
        main: Errands,
        inference: Errands,
        models: Models,
        publisher: PublisherThread,
        tap: FrameTap,
        book: CameraBook,
        stalled: Callable[[], list[str]],
        policy: Callable[[], Policy],
    ) -> None:
        self._daemon = daemon
        self._main = main
        self._inference = inference
        self._models = models
        self._publisher = publisher
        self._tap = tap
        self._book = book
        self._stalled = stalled
        self._policy = policy

    def table(self) -> Mapping[str, Action]:
        """Command -> what it does."""
        return {
            "reload": lambda _: self._main.ask(self._daemon.reload, RELOAD_TIMEOUT_S),
            "selftest": lambda _: self._selftest(),
            "flush": lambda _: self._flush(),
            "snapshot": lambda camera_id: self._snapshot(str(camera_id)),
            "enable": lambda camera_id: self._switch(str(camera_id), enabled=True),
            "disable": lambda camera_id: self._switch(str(camera_id), enabled=False),
        }

    def _switch(self, camera_id: str, *, enabled: bool) -> Mapping[str, Any]:
        return self._main.ask(
            lambda: self._daemon.switch_camera(camera_id, enabled=enabled), RELOAD_TIMEOUT_S
        )

    def _selftest(self) -> Mapping[str, Any]:
        """The models on their known plates, and what the daemon knows about itself."""
        problems: list[str] = []
        try:
            self._inference.ask(self._models.prove, SELFTEST_TIMEOUT_S)
        except EngineError as error:
            problems.append(str(error))
        stats, stalled = self._publisher.stats(), self._stalled()
        if stats.outbox_error is not None:
            problems.append(stats.outbox_error)
        if stalled:
            problems.append(f"no progress: {', '.join(stalled)}")
        data = {
            "backend": self._models.backend,
            "models": dict(self._models.hashes),
            "cameras": self._book.states(),
            "stalled": stalled,
            "waiting_events": stats.pending,
            "parked_events": stats.parked,
        }
        if problems:
            raise CommandFailedError("; ".join(problems), data)
        return data

    def _flush(self) -> Mapping[str, Any]:
        """Offer what a broker refused once more, and wait until what waits now was taken."""
        before = self._publisher.stats()
        give_up_at_s = time.monotonic() + FLUSH_TIMEOUT_S
        # Until then the figures tell of the time before, when it was refused.
        counted = self._publisher.offer_parked_again().wait(FLUSH_TIMEOUT_S)
        while True:
            stats = self._publisher.stats()
            sent = stats.published - before.published
            data = {"sent": sent, "waiting": stats.pending, "parked": stats.parked}
            waited_for = before.pending + before.parked
            nothing_left = stats.pending + stats.parked == 0
            if counted and (nothing_left or (not stats.parked and sent >= waited_for)):
                return data
            refused_again = stats.parked and not stats.pending
            if refused_again or time.monotonic() >= give_up_at_s:
                why = stats.last_refusal or stats.last_error or "the broker takes its time"
                raise CommandFailedError(f"events still wait: {why}", data)
            threading.Event().wait(_LOOK_S)  # figures are a snapshot, nobody announces them

    def _snapshot(self, camera_id: str) -> Mapping[str, Any]:
        """Publish the camera's next picture."""
        settings = self._daemon.settings
        if settings.privacy.plates != "plain":
            raise CommandFailedError(
                "a picture would show plates, which privacy.plates hides; set it to plain to allow "
                "snapshots"
            )
        frame = self._tap.next_frame(camera_id, SNAPSHOT_TIMEOUT_S)
        if frame is None:
            state = self._book.states().get(camera_id, "not configured")
            raise CommandFailedError(
                f"no picture came within {SNAPSHOT_TIMEOUT_S:g} s, the camera is {state}; see its "
                "status message"
            )
        try:
            payload = self._jpeg(frame)
        except (JpegError, ImageError, CameraError) as error:
            raise CommandFailedError(f"{error}; see the camera's source") from error
        topic = f"{settings.mqtt.prefix}/{camera_id}/snapshot"
        captured_at = format_time(frame.captured_at)
        # As the pictures of events: on a slow line it must not keep events waiting.
        self._publisher.send_picture(picture_message(topic, payload, captured_at=captured_at))
        width, height = frame.size
        return {
            "topic": topic,
            "bytes": len(payload),
            "width": width,
            "height": height,
            "captured_at": captured_at,
        }

    def _jpeg(self, frame: Frame) -> bytes:
        """All of the picture; where plates are dropped, any that it shows may be one of them."""
        hides = self._policy().drops
        found = (
            self._inference.ask(
                lambda: self._models.detector.detect([frame.image])[0], SNAPSHOT_TIMEOUT_S
            )
            if hides
            else ()
        )
        cut = Cut(
            image=frame.host_image(),
            origin=(0, 0),
            own=None,
            plates=tuple(plate_quad(each) for each in found if each.label == PLATE_LABEL),
            captured_at=frame.captured_at,
        )
        return encode_cut(
            cut,
            plates="covered" if hides else "shown",
            max_width_px=frame.size[0],
            quality=JPEG_QUALITY,
        ).data
