"""The models as the benchmark uses them: the daemon's own, with what they are asked counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alprd.core.types import Detection, FrameImage
from alprd.inference.models import Models
from alprd.ports import Detector, PendingDetections, PlateReader, SubmittingDetector


class Counted:
    """A detector that is waited for; counts what it is asked."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.calls = 0
        self.frames = 0

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        """As the detector's."""
        self._count(images)
        return self._detector.detect(images)

    def _count(self, images: Sequence[FrameImage]) -> None:
        self.calls += 1
        self.frames += len(images)


class CountedSubmitting(Counted):
    """A detector that works by itself; counts what it is asked."""

    def __init__(self, detector: SubmittingDetector) -> None:
        super().__init__(detector)
        self._submitting = detector

    def submit(self, images: Sequence[FrameImage]) -> PendingDetections:
        """As the detector's."""
        self._count(images)
        return self._submitting.submit(images)


def counted(models: Models, *, parallel: bool) -> tuple[Models, Counted]:
    """The models with a detector that counts; they work by themselves only if they may and can."""
    detector = models.detector
    observed = (
        CountedSubmitting(detector)
        if parallel and isinstance(detector, SubmittingDetector)
        else Counted(detector)
    )
    reader = models.reader if parallel else _Waited(models.reader)
    return replace(models, detector=observed, reader=reader), observed


class _Waited:
    """A reader that is waited for."""

    def __init__(self, reader: PlateReader) -> None:
        self.read = reader.read
