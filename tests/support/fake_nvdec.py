"""A GPU with a video decoder, as far as cameras see it, in the host's memory.

Its decoder decodes nothing: the picture of the n-th time has the brightness of `numbered_frame(n)`.
Pictures come out in the order in which they are shown, and lie where the next ones will, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alprd.cameras.surfaces import Place, SurfaceMemory
from support.clips import STEP

PITCH = 512


class FakeDriver:
    """Memory "on the GPU"."""

    context = 1

    def __init__(self) -> None:
        self._blocks: dict[int, NDArray[np.uint8]] = {}
        self.allocated = 0
        self.copies = 0
        self.fetches = 0
        self.streams = 0

    @property
    def held_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks.values())

    @contextmanager
    def current(self) -> Iterator[None]:
        yield

    def new_stream(self) -> int:
        self.streams += 1
        return 7

    def destroy_stream(self, stream: int) -> None:
        assert stream == 7
        self.streams -= 1

    def synchronize(self, stream: int) -> None:
        assert stream == 7

    def allocate(self, size_bytes: int) -> int:
        self.allocated += 1
        block = np.zeros(size_bytes, np.uint8)
        address = int(block.ctypes.data)
        self._blocks[address] = block
        return address

    def free(self, address: int) -> None:
        del self._blocks[address]

    def copy_rows(self, source: Place, target: Place, size: tuple[int, int], stream: int) -> None:
        assert stream == 7
        self.copies += 1
        for row in range(size[1]):
            ctypes.memmove(target[0] + row * target[1], source[0] + row * source[1], size[0])

    def fetch(self, source: Place, rows: NDArray[np.uint8]) -> None:
        self.fetches += 1
        for index, row in enumerate(rows):
            ctypes.memmove(row.ctypes.data, source[0] + index * source[1], row.nbytes)


@dataclass
class FakeGpu:
    """Stands in for `GpuDecoding`.

    Attributes:
        size: of every picture, width and height.
        shown: the packets' numbers in the order in which their pictures are shown.
        fails_at: of all packets so far, the numbers of those that the decoder cannot take.
        layout: of the pictures.
        picture_ticks: from one picture's time to the next one's.
    """

    size: tuple[int, int] = (320, 240)
    shown: Sequence[int] | None = None
    fails_at: frozenset[int] = frozenset()
    layout: str = "NV12"
    picture_ticks: int = 40_000
    driver: FakeDriver = field(default_factory=FakeDriver)
    packets: int = 0
    decoders: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = SurfaceMemory(self.driver)
        self.module = SimpleNamespace(
            PacketData=SimpleNamespace,
            CreateDecoder=self._create,
            cudaVideoCodec=SimpleNamespace(H264="h264", HEVC="hevc"),
            DisplayDecodeLatencyType=SimpleNamespace(LOW="low"),
            VideoPacketFlag=SimpleNamespace(ENDOFPICTURE=8),
        )

    def _create(self, **options: object) -> _FakeDecoder:
        self.decoders.append(options)
        return _FakeDecoder(self)


class _FakeDecoder:
    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self._planes = np.zeros((gpu.size[1] * 3 // 2, PITCH), np.uint8)
        self._times: list[int] = []
        self._waiting: dict[int, int] = {}
        self._packets = 0
        self._next = 0

    def Decode(self, packet: Any) -> list[SimpleNamespace]:  # noqa: N802 -- the module's
        gpu = self._gpu
        if not hasattr(packet, "bsl"):
            left = sorted(self._waiting.values())
            self._waiting.clear()
            return [self._picture(time, own=True) for time in left]
        assert bytes((ctypes.c_char * 2).from_address(packet.bsl_data)) == b"\0\0", "no start code"
        number = gpu.packets
        gpu.packets += 1
        if number in gpu.fails_at:
            raise RuntimeError("cuvidDecodePicture failed:\n  CUDA_ERROR_UNKNOWN")
        self._times.append(packet.pts)
        self._waiting[self._packets] = packet.pts
        self._packets += 1
        if gpu.shown is None:
            return [self._picture(self._waiting.popitem()[1])]
        due = gpu.shown[self._next]
        if due not in self._waiting:
            return []
        self._next += 1
        return [self._picture(self._waiting.pop(due))]

    def _picture(self, time: int, *, own: bool = False) -> SimpleNamespace:
        # The real one gives the times that it got in order, whichever packets they came with.
        told = min(self._times)
        self._times.remove(told)
        width, height = self._gpu.size
        planes = self._planes.copy() if own else self._planes
        bgr = min(time // self._gpu.picture_ticks % 30 * STEP + 8, 255)
        planes[:height] = round(bgr * 219 / 255 + 16)
        planes[height:] = 128
        address = int(planes.ctypes.data)
        return SimpleNamespace(
            timestamp=told,
            format=f"Pixel_Format.{self._gpu.layout}",
            planes=planes,
            cuda=lambda: [
                SimpleNamespace(shape=[height, width, 1], stride=[PITCH, 1, 1], dataptr=address),
                SimpleNamespace(
                    shape=[height // 2, width // 2, 2],
                    stride=[PITCH, 2, 1],
                    dataptr=address + height * PITCH,
                ),
            ],
        )
