"""OpenCV's process-wide settings, made once and before the first capture is opened.

They are environment variables, which is why they are set in one place and only once: the C library
reads them without a lock, so writing them while another thread opens a camera would be a race.
"""

from __future__ import annotations

import os
import threading

import cv2

_ONCE = threading.Lock()
_done = threading.Event()


def capture_options(present: str | None) -> str:
    """The FFmpeg options for every capture: RTSP over TCP, unless the user chose a transport.

    Args:
        present: the user's own OPENCV_FFMPEG_CAPTURE_OPTIONS ("key;value|key;value"), if any.
    """
    forced = "rtsp_transport;tcp"  # over UDP every lost packet is a smeared picture
    if not present:
        return forced
    if "rtsp_transport;" in present:
        return present
    return f"{present}|{forced}"


def prepare_opencv() -> None:
    """Set OpenCV's environment; the first call does the work, later ones return at once.

    Call it before threads are started where that is possible (the composition root may).
    """
    if _done.is_set():
        return
    with _ONCE:
        if _done.is_set():
            return
        environment = os.environ
        environment["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = capture_options(
            environment.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
        )
        # Without this OpenCV holds one lock for all captures while it opens one, so that a single
        # camera that does not answer keeps every other camera from being opened.
        environment.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
        # Both libraries write to stderr, past our log and its masking, and name URLs with their
        # passwords. Who sets OPENCV_LOG_LEVEL or OPENCV_FFMPEG_LOGLEVEL asked for that.
        environment.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        if "OPENCV_LOG_LEVEL" not in environment:
            _silence_opencv()
        _done.set()


def _silence_opencv() -> None:
    # The distributions' and JetPack's older OpenCV has the function at another place.
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)  # LOG_LEVEL_SILENT
