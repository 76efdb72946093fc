"""The detector on the GPU: frames in, few numbers out; batches are on their way at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import Placement, letterbox, stretch
from alprd.core.types import Detection, FrameImage, image_size
from alprd.inference.cuda import Device, Event
from alprd.inference.decoding import DetectorDecoding
from alprd.inference.gpu_candidates import GpuCandidates, gatherable
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.gpu_layout import BLOCK, FIT, bgr, halvings, target, tiles
from alprd.inference.gpu_memory import Block, Memory
from alprd.inference.gpu_network import DeviceNetwork, HostOutputs
from alprd.inference.manifest import DetectorManifest

_SIZES = 64
_SETS_LEAST = 2
"""Calls that can be on their way: one is computed while the other one is uploaded or decoded."""


@dataclass(slots=True, eq=False)
class _Set:
    """What one batch on its way needs.

    Attributes:
        fits: (max_batch,) `FIT` in pinned memory.
        used: over when the frames have been looked at.
        done: over when the results lie in host memory.
        batch: whose results they are, until they have been taken.
    """

    fits: NDArray[np.void]
    results: GpuCandidates | HostOutputs
    used: Event
    done: Event
    batch: _Batch | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch that was submitted; `found` once that is known, `failure` if it never will be."""

    placements: Sequence[Placement]
    images: Sequence[FrameImage]
    set_: _Set | None
    found: list[list[Detection]] = field(default_factory=list)
    failure: Exception | None = None


class Pending:
    """Detections that the GPU is working out; implements PendingDetections."""

    def __init__(self, detector: GpuDetector, batches: Sequence[_Batch]) -> None:
        self._detector = detector
        self._batches = batches

    def result(self) -> list[list[Detection]]:
        """Detections of each image; waits for them.

        Raises:
            EngineError: the network failed.
        """
        return self._detector.settle(self._batches)


