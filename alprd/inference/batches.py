"""Batches on their way through the models: begun, looked at, read; one bad frame costs only itself.

With a detector that can work while its caller does something else, the next batch is begun before
this one is looked at, so that the GPU has work while Python selects, votes and tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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

    def reads(
        self, frames: Sequence[Frame], selected: Sequence[Sequence[Detection]]
    ) -> Iterator[tuple[int, list[PlateRead] | None]]:
        """Per frame its index and one read per selected plate; None if it cannot be processed.

        Frames with a plate at which the reader is looking again, by itself, come after the others:
        what the caller does with those takes no time of its own then.

        Raises:
            EngineError: the reader failed.
        """
        plates = sum(map(len, selected))
        self._figures.count("plates", plates)
        asked_s = self._clock()
        pending = self._begin_to_read(frames, selected)
        if pending is None:
            reads = self._read(frames, selected)
            self._figures.note("read", self._clock() - asked_s, plates)
            yield from enumerate(reads)
            return
        later = []
        took_s = self._clock() - asked_s
        known = iter(pending.known())
        for index, chosen in enumerate(selected):
            certain = [read for read in islice(known, len(chosen)) if read is not None]
            if len(certain) == len(chosen):
                yield index, certain
            else:
                later.append(index)
        asked_s = self._clock()
        all_reads = iter(pending.result())
        per_frame = [[*islice(all_reads, len(chosen))] for chosen in selected]
        self._figures.note("read", took_s + self._clock() - asked_s, plates)
        for index in later:
            yield index, per_frame[index]

    def _begin_to_read(
        self, frames: Sequence[Frame], selected: Sequence[Sequence[Detection]]
    ) -> PendingReads | None:
        """None where the reader cannot, or a frame is bad: which one is found out by reading."""
        if not isinstance(self._reader, SubmittingReader) or not any(selected):
            return None
        try:
            return self._reader.submit(_plates(frames, selected))
        except ImageError:
            return None

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
