"""Cameras: sources of frames, one reconnecting thread each, and the mux that keeps the newest."""

from alprd.cameras.images import load_image
from alprd.cameras.mux import FrameMux
from alprd.cameras.opencv_setup import prepare_opencv
from alprd.cameras.session import captures_still_running
from alprd.cameras.sources import CameraSource, open_source
from alprd.cameras.thread import CameraThread

__all__ = [
    "CameraSource",
    "CameraThread",
    "FrameMux",
    "captures_still_running",
    "load_image",
    "open_source",
    "prepare_opencv",
]
