"""Which kind of source a configured string means, and its opening."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from alprd.cameras.capture import Decoded
from alprd.cameras.decoding import CameraSource, NvdecSource
from alprd.cameras.files import FolderSource, VideoFileSource
from alprd.cameras.frames import FrameMaker, OnGrab, ignore_grab, utc_now
from alprd.cameras.images import is_picture
from alprd.cameras.live import DeviceSource, NetworkSource, PipelineSource
from alprd.cameras.nvdec import NvdecCapture
from alprd.cameras.pacing import FileAxis
from alprd.config.checks import source_form
from alprd.config.models import CameraSettings
from alprd.ports import Clock

__all__ = ["CameraSource", "SourceKind", "kind_of", "open_source", "path_of"]


class SourceKind(Enum):
    """What the `source` of a camera names."""

    NETWORK = "network"
    DEVICE = "device"
    PIPELINE = "pipeline"
    PATH = "path"

    @property
    def recorded(self) -> bool:
        """True for files and folders: they end, and nothing of them is lost."""
        return self is SourceKind.PATH


def kind_of(source: str) -> SourceKind:
    """The kind, from the string alone."""
    return SourceKind(source_form(source))


def open_source(
    settings: CameraSettings,
    *,
    clock: Clock = time.monotonic,
    now: Callable[[], datetime] = utc_now,
    axis: FileAxis | None = None,
    on_grab: OnGrab = ignore_grab,
) -> CameraSource:
    """The source of a camera, not yet connected: call `open` on it.

    Args:
        settings: the camera.
        clock: the steady clock that stamps live frames.
        now: the wall clock, aware UTC.
        axis: time axis of a file camera, to continue an earlier source's; default: from 0.
        on_grab: called for every frame taken from the source, also for those that `max_fps` drops.
    """
    maker = FrameMaker(settings, now=now, on_grab=on_grab)
    kind = kind_of(settings.source)
    if kind is SourceKind.PIPELINE:
        return PipelineSource(settings, maker, clock)
    if kind is SourceKind.DEVICE:
        return DeviceSource(settings, maker, clock)
    path, along = path_of(settings.source), FileAxis() if axis is None else axis

    def decoded(capture: Decoded | None) -> CameraSource:
        if kind is SourceKind.NETWORK:
            return NetworkSource(settings, maker, clock, capture)
        return VideoFileSource(settings, maker, along, path, capture)

    if kind is SourceKind.PATH and (path.is_dir() or is_picture(path)):
        return FolderSource(settings, maker, along, path)
    if settings.decode == "nvdec":
        on_gpu = decoded(NvdecCapture(live=not kind.recorded))
        return NvdecSource(settings.id, on_gpu, lambda: decoded(None))
    return decoded(None)


def path_of(source: str) -> Path:
    """The file or folder of a PATH source, which may be a file:// URL or start with ~."""
    if source.lower().startswith("file://"):
        return Path(unquote(urlsplit(source).path))
    return Path(os.path.expanduser(source))  # unlike Path.expanduser, never raises
