"""The reader on the GPU: plates are cut out of the frames that are there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.inference.cuda import Device
from alprd.inference.decoding import CropText, ReaderDecoding
from alprd.inference.gpu_cuts import plan_cuts
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.gpu_layout import BLOCK, CUT, target, tiles
from alprd.inference.gpu_memory import Memory
from alprd.inference.gpu_network import DeviceNetwork, HostOutputs
from alprd.inference.manifest import ReaderManifest
from alprd.inference.reader import corners_of, plate_reads

_THREADS = 64

Plate = tuple[FrameImage, Detection, float]


class GpuReader:
    """Implements the PlateReader port; used by one thread at a time, whichever it is."""

    def __init__(
        self,
        manifest: ReaderManifest,
        network: DeviceNetwork,
        frames: GpuFrames,
        device: Device,
    ) -> None:
        """Allocate what a batch needs.

        Args:
            manifest: of the model.
            network: its engine.
            frames: where the frames are kept.
            device: the GPU.

        Raises:
            EngineUnavailable: the GPU has not enough memory.
        """
        spec = manifest.input
        self._size = (spec.width, spec.height)
        self._decoding = ReaderDecoding(manifest)
        self._network = network
        self._frames = frames
        self._device = device
        self._memory = Memory(device, "the reader")
        rows, pixels = network.max_batch, spec.width * spec.height
        try:
            with device.current():
                self._stream = device.stream()
                self._used = device.event()
                self._done = device.event()
                self._target = self._memory.on_device(target(spec).nbytes)
                device.upload(self._target, target(spec), self._stream)
                self._cuts = self._memory.on_device(CUT.itemsize * rows)
                self._host_cuts = self._memory.pinned(CUT.itemsize * rows).view(CUT)
                self._crops = self._memory.on_device(3 * pixels * rows)
                # Of each line of a crop the sum and the sum of squares.
                self._sums = self._memory.on_device(16 * spec.height * rows)
                self._host_sums = (
                    self._memory.pinned(16 * spec.height * rows)
                    .view(np.int64)
                    .reshape(rows, spec.height, 2)
                )
                self._outputs = HostOutputs(network, self._decoding.outputs, device, self._memory)
                self._stream.synchronize()
        except BaseException:
            self._memory.close()
            raise

    def read(self, plates: Sequence[Plate]) -> list[PlateRead]:
        """One read per (full frame image, plate detection with quad, t_s), in that order.

        Raises:
            ImageError: a picture cannot be processed; then nothing was read.
            EngineError: the network failed.
        """
        self._frames.check([image for image, _, _ in plates])
        reads: list[PlateRead] = []
        with self._device.current():
            for part in self._parts(plates):
                reads += self._read(part)
        return reads

    def _parts(self, plates: Sequence[Plate]) -> Iterator[Sequence[Plate]]:
        """As many plates at a time as the network takes, of no more frames than can be there."""
        start, frames = 0, set[int]()
        for index, (image, _, _) in enumerate(plates):
            full = index - start == self._network.max_batch
            if full or (id(image) not in frames and len(frames) == self._frames.slots):
                yield plates[start:index]
                start, frames = index, set()
            frames.add(id(image))
        if start < len(plates):
            yield plates[start:]

    def _read(self, plates: Sequence[Plate]) -> list[PlateRead]:
        quads = np.array([corners_of(plate) for _, plate, _ in plates], np.float32)
        found, sharpness = self._crop_texts([image for image, _, _ in plates], quads)
        return plate_reads(found, plates, list(quads), sharpness, self._decoding.margins)

    def _crop_texts(
        self, images: Sequence[FrameImage], quads: NDArray[np.float32]
    ) -> tuple[list[CropText], list[float]]:
        """What the network says of each plate, and the plates' sharpness."""
        device, stream, count = self._device, self._stream, len(images)
        width, height = self._size
        self._used.synchronize()  # our pinned memory may still be read, if the network failed
        rows = self._frames.place(images, stream, self._used)
        self._host_cuts[:count] = plan_cuts(rows, quads, self._size, self._decoding.margins)
        device.upload(self._cuts, self._host_cuts[:count].view(np.uint8), stream)
        device.launch(
            "rectify",
            tiles(width, height, count),
            BLOCK,
            stream,
            (self._cuts, self._target, self._network.input, self._crops),
        )
        stream.record(self._used)
        device.launch(
            "laplacian",
            (-(-height // _THREADS), 1, count),
            (_THREADS, 1, 1),
            stream,
            (self._crops, width, height, self._sums),
        )
        self._network.enqueue(count, stream)
        device.download(self._host_sums[:count], self._sums, stream)
        self._outputs.fetch(count, stream)
        stream.record(self._done)
        self._done.synchronize()  # asleep, as the stream itself would not wait
        sums = self._host_sums[:count].sum(axis=1)
        mean, squares = (sums / (width * height)).T
        sharpness: list[float] = np.maximum(squares - mean * mean, 0.0).tolist()
        return self._decoding.decode(self._outputs.arrays(count), count), sharpness

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
