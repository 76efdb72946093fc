"""Batches on their way: one is begun, while one is looked at, and one is read.

With models that work while their caller does something else, whoever waits for a batch would do
nothing meanwhile. So the next batch is begun before this one is looked at, and this one's plates
are being read while the next one's frames are copied. Every camera's frames keep their order: what
is read is followed before anything is selected of the batch after it. No batch waits for another
one to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from alprd.core.types import Detection, EndOfStream, Frame, PlateRead
from alprd.inference.batches import Batch, Lookout, Reading
from alprd.ports import Beat


class Follower(Protocol):
    """What becomes of a batch; called in the order of its camera's frames."""

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        """The plates worth reading."""

    def follow(
        self,
        frame: Frame,
        detections: Sequence[Detection],
        reads: Sequence[PlateRead],
        taken_s: float,
    ) -> None:
        """Track, vote, publish; `taken_s` is when the frame was taken."""

    def conclude(self, batch: Batch) -> None:
        """All its frames have been followed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A batch whose plates are being read.

    Attributes:
        batch: as it was begun.
        detected: of each frame that can be processed what was found.
        reading: the same frames' plates.
    """

    batch: Batch
    detected: Sequence[Sequence[Detection]]
    reading: Reading


class Conveyor:
    """Moves batches on, a stage at a time; used by one thread.

    Args:
        lookout: asks the models.
        follower: is given what they say.
        beat: called between the stages.
    """

    def __init__(self, lookout: Lookout, follower: Follower, beat: Beat) -> None:
        self._lookout = lookout
        self._follower = follower
        self._beat = beat
        self._begun: Batch | None = None
        self._read: _Read | None = None

    @property
    def busy(self) -> bool:
        """Whether a batch is on its way."""
        return self._begun is not None or self._read is not None

    def has(self, camera_id: str) -> bool:
        """Whether a frame of this camera is on its way to be followed; a bad one is not."""
        return (self._begun is not None and self._begun.has(camera_id)) or (
            self._read is not None
            and any(frame.camera_id == camera_id for frame in self._read.reading.frames)
        )

    def advance(self, items: Sequence[Frame | EndOfStream]) -> None:
        """Begin a batch of the items, if there are any, and move those before it on by a stage.

        Raises:
            EngineError: a model failed.
        """
        begun = None
        try:
            if items:
                begun = self._lookout.begin(items)
        finally:
            # Also when the detector fails: these frames were begun before.
            self._move_on()
        if begun is not None and begun.pending is None:
            self._move_on()  # it must not overtake the batch before it
            self._read_plates(begun, self._detections(begun))
        else:
            self._begun = begun

    def drain(self) -> None:
        """Do all that is on its way to the end. Raises EngineError: a model failed."""
        while self.busy:
            self._move_on()

    def _move_on(self) -> None:
        read, begun = self._read, self._begun
        self._read = self._begun = None
        found: Sequence[Sequence[Detection] | None] = ()
        if read is not None:
            self._follow(read, self._lookout.certain(read.reading))
        try:
            if begun is not None:
                # The reader may be looking again meanwhile.
                found = self._detections(begun)
        finally:
            if read is not None:
                self._follow(read, self._lookout.others(read.reading))
                self._follower.conclude(read.batch)
        if begun is not None:
            self._read_plates(begun, found)

    def _detections(self, batch: Batch) -> Sequence[Sequence[Detection] | None]:
        found = self._lookout.detections(batch)
        self._beat()
        return found

    def _read_plates(self, batch: Batch, found: Sequence[Sequence[Detection] | None]) -> None:
        """Begin to read what was found in a batch; what needs no reading is followed at once."""
        usable = [
            (frame, detections)
            for frame, detections in zip(batch.frames, found, strict=True)
            if detections is not None
        ]
        frames = [frame for frame, _ in usable]
        detected = [detections for _, detections in usable]
        selected = [*map(self._follower.select, frames, detected)]
        read = _Read(batch, detected, self._lookout.begin_to_read(frames, selected))
        if read.reading.pending is not None:
            self._read = read
            return
        self._follow(read, self._lookout.certain(read.reading))
        self._follower.conclude(batch)

    def _follow(self, read: _Read, reads: Iterable[tuple[int, list[PlateRead] | None]]) -> None:
        """Follow some frames of a batch: by index, what was read; None for a bad frame."""
        for index, plates in reads:
            self._beat()
            if plates is not None:
                frame = read.reading.frames[index]
                self._follower.follow(frame, read.detected[index], plates, read.batch.taken_s)
