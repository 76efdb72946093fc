"""What is asked of the models about a batch; one bad frame costs only itself.

With a detector and a reader that can work while their caller does something else, asking and
looking at the answer are apart; `Conveyor` says when which batch has its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from alprd.core.types import Detection, EndOfStream, Frame, FrameImage, PlateRead
from alprd.inference.figures import StageFigures
from alprd.inference.preprocess import ImageError
from alprd.ports import (
    Clock,
    Detector,
    PendingDetections,
    PendingReads,
    PlateReader,
    SubmittingDetector,
    SubmittingReader,
)

Complain = Callable[[Frame, ImageError], None]
"""Told of a frame that cannot be processed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What was taken from the mux at once.

    Attributes:
        frames: those to look at, at most one per camera.
        ended: cameras whose stream is over; the end never overtakes a camera's last frame.
        taken_s: when, on the thread's clock.
        pending: their detections, where the detector works on them already.
        begun_s: how long it took to begin.
    """

    frames: tuple[Frame, ...]
    ended: tuple[str, ...]
    taken_s: float
    pending: PendingDetections | None = None
    begun_s: float = 0.0

    def has(self, camera_id: str) -> bool:
        """Whether one of the frames is of this camera."""
        return any(frame.camera_id == camera_id for frame in self.frames)


@dataclass(slots=True, kw_only=True, eq=False)
class Reading:
    """Plates of a batch that are being read.

    Attributes:
        frames: of the batch, those that can be processed.
        selected: of each its plates worth reading.
        pending: their reads, where the reader works on them already.
        took_s: how long it took so far, without what the caller did meanwhile.
        later: indices of frames with plates at which the reader is looking again.
    """

    frames: Sequence[Frame]
    selected: Sequence[Sequence[Detection]]
    pending: PendingReads | None
    took_s: float
    later: list[int] = field(default_factory=list)


class Lookout:
    """Asks the models about batches; used by one thread.

    Args:
        detector: of the models.
        reader: of the models.
        figures: is told how long it takes.
        clock: monotonic seconds.
        complain: told of each frame that cannot be processed.
    """

    def __init__(
        self,
        detector: Detector,
        reader: PlateReader,
        *,
        figures: StageFigures,
        clock: Clock,
        complain: Complain,
    ) -> None:
        self._detector = detector
        self._submitting = detector if isinstance(detector, SubmittingDetector) else None
        self._reader = reader
        self._reading = reader if isinstance(reader, SubmittingReader) else None
        self._figures = figures
        self._clock = clock
        self._complain = complain

    def begin(self, items: Sequence[Frame | EndOfStream]) -> Batch:
        """Begin to detect, where the detector can; else that is done when it is asked for.

        Raises:
            EngineError: the detector failed.
        """
        taken_s = self._clock()
        frames = tuple(item for item in items if isinstance(item, Frame))
        ended = tuple(item.camera_id for item in items if isinstance(item, EndOfStream))
        pending = None
        if frames and self._submitting is not None:
            try:
                pending = self._submitting.submit([frame.image for frame in frames])
            except ImageError:
                pending = None  # which of them is bad is found out when its turn comes
        return Batch(
            frames=frames,
            ended=ended,
            taken_s=taken_s,
            pending=pending,
            begun_s=self._clock() - taken_s if self._submitting is not None else 0.0,
        )

    def detections(self, batch: Batch) -> list[list[Detection] | None]:
        """Per frame its detections; None for a frame that cannot be processed.

        Raises:
            EngineError: the detector failed.
        """
        self._figures.count("frames", len(batch.frames))
        asked_s = self._clock()
        found = self._detected(batch.frames, batch.pending)
        took_s = batch.begun_s + self._clock() - asked_s
        self._figures.note("detect", took_s, len(batch.frames))
        return found

    def _detected(
        self, frames: Sequence[Frame], pending: PendingDetections | None
    ) -> list[list[Detection] | None]:
        if not frames:
            return []
        try:
            if pending is not None:
                return list(pending.result())
            return list(self._detector.detect([frame.image for frame in frames]))
        except ImageError as error:
            if len(frames) > 1:  # one bad frame must not cost the others theirs
                return [self._detected([frame], None)[0] for frame in frames]
            self._complain(frames[0], error)
            return [None]

    def begin_to_read(
        self, frames: Sequence[Frame], selected: Sequence[Sequence[Detection]]
    ) -> Reading:
        """Begin to read, where the reader can; else that is done when the reads are asked for.

        Raises:
            EngineError: the reader failed.
        """
        self._figures.count("plates", sum(map(len, selected)))
        asked_s = self._clock()
        pending = None
        if self._reading is not None and any(selected):
            try:
                pending = self._reading.submit(_plates(frames, selected))
            except ImageError:
                pending = None  # which of the frames is bad is found out by reading
        took_s = self._clock() - asked_s
        return Reading(frames=frames, selected=selected, pending=pending, took_s=took_s)

    def certain(self, reading: Reading) -> list[tuple[int, list[PlateRead] | None]]:
        """Per frame its index and one read per selected plate; None if it cannot be processed.

        Frames with a plate at which the reader is looking again, by itself, are left to `others`:
        what the caller does meanwhile takes no time of its own.

        Raises:
            EngineError: the reader failed.
        """
        asked_s = self._clock()
        found: list[tuple[int, list[PlateRead] | None]] = []
        known = self._known(reading)
        if known is None:
            found += enumerate(self._read(reading.frames, reading.selected))
        else:
            left = iter(known)
            for index, chosen in enumerate(reading.selected):
                reads = [read for read in islice(left, len(chosen)) if read is not None]
                if len(reads) == len(chosen):
                    found.append((index, reads))
                else:
                    reading.later.append(index)
        reading.took_s += self._clock() - asked_s
        if not reading.later:
            self._note_reading(reading)
        return found

    def _known(self, reading: Reading) -> list[PlateRead | None] | None:
        """None where they must be read one after the other."""
        try:
            return None if reading.pending is None else reading.pending.known()
        except ImageError:
            return None  # as in `begin_to_read`

    def others(self, reading: Reading) -> list[tuple[int, list[PlateRead] | None]]:
        """The frames that were not certain; waits for their reads.

        Raises:
            EngineError: the reader failed.
        """
        later, selected = reading.later, reading.selected
        if reading.pending is None or not later:
            return []
        asked_s = self._clock()
        per_frame: list[list[PlateRead] | None]
        try:
            reads = iter(reading.pending.result())
            all_frames = [[*islice(reads, len(chosen))] for chosen in selected]
            per_frame = [all_frames[index] for index in later]
        except ImageError:
            frames = [reading.frames[index] for index in later]
            per_frame = self._read(frames, [selected[index] for index in later])
        reading.took_s += self._clock() - asked_s
        self._note_reading(reading)
        return [*zip(later, per_frame, strict=True)]

    def _note_reading(self, reading: Reading) -> None:
        self._figures.note("read", reading.took_s, sum(map(len, reading.selected)))

    def _read(
        self, frames: Sequence[Frame], selected: Sequence[Sequence[Detection]]
    ) -> list[list[PlateRead] | None]:
        plates = _plates(frames, selected)
        if not plates:
            return [[] for _ in frames]
        try:
            reads = iter(self._reader.read(plates))
            return [[next(reads) for _ in chosen] for chosen in selected]
        except ImageError as error:
            if len(frames) > 1:
                return [
                    self._read([frame], [chosen])[0]
                    for frame, chosen in zip(frames, selected, strict=True)
                ]
            self._complain(frames[0], error)
            return [None]


def _plates(
    frames: Sequence[Frame], selected: Sequence[Sequence[Detection]]
) -> list[tuple[FrameImage, Detection, float]]:
    """The selected plates of all frames, as a reader takes them."""
    return [
        (frame.image, plate, frame.t_s)
        for frame, chosen in zip(frames, selected, strict=True)
        for plate in chosen
    ]
