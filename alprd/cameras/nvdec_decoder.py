"""PyNvVideoCodec: packets in, pictures in the GPU's memory out.

The module is imported only when a camera is to be decoded by the GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from alprd.cameras import h264, h265
from alprd.cameras.gpu_driver import CudaDriver, GpuError
from alprd.cameras.surfaces import SurfaceMemory
from alprd.core.types import DeviceSurface
from alprd.ports import CameraError
from alprd.stillness import STILLNESS

MODULE: Final = "PyNvVideoCodec"
PARAMETERS_BYTES: Final = 4096
"""A stream's parameters are at the beginning of a packet; the rest may be large."""


class Plane(Protocol):
    """A part of a decoded picture."""

    shape: Sequence[int]
    stride: Sequence[int]
    dataptr: int


class Picture(Protocol):
    """A decoded picture, as PyNvVideoCodec has it."""

    timestamp: int
    format: object

    def cuda(self) -> Sequence[Plane]:
        """Its planes."""


class NvdecRefused(CameraError):  # noqa: N818 -- says what it is
    """NVDEC cannot decode this stream, or not here; FFmpeg may be able to."""


class GpuDecoding:
    """What all decoders share."""

    def __init__(self) -> None:
        self.module = _imported()
        try:
            self.driver = CudaDriver()
        except GpuError as error:
            raise NvdecRefused(str(error)) from error
        self.memory = SurfaceMemory(self.driver)


class Decoder:
    """One stream's decoder, and its stream of work on the GPU.

    It begins and ends while no CUDA graph is recorded: what it may wait for is refused meanwhile,
    and the CPU would decode the camera until it is opened again.
    """

    def __init__(self, gpu: GpuDecoding, codec: str, *, live: bool) -> None:
        self._gpu = gpu
        self._live = live
        self._is_full_range = (h264 if codec == "H264" else h265).is_full_range
        self._full_range = False
        self._begun = False
        module, driver = gpu.module, gpu.driver
        with driver.current():
            self._stream = driver.new_stream()
        # Without it the module holds pictures back, so that more are decoded at the same time.
        delay = {"latency": module.DisplayDecodeLatencyType.LOW} if live else {}
        try:
            with STILLNESS.disturbed(), _refusals("cannot start"):
                self._native: Any = module.CreateDecoder(
                    gpuid=0,
                    codec=getattr(module.cudaVideoCodec, codec),
                    cudacontext=driver.context,
                    cudastream=self._stream,
                    usedevicememory=True,
                    **delay,
                )
        except NvdecRefused:
            # A camera tries again for ever. Why it was refused matters more than what follows.
            with suppress(GpuError):
                driver.destroy_stream(self._stream)
            raise

    def decode(self, packet: NDArray[np.uint8] | None, time: int) -> list[Picture]:
        """Pictures in the order in which they are shown, until the next call.

        Args:
            packet: (n,) of one picture; None at the end: what was held back comes out.
            time: when its picture is to be shown, in any unit; the picture's `timestamp`.
        """
        data = self._gpu.module.PacketData()
        data.pts = time
        if packet is not None:
            data.bsl = packet.nbytes
            data.bsl_data = packet.ctypes.data
            # Cameras change it when they are set up anew, without ending the stream.
            told = self._is_full_range(packet.reshape(-1)[:PARAMETERS_BYTES].tobytes())
            self._full_range = self._full_range if told is None else told
            if self._live:
                data.decode_flag = int(self._gpu.module.VideoPacketFlag.ENDOFPICTURE)
        with ExitStack() as stack:
            if not self._begun:  # the first packets make what the others use
                stack.enter_context(STILLNESS.disturbed())
            stack.enter_context(_refusals("cannot decode this stream"))
            pictures = list(self._native.Decode(data))
        self._begun = self._begun or bool(pictures)
        return pictures

    def surface(self, picture: Picture) -> DeviceSurface:
        """A copy of one of the pictures that were decoded last."""
        layout = str(picture.format).rpartition(".")[2]
        if layout != "NV12":
            raise NvdecRefused(f"its pictures are {layout}, and not 4:2:0 of 8 bits")
        luma, chroma = picture.cuda()
        height, width = int(luma.shape[0]), int(luma.shape[1])
        driver = self._gpu.driver
        with driver.current():
            surface = self._gpu.memory.nv12(
                (int(luma.dataptr), int(luma.stride[0])),
                (int(chroma.dataptr), int(chroma.stride[0])),
                (width, height),
                full_range=self._full_range,
                stream=self._stream,
            )
            # The decoder copied it there on this stream, too; now it is there for everybody.
            driver.synchronize(self._stream)
        return surface

    def close(self) -> None:
        """End it."""
        with STILLNESS.disturbed():
            self._native = None
        self._gpu.driver.destroy_stream(self._stream)


@lru_cache(maxsize=1)
def gpu_decoding() -> GpuDecoding:
    """Raises NvdecRefused, each time, while there is none."""
    return GpuDecoding()


def _imported() -> ModuleType:
    try:
        return importlib.import_module(MODULE)
    except ModuleNotFoundError as error:
        raise NvdecRefused(f"{MODULE} is not installed; pip install {MODULE}") from error
    except (ImportError, OSError, RuntimeError) as error:
        # Several lines of advice for containers follow the first one.
        reason = str(error).strip().partition("\n")[0]
        raise NvdecRefused(
            f"{MODULE} cannot be used ({reason}); install the driver's video libraries "
            "(libnvidia-decode and libnvidia-encode), or set LD_LIBRARY_PATH"
        ) from error


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the module's own have no common base but this one
        reason = " ".join(str(error).split())[:200]
        raise NvdecRefused(f"NVDEC {what}: {reason}") from error