class GpuDetector:
    """Implements SubmittingDetector; used by one thread at a time, whichever it is."""

    def __init__(
        self,
        manifest: DetectorManifest,
        network: DeviceNetwork,
        frames: GpuFrames,
        device: Device,
    ) -> None:
        """Allocate what as many batches need as there is room for frames.

        Args:
            manifest: of the model.
            network: its engine.
            frames: where the frames are kept; with room for two batches.
            device: the GPU.

        Raises:
            EngineUnavailable: the GPU has not enough memory.
        """
        self._spec = manifest.input
        self._decoding = DetectorDecoding(manifest)
        self._network = network
        self._frames = frames
        self._device = device
        place = letterbox if manifest.input.resize == "letterbox" else stretch
        input_size = (self._spec.width, self._spec.height)

        @lru_cache(_SIZES)  # cameras keep their sizes
        def placed(frame_size: tuple[int, int]) -> tuple[Placement, int]:
            """Where a frame of this size lies in the input, and how often it is halved."""
            placement = place(frame_size, input_size)
            return placement, halvings(*frame_size, placement)

        self._place = placed
        self.max_batch = 1 if self._decoding.one_by_one else network.max_batch
        self._memory = Memory(device, "the detector")
        self._next = 0
        try:
            with device.current():
                self._stream = device.stream()
                self._target = self._memory.on_device(target(self._spec).nbytes)
                device.upload(self._target, target(self._spec), self._stream)
                self._fits = self._memory.on_device(FIT.itemsize * self.max_batch)
                self._halves = Block(self._memory)
                gather = gatherable(manifest, network)
                self._sets = [
                    _Set(
                        fits=self._memory.pinned(FIT.itemsize * self.max_batch).view(FIT),
                        results=(
                            GpuCandidates(manifest, network, device, self._memory)
                            if gather
                            else HostOutputs(network, self._decoding.outputs, device, self._memory)
                        ),
                        used=device.event(),
                        done=device.event(),
                    )
                    # With a network that takes fewer frames, a batch is several calls.
                    for _ in range(max(_SETS_LEAST, frames.slots // self.max_batch))
                ]
                self._stream.synchronize()
        except BaseException:
            self._memory.close()
            raise

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        """Detections of each image, best score first, in the image's own pixels.

        Raises:
            ImageError: a picture cannot be processed; then none of the batch was.
            EngineError: the network failed.
        """
        return self.submit(images).result()

    def submit(self, images: Sequence[FrameImage]) -> Pending:
        """Begin to detect. The images must not change before the result is there.

        Raises:
            ImageError: a picture cannot be processed; then nothing was begun.
            EngineError: the network failed.
        """
        with self._device.current():
            parts = [
                images[start : start + self.max_batch]
                for start in range(0, len(images), self.max_batch)
            ]
            self._frames.check(images)
            return Pending(self, [self._begin(part) for part in parts])

    def _begin(self, images: Sequence[FrameImage]) -> _Batch:
        device, stream, spec = self._device, self._stream, self._spec
        set_ = self._sets[self._next]
        if set_.batch is not None:
            self._settle(set_.batch)
        set_.used.synchronize()  # its pinned memory may still be read, if the network failed
        rows = self._frames.place(images, stream, set_.used, renew=True)
        placements, halves = zip(*[self._place(image_size(image)) for image in images], strict=True)
        count = len(images)
        fits = set_.fits[:count]
        fits["source"] = rows
        for key, values in (
            ("x", [placed.offset_x for placed in placements]),
            ("y", [placed.offset_y for placed in placements]),
            ("width", [placed.width for placed in placements]),
            ("height", [placed.height for placed in placements]),
        ):
            fits[key] = values
        steps, largest = self._plan_halves(fits, placements, halves)
        device.upload(self._fits, fits.view(np.uint8), stream)
        for step in range(steps):
            width, height = largest[0] >> (step + 1), largest[1] >> (step + 1)
            device.launch("halve", tiles(width, height, count), BLOCK, stream, (self._fits, step))
        device.launch(
            "fit",
            tiles(spec.width, spec.height, count),
            BLOCK,
            stream,
            (self._fits, self._target, self._network.input),
        )
        stream.record(set_.used)
        self._network.enqueue(count, stream)
        set_.results.fetch(count, stream)
        stream.record(set_.done)
        self._next = (self._next + 1) % len(self._sets)
        batch = _Batch(placements=placements, images=images, set_=set_)
        set_.batch = batch
        return batch

    def _plan_halves(
        self, fits: NDArray[np.void], placements: Sequence[Placement], counts: Sequence[int]
    ) -> tuple[int, tuple[int, int]]:
        """Give every frame that must be halved, so often, memory for it.

        Returns:
            How often at most, and the width and height of the largest such frame.
        """
        if not any(counts):
            return 0, (0, 0)
        sizes = [
            (placed.frame_width // 2, placed.frame_height // 2) if count else (0, 0)
            for placed, count in zip(placements, counts, strict=True)
        ]
        # The second half is a quarter of the first one, and the third takes the first one's place.
        rooms = [3 * width * height for width, height in sizes]
        address = self._halves.reserve(sum(room + room // 4 for room in rooms))
        for fit, room, (width, height) in zip(fits, rooms, sizes, strict=True):
            fit["half"][0] = bgr(address, width, height)
            fit["half"][1] = bgr(address + room, width // 2, height // 2)
            address += room + room // 4
        return max(counts), (
            max(placed.frame_width for placed in placements),
            max(placed.frame_height for placed in placements),
        )

    def settle(self, batches: Sequence[_Batch]) -> list[list[Detection]]:
        """What `Pending` gives."""
        with self._device.current():
            for batch in batches:
                self._settle(batch)
                if batch.failure is not None:
                    raise batch.failure
        return [detections for batch in batches for detections in batch.found]

    def _settle(self, batch: _Batch) -> None:
        """Wait for a batch and decode it, if that was not done yet."""
        set_, batch.set_ = batch.set_, None
        if set_ is None:
            return
        set_.batch = None
        try:
            batch.found = self._finished(set_, batch.placements)
        except Exception as error:  # noqa: BLE001 -- for who asks for this batch, not for others
            batch.failure = error
        batch.images = ()

    def _finished(self, set_: _Set, placements: Sequence[Placement]) -> list[list[Detection]]:
        """Of the batch that the set was given."""
        set_.done.synchronize()
        if isinstance(set_.results, GpuCandidates):
            return set_.results.detections(placements)
        return self._decoding.decode(set_.results.arrays(len(placements)), placements)

    def close(self) -> None:
        """Give the memory back; what pends is lost."""
        self._memory.close()
