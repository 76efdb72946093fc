"""What the parts of alprd ask of each other; adapters implement these, tests may too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import (
    CameraStatus,
    Detection,
    EndOfStream,
    Frame,
    FrameImage,
    PlateEvent,
    PlateRead,
)

Clock = Callable[[], float]
"""Seconds on a monotonic axis."""

ImageU8 = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""


class CameraError(Exception):
    """A source cannot be opened or read; the message names the remedy and holds no credentials."""


class EngineError(Exception):
    """A model or engine cannot be used; the message names the file and the remedy."""


class EngineUnavailable(EngineError):  # noqa: N818 -- says what it is
    """A sound model or engine cannot be used just now; trying again later may help."""


class OutboxError(Exception):
    """An event could not be made durable; the message names the file and the remedy."""


class ImageStoreError(Exception):
    """Pictures cannot be kept; the message names the folder and the remedy."""


class FrameSource(Protocol):
    """A stream of frames; opened, read and closed by one thread."""

    @property
    def live(self) -> bool:
        """True when frames come in real time (the newest wins); False for files (none is lost)."""

    def open(self) -> None:
        """Connect. Raises CameraError."""

    def read(self) -> Frame | None:
        """The next frame; None at the end of a file. May block; raises CameraError when lost."""

    def close(self) -> None:
        """Release everything; never raises; may be called from any thread to abort a read."""


class FrameSink(Protocol):
    """Takes what cameras produce (the mux)."""

    def offer(self, frame: Frame) -> None:
        """Live: keep the newest frame of this camera; a replaced one is counted as dropped."""

    def put(self, item: Frame | EndOfStream) -> None:
        """Files: wait until the item can be taken; nothing is lost. Returns at once when closed."""

    def dropped(self, camera_id: str) -> int:
        """Frames of this camera that were replaced before they were taken, since start."""


class Detector(Protocol):
    """Finds plates and vehicles."""

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        """Detections of each image, best score first, in the image's own pixels."""


class PendingDetections(Protocol):
    """Detections that are being worked out elsewhere (on a GPU)."""

    def result(self) -> list[list[Detection]]:
        """What `detect` would have returned, or raised; waits for it. Called once."""


@runtime_checkable
class SubmittingDetector(Detector, Protocol):
    """A detector whose work goes on while its caller does something else.

    Two submissions may pend at once, and `detect` may be called while one does. One that is never
    asked for its result costs nothing but its work.
    """

    def submit(self, images: Sequence[FrameImage]) -> PendingDetections:
        """Begin to detect. The images must not change before the result is there.

        May raise what `detect` raises; then nothing was begun.
        """


class PlateReader(Protocol):
    """Reads rectified plates."""

    def read(self, plates: Sequence[tuple[FrameImage, Detection, float]]) -> list[PlateRead]:
        """One read per (full frame image, plate detection with quad, t_s), in that order.

        All crops go through the network in one batched call (split only at the model's maximum).
        """


class PendingReads(Protocol):
    """Reads of which some are still being worked out elsewhere (on a GPU)."""

    def known(self) -> list[PlateRead | None]:
        """What `read` returns, where it is certain; else None: the reader looks again there.

        May wait for the first look, and raise what `read` raises; what comes after that look is
        begun here, and waited for in `result`.
        """

    def result(self) -> list[PlateRead]:
        """What `read` would have returned, or raised; waits for it."""


@runtime_checkable
class SubmittingReader(PlateReader, Protocol):
    """A reader whose work goes on while its caller does something else.

    One submission pends at a time: what is asked of the reader meanwhile waits for it. One that is
    never asked for its result costs nothing but its work.
    """

    def submit(self, plates: Sequence[tuple[FrameImage, Detection, float]]) -> PendingReads:
        """Begin to read; may raise what `read` raises, then nothing was begun."""


class EventSink(Protocol):
    """Makes events durable."""

    def add(self, events: Sequence[PlateEvent]) -> None:
        """Returns once the events are on disk, in order. On OutboxError none was added."""

    def add_lost(self, count: int) -> None:
        """Tell consumers that so many events will never come. On OutboxError nobody was told."""


class StateBoard(Protocol):
    """Latest-value messages (status, availability, info, health): the newest per topic wins."""

    def camera_status(self, status: CameraStatus) -> None:
        """Publish retained on <prefix>/<camera>/status; re-sent on every connect."""

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        """Publish on <prefix>/devices/<device>/<name>."""


class Beat(Protocol):
    """A stage's sign of life."""

    def __call__(self) -> None:
        """Called by the stage at least as often as it promised."""
