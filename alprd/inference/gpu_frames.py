"""Frames on the GPU: each is uploaded once, and stays while detector and reader look at it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
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
    """

    staging: PinnedBlock
    block: Block
    key: int | None = None
    image: ReferenceType[ImageU8] | None = None
    row: Row = (0, 0, 0, 0, 0, 0)
    uploaded: Event | None = None
    used: list[Event] = field(default_factory=list)
    turn: int = 0

    def holds(self, image: ImageU8) -> bool:
        """Whether it is this very object."""
        return self.image is not None and self.image() is image

    @property
    def wanted(self) -> bool:
        """Whether somebody has its image still, and may ask for it."""
        return self.image is not None and self.image() is not None


class GpuFrames:
    """The frames that are on the GPU; used by one thread at a time.

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

    def place(
        self, images: Sequence[FrameImage], stream: Stream, used: Event, *, renew: bool = False
    ) -> list[Row]:
        """Where the GPU finds each image; those that are not there are uploaded.

        Call it where the context is current.

        Args:
            images: at most `slots` different ones.
            stream: waits until they are there.
            used: the caller records it after its work on them.
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
        slots = {
            key: self._held[key]
            for key, image in hosted.items()
            if key in self._held and self._held[key].holds(image)
        }
        fresh = [key for key in hosted if renew or key not in slots]
        absent = [key for key in fresh if key not in slots]
        slots.update(zip(absent, self._free_slots(len(absent), set(slots.values())), strict=True))
        if fresh:
            self._upload([(hosted[key], slots[key]) for key in fresh])
        _wait(stream, (slot.uploaded for slot in slots.values()))
        for slot in slots.values():
            if used not in slot.used:
                slot.used.append(used)
        return [
            surfaces[id(image)] if id(image) in surfaces else slots[id(image)].row
            for image in images
        ]

    def _free_slots(self, count: int, taken: Collection[_Slot]) -> list[_Slot]:
        """So many of those that are not taken for this call."""
        free = [slot for slot in self._all if slot not in taken]
        if count > len(free):
            raise ValueError(f"more than {self.slots} frames in one call")
        # Not those that were used longest ago: the batch that the reader sees now is older than the
        # one that the detector has already, and goes first. Slots that have no memory yet get some
        # only when the others do not suffice: few cameras should not take what many would.
        chosen = sorted(free, key=lambda slot: (slot.wanted, slot.turn == 0, slot.turn))[:count]
        for slot in chosen:
            self._release(slot)
        return chosen

    def _release(self, slot: _Slot) -> None:
        if slot.key is not None and self._held.get(slot.key) is slot:
            del self._held[slot.key]
        slot.key = slot.image = None

    def _upload(self, fresh: Sequence[tuple[ImageU8, _Slot]]) -> None:
        shared = self._device.integrated
        staged: list[tuple[ImageU8, ImageU8]] = []
        self._turn += 1
        # Before memory is written to, what was read from it must have been read.
        for busy in _once(slot.uploaded for _, slot in fresh):
            busy.synchronize()
        if shared:
            for busy in _once(busy for _, slot in fresh for busy in slot.used):
                busy.synchronize()
        for image, slot in fresh:
            self._release(slot)
            slot.turn = self._turn
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
        for slot in self._all:
            self._release(slot)

    def close(self) -> None:
        """Give the memory back; nobody may be working on the frames."""
        self._copiers.close()
        self.forget()
        self._memory.close()


def _wait(stream: Stream, events: Iterable[Event | None]) -> None:
    """Let the stream wait for each event, once."""
    for event in _once(events):
        stream.wait(event)


def _once(events: Iterable[Event | None]) -> Iterable[Event]:
    """Each event once: the frames of a call share theirs."""
    return {id(each): each for each in events if each is not None}.values()
