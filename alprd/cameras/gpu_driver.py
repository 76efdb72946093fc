"""The few calls of NVIDIA's driver that frames on the GPU need, through ctypes.

The cameras must not depend on PyCUDA, which belongs to `inference/`; the driver's own library is
there wherever NVDEC is. Everything happens in the device's primary context, which inference uses
too, so that one's pointers are good for the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.ports import CameraError

LIBRARY: Final = "libcuda.so.1"
DEVICE: Final = 0
"""The first one; CUDA_VISIBLE_DEVICES says which that is."""

_NON_BLOCKING: Final = 1
_SLEEPING, _WITHOUT_TIME = 1, 2
_HOST, _DEVICE = 1, 2
_OUT_OF_MEMORY: Final = 2


class GpuError(CameraError):
    """The GPU or its driver cannot be used; the message names the remedy."""


class _Copy2D(Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = (
        ("src_x", c_size_t),
        ("src_y", c_size_t),
        ("src_kind", c_uint),
        ("src_host", c_void_p),
        ("src_device", c_uint64),
        ("src_array", c_void_p),
        ("src_pitch", c_size_t),
        ("dst_x", c_size_t),
        ("dst_y", c_size_t),
        ("dst_kind", c_uint),
        ("dst_host", c_void_p),
        ("dst_device", c_uint64),
        ("dst_array", c_void_p),
        ("dst_pitch", c_size_t),
        ("width", c_size_t),
        ("height", c_size_t),
    )


class CudaDriver:
    """The first GPU's primary context, retained until the process ends; usable by any thread."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise GpuError(
                f"no NVIDIA driver ({LIBRARY} cannot be loaded); install it, or set LD_LIBRARY_PATH"
            ) from error
        for name, arguments in _PROTOTYPES.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, c_int
        device, context = c_int(), c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", byref(device), DEVICE)
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self.context = int(context.value or 0)
        """Its handle."""
        self._events: dict[int, int] = {}
        with self.current():
            self._copies = self.new_stream()

    @contextmanager
    def current(self) -> Iterator[None]:
        """The calls in here use the context."""
        self._call("cuCtxPushCurrent_v2", self.context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def new_stream(self) -> int:
        """A stream that waits for no other; call it where the context is current."""
        stream, event = c_void_p(), c_void_p()
        # Waiting for the stream itself would spin: a core of the CPU for every camera.
        self._call("cuEventCreate", byref(event), _SLEEPING | _WITHOUT_TIME)
        try:
            self._call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        except GpuError:
            self._call("cuEventDestroy_v2", event)
            raise
        handle = int(stream.value or 0)
        self._events[handle] = int(event.value or 0)
        return handle

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""
        with self.current():
            self._call("cuStreamDestroy_v2", stream)
            self._call("cuEventDestroy_v2", self._events.pop(stream))

    def allocate(self, size_bytes: int) -> int:
        """The address of so much memory. Raises GpuError."""
        with self.current():
            address = c_uint64()
            self._call("cuMemAlloc_v2", byref(address), size_bytes)
            return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        with self.current():
            self._call("cuMemFree_v2", address)

    def copy_rows(
        self,
        source: tuple[int, int],
        target: tuple[int, int],
        size: tuple[int, int],
        stream: int,
    ) -> None:
        """Start a copy on the GPU; call it where the context is current.

        Args:
            source: address and pitch.
            target: the same.
            size: bytes of a row, and rows.
            stream: in whose order it happens.
        """
        copy = _Copy2D(
            src_kind=_DEVICE,
            src_device=source[0],
            src_pitch=source[1],
            dst_kind=_DEVICE,
            dst_device=target[0],
            dst_pitch=target[1],
            width=size[0],
            height=size[1],
        )
        self._call("cuMemcpy2DAsync_v2", byref(copy), stream)

    def synchronize(self, stream: int) -> None:
        """Sleep until the stream's work is done; call it where the context is current."""
        # Another thread may record it anew meanwhile: then it is for later work of the stream.
        event = self._events[stream]
        self._call("cuEventRecord", event, stream)
        self._call("cuEventSynchronize", event)

    def fetch(self, source: tuple[int, int], rows: NDArray[np.uint8]) -> None:
        """Copy (n, bytes) rows that lie at (address, pitch) on the GPU into memory."""
        copy = _Copy2D(
            src_kind=_DEVICE,
            src_device=source[0],
            src_pitch=source[1],
            dst_kind=_HOST,
            dst_host=rows.ctypes.data,
            dst_pitch=rows.strides[0],
            width=rows.shape[1],
            height=rows.shape[0],
        )
        with self.current():
            # On a stream of its own: the default one would wait for everybody's work.
            self._call("cuMemcpy2DAsync_v2", byref(copy), self._copies)
            self.synchronize(self._copies)

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code == 0:
            return
        text = c_char_p()
        self._library.cuGetErrorString(code, byref(text))
        reason = text.value.decode(errors="replace") if text.value else f"error {code}"
        remedy = (
            'look for what else uses its memory with nvidia-smi, or set decode = "ffmpeg"'
            if code == _OUT_OF_MEMORY
            else "look at nvidia-smi and at dmesg for what the driver says"
        )
        raise GpuError(f"the GPU failed ({name.removesuffix('_v2')}: {reason}); {remedy}")


_PROTOTYPES: Final = {
    "cuInit": (c_uint,),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpy2DAsync_v2": (POINTER(_Copy2D), c_void_p),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}
