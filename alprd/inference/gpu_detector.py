"""The detector on the GPU: frames in, few numbers out; batches are on their way at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import Placement, letterbox, stretch
from alprd.core.types import Detection, DeviceSurface, FrameImage, image_size
from alprd.inference.aside import Aside, Task
from alprd.inference.copying import worth_a_thread
from alprd.inference.cuda import Device, Event
from alprd.inference.cuda_graphs import STILLNESS
from alprd.inference.decoding import DetectorDecoding
from alprd.inference.gpu_candidates import GpuCandidates, gatherable
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.gpu_layout import BLOCK, FIT, Row, bgr, halvings, target, tiles
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
    """A batch that was submitted.

    Attributes:
        images: until its results have been taken.
        set_: what it needs, until then.
        placements: of each image, once it was given to the GPU.
        task: that gives it to the GPU, where another thread does so.
        failure: why that was not done.
        found: its results.
    """

    images: Sequence[FrameImage]
    set_: _Set | None
    placements: Sequence[Placement] = ()
    task: Task | None = None
    failure: BaseException | None = None
    found: list[list[Detection]] = field(default_factory=list)


class Pending:
    """Detections that the GPU is working out; implements PendingDetections."""

    def __init__(self, detector: GpuDetector, batches: Sequence[_Batch]) -> None:
        self._detector = detector
        self._batches = batches

    def result(self) -> list[list[Detection]]:
        """Detections of each image; waits for them.

        Raises:
            EngineError: the network failed, or the GPU has not enough memory.
        """
        return self._detector.settle(self._batches)


class GpuDetector:
    """Implements SubmittingDetector; used by one thread at a time, whichever it is.

    Frames that must be copied to the GPU are copied by a thread of its own, which then launches
    all the work on them, while whoever submitted them goes on. Batches are begun in order, and
    one after the other, whoever begins them.
    """

    def __init__(
        self,
        manifest: DetectorManifest,
        network: DeviceNetwork,
        frames: GpuFrames,
        device: Device,
        *,
        aside: bool | None = None,
    ) -> None:
        """Allocate what as many batches need as there is room for frames.

        Args:
            manifest: of the model.
            network: its engine.
            frames: where the frames are kept; with room for two batches.
            device: the GPU.
            aside: let a thread of its own begin batches; None: where there is a core for it.

        Raises:
            EngineUnavailable: the GPU has not enough memory.
        """
        self._apart = worth_a_thread() if aside is None else aside
        self._aside = Aside("alprd-upload")
        self._begun = Counter[int]()
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
        return self._submitted(images, aside=False).result()

    def submit(self, images: Sequence[FrameImage]) -> Pending:
        """Begin to detect. The images must not change before the result is there.

        Raises:
            ImageError: a picture cannot be processed; then nothing was begun.
            EngineError: the network failed.
        """
        # What a decoder left on the GPU need not be copied: no thread is sooner than this one.
        copied = not all(isinstance(image, DeviceSurface) for image in images)
        return self._submitted(images, aside=self._apart and copied)

    def _submitted(self, images: Sequence[FrameImage], *, aside: bool) -> Pending:
        with self._device.current():
            parts = [
                images[start : start + self.max_batch]
                for start in range(0, len(images), self.max_batch)
            ]
            self._frames.check(images)
            return Pending(self, [self._begin(part, aside=aside) for part in parts])

    def _begin(self, images: Sequence[FrameImage], *, aside: bool) -> _Batch:
        set_ = self._sets[self._next]
        if set_.batch is not None:
            self._settle(set_.batch)
        batch = _Batch(images=images, set_=set_)
        count = len(images)
        self._begun[count] += 1
        # The first batches of a size load, and the second is captured: that is left to the thread
        # which loads and captures for the other networks, too. Should something else have kept
        # the capture from it, the fourth, eighth, ... has another chance.
        if aside and self._begun[count] & (self._begun[count] - 1):
            batch.task = self._aside.begin(partial(self._launch_aside, batch, set_))
        else:
            self._aside.wait()
            self._launch(batch, set_)
        self._next = (self._next + 1) % len(self._sets)
        set_.batch = batch
        return batch

    def _launch_aside(self, batch: _Batch, set_: _Set) -> None:
        """On the other thread."""
        with self._device.current():
            self._launch(batch, set_, apart=True)

    def _launch(self, batch: _Batch, set_: _Set, *, apart: bool = False) -> None:
        """Give the GPU all work on a batch."""
        stream, count = self._stream, len(batch.images)
        set_.used.synchronize()  # its pinned memory may still be read, if the network failed
        with self._frames.placed(batch.images, stream, set_.used, renew=True) as rows:
            batch.placements = self._fit(rows, batch.images, set_.fits[:count])
        if apart:
            with STILLNESS.disturbed():  # nothing is captured here, nor elsewhere meanwhile
                self._network.enqueue(count, stream)
        else:
            self._network.enqueue(count, stream)
        set_.results.fetch(count, stream)
        stream.record(set_.done)

    def _fit(
        self, rows: Sequence[Row], images: Sequence[FrameImage], fits: NDArray[np.void]
    ) -> Sequence[Placement]:
        """Let the stream make the network's input of the images; where they lie in it.

        Args:
            rows: where the images are.
            images: of one batch.
            fits: (count,) `FIT` in pinned memory.
        """
        device, stream, spec, count = self._device, self._stream, self._spec, len(images)
        placements, halves = zip(*[self._place(image_size(image)) for image in images], strict=True)
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
        return placements

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
        for batch in batches:
            if batch.failure is not None:
                raise batch.failure
        return [detections for batch in batches for detections in batch.found]

    def _settle(self, batch: _Batch) -> None:
        """Wait for a batch and decode it, if that was not done yet."""
        set_, batch.set_ = batch.set_, None
        if set_ is None:
            return
        set_.batch = None
        task, batch.task = batch.task, None
        if task is not None:
            batch.failure = task.failure()  # for whoever asks for this batch, and nobody else
            if batch.failure is not None:
                batch.images = ()
                return
        set_.done.synchronize()
        batch.images = ()
        if isinstance(set_.results, GpuCandidates):
            batch.found = set_.results.detections(batch.placements)
        else:
            outputs = set_.results.arrays(len(batch.placements))
            batch.found = self._decoding.decode(outputs, batch.placements)

    def close(self) -> None:
        """Give the memory back, and end the thread; what pends is lost."""
        self._aside.close()
        self._memory.close()
