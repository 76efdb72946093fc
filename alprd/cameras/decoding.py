"""Who decodes a camera: the GPU where that is wanted and works, else the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import structlog

from alprd.cameras.nvdec_decoder import MODULE, NvdecRefused
from alprd.config.checks import source_form
from alprd.config.models import CameraSettings
from alprd.core.types import Frame
from alprd.ports import FrameSource

log = structlog.get_logger()


class CameraSource(FrameSource, Protocol):
    """A `FrameSource` that can also say what was wrong with what it delivered."""

    @property
    def warning(self) -> str | None:
        """One line about damage that did not stop the source; None while all is well."""


class NvdecSource:
    """A camera that the GPU decodes; where it refuses, the CPU does, from the first frame on.

    Args:
        camera_id: for the log.
        on_gpu: raises NvdecRefused where NVDEC cannot.
        on_cpu: makes the same camera as the CPU decodes it.
    """

    def __init__(
        self, camera_id: str, on_gpu: CameraSource, on_cpu: Callable[[], CameraSource]
    ) -> None:
        self._camera_id = camera_id
        self._source = on_gpu
        self._on_cpu: Callable[[], CameraSource] | None = on_cpu
        self._lock = threading.Lock()
        self._closed = False

    @property
    def live(self) -> bool:
        """As the camera has it."""
        return self._source.live

    @property
    def warning(self) -> str | None:
        """As the camera has it."""
        return self._source.warning

    def open(self) -> None:
        """Connect. Raises CameraError."""
        try:
            self._source.open()
        except NvdecRefused as refusal:
            self._fall_back(refusal)

    def read(self) -> Frame | None:
        """The next frame; None at the end. Raises CameraError."""
        try:
            frame = self._source.read()
        except NvdecRefused as refusal:
            # Later on it is a fault like any other: the camera is opened again.
            self._fall_back(refusal)
            frame = self._source.read()
        self._on_cpu = None
        return frame

    def close(self) -> None:
        """Release everything; from another thread it takes effect when the running call returns."""
        with self._lock:
            self._closed = True
            source = self._source
        source.close()

    def _fall_back(self, refusal: NvdecRefused) -> None:
        if self._on_cpu is None:
            raise refusal
        log.warning("camera.decode_fallback", camera=self._camera_id, reason=str(refusal))
        self._source.close()
        source, self._on_cpu = self._on_cpu(), None
        with self._lock:
            self._source = source
            closed = self._closed
        if closed:
            source.close()
        source.open()


def decided(settings: CameraSettings, *, frames_on_gpu: bool) -> CameraSettings:
    """The camera with what `decode` means for it here.

    "auto" takes NVDEC where the frames are wanted on the GPU and its module is installed; then it
    is the only one that spares the CPU both the decoding and the upload. "nvdec" is a wish: where
    inference looks at frames with the CPU, each would have to come back.

    Args:
        settings: as configured.
        frames_on_gpu: whether inference takes frames from the GPU's memory.
    """
    decode = settings.decode
    if decode == "auto" and frames_on_gpu and _stays_there(settings) and find_spec(MODULE):
        return settings.model_copy(update={"decode": "nvdec"})
    if decode == "nvdec" and not frames_on_gpu:
        log.warning(
            "camera.decode_fallback",
            camera=settings.id,
            reason="inference does not run on the GPU, so frames would come back from it; "
            'see inference.backend, or set decode = "auto"',
        )
        return settings.model_copy(update={"decode": "ffmpeg"})
    return settings


def _stays_there(settings: CameraSettings) -> bool:
    """Whether frames can go from NVDEC to inference as they are: turning happens on the CPU."""
    return source_form(settings.source) in ("network", "path") and not settings.rotate_deg
