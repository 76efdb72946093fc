"""The reader on the GPU: plates are cut out of the frames that are there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.inference.cuda import Device
from alprd.inference.decoding import ReaderDecoding
from alprd.inference.gpu_cuts import plan_cuts
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.gpu_layout import BLOCK, CUT, target, tiles
from alprd.inference.gpu_memory import Memory
from alprd.inference.gpu_network import DeviceNetwork, HostOutputs
from alprd.inference.manifest import ReaderManifest
from alprd.inference.reader import corners_of, plate_reads

_THREADS = 64

Plate = tuple[FrameImage, Detection, float]


@dataclass(slots=True, eq=False)
class _Part:
    """Plates that were submitted; `reads` once they have been read, `failure` if that failed."""

    plates: Sequence[Plate]
    quads: Sequence[NDArray[np.float32]]
    reads: list[PlateRead] = field(default_factory=list)
    failure: Exception | None = None


class PendingPlates:
    """Reads that the GPU is working out; implements PendingReads."""

    def __init__(self, reader: GpuReader, parts: Sequence[_Part]) -> None:
        self._reader = reader
        self._parts = parts

    def known(self) -> list[PlateRead | None]:
        """Nothing is, before somebody waits for it."""
        return [None for part in self._parts for _ in part.quads]

    def result(self) -> list[PlateRead]:
        """One read per plate; waits for them.

        Raises:
            EngineError: the network failed.
        """
        return self._reader.settle(self._parts)


class GpuReader:
    """Implements SubmittingReader; used by one thread at a time, whichever it is."""

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
        self._pending: _Part | None = None
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
        return self.submit(plates).result()

    def submit(self, plates: Sequence[Plate]) -> PendingPlates:
        """Begin to read; of more plates than the network takes at once only the last ones pend.

        Raises:
            ImageError: a picture cannot be processed; then nothing was begun.
            EngineError: the network failed.
        """
        self._frames.check([image for image, _, _ in plates])
        with self._device.current():
            return PendingPlates(self, [self._begin(part) for part in self._parts(plates)])

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

    def _begin(self, plates: Sequence[Plate]) -> _Part:
        if self._pending is not None:
            self._settle(self._pending)
        device, stream, count = self._device, self._stream, len(plates)
        width, height = self._size
        quads = np.array([corners_of(plate) for _, plate, _ in plates], np.float32)
        self._used.synchronize()  # our pinned memory may still be read, if the network failed
        rows = self._frames.place([image for image, _, _ in plates], stream, self._used)
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
        self._pending = _Part(plates=plates, quads=list(quads))
        return self._pending

    def settle(self, parts: Sequence[_Part]) -> list[PlateRead]:
        """What `PendingPlates` gives."""
        with self._device.current():
            for part in parts:
                self._settle(part)
                if part.failure is not None:
                    raise part.failure
        return [read for part in parts for read in part.reads]

    def _settle(self, part: _Part) -> None:
        """Wait for a part and decode it, if that was not done yet."""
        if self._pending is not part:
            return
        self._pending = None
        try:
            part.reads = self._finished(part)
        except Exception as error:  # noqa: BLE001 -- for who asks for these reads, not for others
            part.failure = error
        part.plates = ()

    def _finished(self, part: _Part) -> list[PlateRead]:
        """Of the part that pended."""
        self._done.synchronize()  # asleep, as the stream itself would not wait
        width, height = self._size
        count = len(part.plates)
        sums = self._host_sums[:count].sum(axis=1)
        mean, squares = (sums / (width * height)).T
        return plate_reads(
            self._decoding.decode(self._outputs.arrays(count), count),
            part.plates,
            part.quads,
            np.maximum(squares - mean * mean, 0.0).tolist(),
            self._decoding.margins,
        )

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
