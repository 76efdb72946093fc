"""Live cameras: network streams, V4L2 devices, GStreamer pipelines. The newest frame counts."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path

import cv2

from alprd.cameras.capture import Capture, Decoded
from alprd.cameras.frames import FrameMaker
from alprd.cameras.network import (
    CameraTimeoutError,
    Endpoint,
    connect,
    endpoint_of,
    explain_rtsp,
    silence,
)
from alprd.config.models import CameraSettings
from alprd.core.secrets import mask_credentials, with_credentials
from alprd.core.types import Frame
from alprd.ports import CameraError, Clock

MAX_FAILED_GRABS = 10
"""A damaged packet makes one grab fail and the stream goes on; so many in a row mean its end."""

PAUSE_AFTER_FAILED_GRAB_S = 0.02
DECODER_THREADS = 2
"""Each decoder thread holds one frame back; one per core would delay a slow camera by seconds."""

EXPLAIN_TIMEOUT_S = 2.0
WANTED_SIZE_PX = (1920, 1080)
"""Of V4L2 devices: OpenCV would take 640 x 480. A device without it gives its nearest size."""


class LiveSource(ABC):
    """A camera read through OpenCV; subclasses say how it is opened."""

    live = True
    warning: str | None = None

    def __init__(
        self,
        settings: CameraSettings,
        maker: FrameMaker,
        clock: Clock,
        capture: Decoded | None = None,
    ) -> None:
        self._settings = settings
        self._maker = maker
        self._clock = clock
        self._capture: Decoded = Capture() if capture is None else capture

    def open(self) -> None:
        """Connect. Raises CameraError."""
        self._maker.start()
        self._connect()

    def read(self) -> Frame | None:
        """The next frame that the frame-rate limit admits; never None, a live stream has no end.

        Raises:
            CameraError: the stream was lost.
        """
        failed = 0
        while failed < MAX_FAILED_GRABS:
            started_s = self._clock()
            grabbed = self._capture.grab()
            # Also after success: at its time-out OpenCV drains the decoder of an old frame.
            self._check_silence(started_s)
            if not grabbed and self._capture.receiving:
                failed = 0
                self._maker.taken()
                continue
            if not grabbed:
                failed += 1
                self._capture.wait_closed(PAUSE_AFTER_FAILED_GRAB_S)
                continue
            t_s, captured_at = self._clock(), self._maker.now()
            self._maker.taken()
            if not self._maker.admits(t_s):
                failed = 0
                continue
            image = self._capture.retrieve()
            if image is None:
                failed += 1
                continue
            return self._maker.frame(image, t_s=t_s, captured_at=captured_at)
        raise CameraError("the stream ended or the connection was lost; reconnecting")

    def close(self) -> None:
        """Release everything; from another thread it takes effect when the running call returns."""
        self._capture.close()

    @abstractmethod
    def _connect(self) -> None:
        """Open the capture. Raises CameraError."""

    def _check_silence(self, started_s: float) -> None:
        limit_s = self._settings.read_timeout_s
        if self._clock() - started_s >= 0.9 * limit_s:
            raise CameraTimeoutError(silence(limit_s))


class NetworkSource(LiveSource):
    """rtsp:// (over TCP) and every other URL that FFmpeg understands."""

    def _connect(self) -> None:
        settings = self._settings
        password = settings.password.get_secret_value() if settings.password else None
        url = with_credentials(settings.source, settings.username, password)
        endpoint = endpoint_of(url)
        started_s = self._clock()
        if endpoint is not None:
            connect(endpoint, settings.open_timeout_s).close()
        left_s = max(settings.open_timeout_s - (self._clock() - started_s), 1.0)
        parameters = (
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(left_s * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(settings.read_timeout_s * 1000)),
            *_decoder_threads(),
        )
        started_s = self._clock()
        if not self._capture.open(url, cv2.CAP_FFMPEG, parameters):
            raise self._refusal(url, endpoint, waited_s=self._clock() - started_s, limit_s=left_s)

    def _refusal(
        self, url: str, endpoint: Endpoint | None, *, waited_s: float, limit_s: float
    ) -> CameraError:
        if endpoint is None:
            return CameraError(f"{mask_credentials(url)}: cannot be opened; check the URL")
        if waited_s >= 0.9 * limit_s:
            return CameraError(
                f"{endpoint.shown}: accepts the connection but sends no video "
                f"(timeout after {self._settings.open_timeout_s:g} s); "
                "check the port and the path in source, or restart the camera"
            )
        if endpoint.scheme == "rtsp":
            return CameraError(mask_credentials(explain_rtsp(endpoint, EXPLAIN_TIMEOUT_S)))
        return CameraError(
            f"{endpoint.shown}: not a video stream that can be read, or the login is wrong; "
            "check the URL in a player"
        )


def _decoder_threads() -> tuple[int, ...]:
    # The distributions' OpenCV before 4.7 does not know it, and refuses what it does not know.
    known = getattr(cv2, "CAP_PROP_N_THREADS", None)
    return () if known is None else (known, DECODER_THREADS)


class DeviceSource(LiveSource):
    """/dev/videoN through V4L2."""

    def _connect(self) -> None:
        device = Path(self._settings.source)
        try:
            mode = device.stat().st_mode
        except OSError as error:
            raise CameraError(
                f"{device}: no such device ({error.strerror}); check the cable, "
                "and list the devices with: ls /dev/video*"
            ) from error
        if not stat.S_ISCHR(mode):
            raise CameraError(f"{device}: not a video device; use /dev/videoN, a file or a URL")
        if not os.access(device, os.R_OK | os.W_OK):
            raise CameraError(
                f"{device}: permission denied; add the daemon's user to the group video"
            )
        if not self._capture.open(str(device), cv2.CAP_V4L2):
            raise CameraError(
                f"{device}: not a camera, or another program uses it; "
                "many cameras have a second device for metadata: try the next lower number"
            )
        # Most USB cameras reach their full size and rate only as Motion JPEG.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, WANTED_SIZE_PX[0])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, WANTED_SIZE_PX[1])


class PipelineSource(LiveSource):
    """A GStreamer pipeline that ends in an appsink."""

    def _connect(self) -> None:
        pipeline = self._settings.source
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise CameraError(
                f"this OpenCV ({cv2.__version__}) has no GStreamer, so a pipeline cannot be a "
                "source; use the camera's rtsp:// URL, or an OpenCV with GStreamer "
                "(apt install python3-opencv; on a Jetson the one that JetPack brings)"
            )
        if "appsink" not in pipeline:
            raise CameraError(
                "the GStreamer pipeline has no appsink, so no frame comes out; end it with: "
                "! videoconvert ! video/x-raw,format=BGR ! appsink drop=1 max-buffers=1"
            )
        if not self._capture.open(pipeline, cv2.CAP_GSTREAMER):
            raise CameraError(
                "the GStreamer pipeline does not start; try it with gst-launch-1.0 and fakesink "
                "in place of appsink, it says which element fails"
            )
