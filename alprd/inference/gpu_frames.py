"""Frames on the GPU: each is uploaded once, and stays while detector and reader look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from weakref import ReferenceType, ref

from alprd.core.types import DeviceSurface, FrameImage
from alprd.inference.copying import Copiers, usual_helpers
from alprd.inference.cuda import Device, Event, Stream
from alprd.inference.gpu_layout import Row, bgr, of_surface
from alprd.inference.gpu_memory import Block, Memory, PinnedBlock
from alprd.inference.preprocess import check_image
from alprd.ports import ImageU8


@dataclass(slots=True, eq=False)
class _Slot:
    """Room for one frame.

    Attributes:
        staging: pinned memory, from which the GPU copies (or reads, where the memory is shared).
        block: on the GPU; unused where the memory is shared.
        key: identity of the image that it holds.
        image: that image, while somebody else has it: another one may get its identity then.
        row: where the GPU finds it.
        uploaded: over when the frame is there.
        used: all over when nobody reads it any more: the detector and the reader may at once.
        turn: when it was uploaded last.
        calls: those that have it placed and have not given their work on it yet. It is nobody
            else's to write to meanwhile: what they will record says nothing of that work yet.
    """

    staging: PinnedBlock
    block: Block
    key: int | None = None
    image: ReferenceType[ImageU8] | None = None
    row: Row = (0, 0, 0, 0, 0, 0)
    uploaded: Event | None = None
    used: list[Event] = field(default_factory=list)
    turn: int = 0
    calls: int = 0

    def holds(self, image: ImageU8) -> bool:
        """Whether it is this very object."""
        return self.image is not None and self.image() is image

    @property
    def wanted(self) -> bool:
        """Whether somebody has its image still, and may ask for it."""
        return self.image is not None and self.image() is not None


class GpuFrames:
    """The frames that are on the GPU; several threads may have some placed at once.

    Args:
        device: the GPU.
        slots: frames kept at most; a call takes no more.
        helpers: threads that help to copy frames into pinned memory; None: what the cores bear.
    """

    def __init__(self, device: Device, slots: int, *, helpers: int | None = None) -> None:
        self.slots = slots
        self._device = device
        self._memory = Memory(device, "the frames")
        self._turn = 0
        self._held: dict[int, _Slot] = {}
        # Over who has which slot; nobody copies, or waits for the GPU, while he has it.
        self._books = Condition()
        self._copiers = Copiers(usual_helpers() if helpers is None else helpers)
        with device.current():
            self._stream = device.stream()
            # One more than calls can be on their way: an event that is over is never waited for.
            self._events = [device.event() for _ in range(slots + 1)]
        self._all = [_Slot(PinnedBlock(self._memory), Block(self._memory)) for _ in range(slots)]

    def check(self, images: Sequence[FrameImage]) -> None:
        """Refuse what is no picture. Raises ImageError."""
        for image in images:
            if isinstance(image, DeviceSurface):
                of_surface(image)
            else:
                check_image(image)

    @contextmanager
    def placed(
        self, images: Sequence[FrameImage], stream: Stream, used: Event, *, renew: bool = False
    ) -> Iterator[list[Row]]:
        """Where the GPU finds each image; those that are not there are uploaded.

        Call it where the context is current, and give the stream all work on the images inside.

        Args:
            images: at most `slots` different ones.
            stream: waits until they are there.
            used: is recorded in the end, after the caller's work on them.
            renew: upload what is there, too: its pixels may be others by now.

        Raises:
            ImageError: an image is none; then nothing was changed.
            EngineUnavailable: the GPU has not enough memory.
        """
        hosted: dict[int, ImageU8] = {}
        surfaces: dict[int, Row] = {}
        for image in images:
            if isinstance(image, DeviceSurface):
                surfaces[id(image)] = of_surface(image)
            else:
                check_image(image)
                hosted[id(image)] = image
        slots, fresh = self._taken(hosted, renew=renew)
        try:
            if fresh:
                self._upload([(hosted[key], slots[key]) for key in fresh])
            _wait(stream, (slot.uploaded for slot in slots.values()))
            with self._books:
                for slot in slots.values():
                    if used not in slot.used:
                        slot.used.append(used)
            yield [
                surfaces[id(image)] if id(image) in surfaces else slots[id(image)].row
                for image in images
            ]
            stream.record(used)
        finally:
            with self._books:
                for slot in slots.values():
                    slot.calls -= 1
                self._books.notify_all()

    def _taken(
        self, hosted: Mapping[int, ImageU8], *, renew: bool
    ) -> tuple[dict[int, _Slot], list[int]]:
        """A slot of each image, this call's until it lets go, and the images to be uploaded.

        All at once or none yet: who waits for slots has none that another one may wait for.
        """
        with self._books:
            while True:
                slots = {
                    key: self._held[key]
                    for key, image in hosted.items()
                    if key in self._held and self._held[key].holds(image)
                }
                if renew:  # while another call looks at it, it stays as it is
                    slots = {key: slot for key, slot in slots.items() if not slot.calls}
                absent = [key for key in hosted if key not in slots]
                taken = {id(slot) for slot in slots.values()}
                others = [slot for slot in self._all if id(slot) not in taken]
                if len(absent) > len(others):
                    raise ValueError(f"more than {self.slots} frames in one call")
                free = [slot for slot in others if not slot.calls]
                if len(absent) <= len(free):
                    break
                self._books.wait()
            slots.update(zip(absent, _preferred(free, len(absent)), strict=True))
            fresh = list(hosted) if renew else absent
            self._turn += 1
            for key in fresh:
                self._release(slots[key])
                slots[key].turn = self._turn
            for slot in slots.values():
                slot.calls += 1
            return slots, fresh

    def _release(self, slot: _Slot) -> None:
        if slot.key is not None and self._held.get(slot.key) is slot:
            del self._held[slot.key]
        slot.key = slot.image = None

    def _upload(self, fresh: Sequence[tuple[ImageU8, _Slot]]) -> None:
        """Bring images to slots that are this call's alone."""
        shared = self._device.integrated
        staged: list[tuple[ImageU8, ImageU8]] = []
        for image, slot in fresh:
            # Before memory is written to, what was read from it must have been read.
            for busy in (slot.uploaded, *(slot.used if shared else ())):
                if busy is not None:
                    busy.synchronize()
            staging = slot.staging.reserve(image.nbytes)
            height, width = image.shape[:2]
            address = self._device.mapped(staging) if shared else slot.block.reserve(image.nbytes)
            slot.row = bgr(address, width, height)
            staged.append((staging[: image.nbytes].reshape(image.shape), image))
        if not shared:
            _wait(self._stream, (busy for _, slot in fresh for busy in slot.used))
        with self._copiers.copying(staged) as copied:
            for index in copied:
                if not shared:
                    self._device.upload(fresh[index][1].row[0], staged[index][0], self._stream)
        with self._books:
            event = self._events.pop(0)
            self._events.append(event)
            self._stream.record(event)
            for image, slot in fresh:
                slot.uploaded = event
                slot.used = []
                slot.key, slot.image = id(image), ref(image)
                self._held[id(image)] = slot

    def forget(self) -> None:
        """Hold no frame any more."""
        with self._books:
            for slot in self._all:
                self._release(slot)

    def close(self) -> None:
        """Give the memory back; nobody may be working on the frames."""
        self._copiers.close()
        self.forget()
        self._memory.close()


def _preferred(free: Sequence[_Slot], count: int) -> list[_Slot]:
    """So many of them for other frames."""
    # Not those that were used longest ago: the batch that the reader sees now is older than the
    # one that the detector has already, and goes first. Slots that have no memory yet get some
    # only when the others do not suffice: few cameras should not take what many would.
    return sorted(free, key=lambda slot: (slot.wanted, slot.turn == 0, slot.turn))[:count]


def _wait(stream: Stream, events: Iterable[Event | None]) -> None:
    """Let the stream wait for each event, once."""
    for event in {id(each): each for each in events}.values():
        if event is not None:
            stream.wait(event)
