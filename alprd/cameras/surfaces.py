"""Frames in the GPU's memory: where they lie, how long, and their copies in the host's memory."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.types import DeviceSurface

Place = tuple[int, int]
"""Address on the GPU, and bytes from one row to the next."""

PITCH_BYTES: Final = 256
"""Rows begin at a multiple of it, as the GPU likes to read them."""

SPARE_BYTES: Final = 128 * 1024**2
"""Kept for sizes that nobody asks for just now, such as those of a camera that was taken away."""


class Driver(Protocol):
    """What is asked of the GPU's driver, see `gpu_driver`."""

    def allocate(self, size_bytes: int) -> int:
        """The address of so much memory."""

    def free(self, address: int) -> None:
        """Give memory back."""

    def copy_rows(self, source: Place, target: Place, size: tuple[int, int], stream: int) -> None:
        """Start a copy of (bytes, rows) on the GPU."""

    def fetch(self, source: Place, rows: NDArray[np.uint8]) -> None:
        """Copy rows into the host's memory."""


class SurfaceMemory:
    """The memory of all surfaces; usable by any thread.

    A decoder writes its next pictures over those that it gave, so a picture is copied before it is
    handed on: on the GPU that takes microseconds. The copy's memory comes back here when the last
    one who holds the surface lets go of it, in whatever thread; so newer frames may replace it in
    the mux, and a batch may keep it, without anybody saying so.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._spare: dict[int, deque[int]] = {}

    def nv12(
        self, luma: Place, chroma: Place, size: tuple[int, int], *, full_range: bool, stream: int
    ) -> DeviceSurface:
        """A copy of a picture; it is there when the stream's work is done.

        Call it where the GPU's context is current.

        Args:
            luma: where its first plane is.
            chroma: where its second one is.
            size: width and height, pixels.
            full_range: whether luma goes from 0 to 255.
            stream: of the decoder.
        """
        width, height = size
        row_bytes, chroma_rows = width + width % 2, (height + 1) // 2
        pitch = -(-row_bytes // PITCH_BYTES) * PITCH_BYTES
        lease = self._lease(pitch * chroma_rows * 3)
        first, second = lease.address, lease.address + pitch * chroma_rows * 2
        self._driver.copy_rows(luma, (first, pitch), (row_bytes, height), stream)
        self._driver.copy_rows(chroma, (second, pitch), (row_bytes, chroma_rows), stream)
        return DeviceSurface(
            format="nv12-full" if full_range else "nv12",
            width=width,
            height=height,
            pointers=(first, second),
            pitch=pitch,
            owner=lease,
            to_host=_HostCopy(self._driver, lease, size, pitch, full_range=full_range),
        )

    def _lease(self, size_bytes: int) -> _Lease:
        with self._lock:
            home = self._spare.setdefault(size_bytes, deque())
            try:
                return _Lease(home.popleft(), home)
            except IndexError:  # none has come back yet
                self._free_other_sizes(size_bytes)
            return _Lease(self._driver.allocate(size_bytes), home)

    def _free_other_sizes(self, size_bytes: int) -> None:
        others = {size: home for size, home in self._spare.items() if size != size_bytes}
        if sum(size * len(home) for size, home in others.items()) <= SPARE_BYTES:
            return
        for home in others.values():
            for address in [home.popleft() for _ in range(len(home))]:
                self._driver.free(address)


class _Lease:
    """Memory that is in use while this is referred to."""

    __slots__ = ("__weakref__", "address")

    def __init__(self, address: int, home: deque[int]) -> None:
        self.address = address
        # It may end in any thread, between any two lines, so an append is all that happens then.
        weakref.finalize(self, home.append, address).atexit = False


class _HostCopy:
    """Makes the picture's copy in memory when it is asked for it first."""

    def __init__(
        self, driver: Driver, lease: _Lease, size: tuple[int, int], pitch: int, *, full_range: bool
    ) -> None:
        self._driver = driver
        self._lease = lease
        self._size = size
        self._pitch = pitch
        self._full_range = full_range
        self._lock = threading.Lock()
        self._image: NDArray[np.uint8] | None = None

    def __call__(self) -> NDArray[np.uint8]:
        with self._lock:
            if self._image is None:
                self._image = self._made()
            return self._image

    def _made(self) -> NDArray[np.uint8]:
        width, height = self._size
        even_height = height + height % 2
        planes = np.empty((even_height * 3 // 2, width + width % 2), np.uint8)
        self._driver.fetch((self._lease.address, self._pitch), planes)
        made = _of_full_range(planes) if self._full_range else _of_video_range(planes)
        image = np.ascontiguousarray(made[:height, :width])
        image.flags.writeable = False
        return image


def _of_video_range(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BGR of the rows of luma and, below them, chroma."""
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12), np.uint8)


def _of_full_range(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same; OpenCV knows this range only with colours of full size."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    chroma = planes[height:].reshape(height // 2, width // 2, 2)
    chroma = np.asarray(cv2.resize(chroma, (width, height), interpolation=cv2.INTER_NEAREST))
    ycrcb = cv2.merge((planes[:height], chroma[..., 1], chroma[..., 0]))
    return np.asarray(cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2BGR), np.uint8)
