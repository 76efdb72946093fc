"""OpenCV's VideoCapture made safe to close from any thread, and its failures made CameraErrors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import cv2
from numpy.typing import NDArray

from alprd.cameras.opencv_setup import prepare_opencv
from alprd.core.types import DeviceSurface
from alprd.ports import CameraError


class Decoded(Protocol):
    """A stream's pictures one after the other: `Capture`, or one that decodes elsewhere."""

    @property
    def closed(self) -> bool:
        """As `Capture`."""

    def open(self, target: str, api: int, parameters: Sequence[int] = ()) -> bool:
        """As `Capture`."""

    def grab(self) -> bool:
        """As `Capture`."""

    @property
    def receiving(self) -> bool:
        """Whether the stream went on though the last `grab` gave no picture."""

    def retrieve(self) -> NDArray[Any] | DeviceSurface | None:
        """As `Capture`."""

    def get(self, prop: int) -> float:
        """As `Capture`; of the grabbed frame."""

    def set(self, prop: int, value: float) -> bool:
        """As `Capture`."""

    def wait_closed(self, timeout_s: float) -> bool:
        """As `Capture`."""

    def close(self) -> None:
        """As `Capture`."""


class Capture:
    """One native capture.

    Releasing a VideoCapture while another thread reads from it crashes the process. So `close`
    only marks a capture that is in a native call; the thread in the call releases it on return.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._native: cv2.VideoCapture | None = None
        self._in_call = False
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """True once `close` was called; a closed capture is never opened again."""
        return self._closed.is_set()

    def open(self, target: str, api: int, parameters: Sequence[int] = ()) -> bool:
        """Open a URL, file, device or pipeline, again if need be; False when OpenCV could not."""
        prepare_opencv()
        with self._call():
            self._release()
            native = cv2.VideoCapture(target, api, list(parameters))
            if not native.isOpened():
                native.release()
                return False
            self._native = native
            return True

    def grab(self) -> bool:
        """Fetch the next frame without converting it; False at the end or on a failure."""
        with self._call():
            return self._native is not None and self._native.grab()

    @property
    def receiving(self) -> bool:
        """False: without a picture OpenCV does not tell whether anything came."""
        return False

    def retrieve(self, channel: int = 0) -> NDArray[Any] | None:
        """The grabbed frame, or another channel's data; None when there is none or it is empty."""
        with self._call():
            if self._native is None:
                return None
            fine, image = self._native.retrieve(flag=channel)
            # The array is OpenCV's own allocation for this call, so it needs no copy.
            return image if fine and image is not None and image.size > 0 else None

    def get(self, prop: int) -> float:
        """A capture property; 0.0 when unknown."""
        with self._call():
            return 0.0 if self._native is None else float(self._native.get(prop))

    def set(self, prop: int, value: float) -> bool:
        """Ask for a capture property; False when the device does not have it."""
        with self._call():
            return self._native is not None and self._native.set(prop, value)

    def wait_closed(self, timeout_s: float) -> bool:
        """Pause; returns True at once when the capture gets closed."""
        return self._closed.wait(timeout_s)

    def close(self) -> None:
        """Release now, or when the native call that is under way returns. Idempotent."""
        with self._lock:
            self._closed.set()
            if not self._in_call:
                self._release()

    def _release(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            native.release()

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._lock:
            if self._closed.is_set():
                raise CameraError("the camera was closed")
            self._in_call = True
        try:
            yield
        except cv2.error as error:
            reason = " ".join(str(error).split())
            raise CameraError(f"OpenCV failed on this stream: {reason[:200]}") from error
        finally:
            with self._lock:
                self._in_call = False
                if self._closed.is_set():
                    self._release()
