"""One measurement: frames from memory through the daemon's mux, inference thread and pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alprd.bench.feed import Feeder, camera_ids, frames
from alprd.bench.observed import counted
from alprd.bench.pictures import Pictures
from alprd.bench.usage import AskGpu, Usage
from alprd.cameras.mux import FrameMux
from alprd.config import TrackingSettings
from alprd.core.types import PlateEvent
from alprd.inference.models import Models
from alprd.inference.thread import InferenceThread
from alprd.pipeline import CameraPipeline
from alprd.pipelines import new_event_id

DRAIN_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured.

    Attributes:
        rate: share of frames with a plate, 0..1.
        batch: most frames in one call of the detector.
        cameras: how many take turns; a batch holds at most one frame of each.
        parallel: whether the detector may work while Python follows the frames before.
    """

    rate: float
    batch: int
    cameras: int
    parallel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one run of a case gave.

    Attributes:
        frames: that went through.
        calls: of the detector.
        wall_s, cpu_s: from the first frame to the last event; of all threads.
        plates, events: that were read and told.
        stages: as `StageFigures.snapshot` gives them.
        gpu_percent, gpu_peak_bytes: as `Usage` gives them.
    """

    frames: int
    calls: int
    wall_s: float
    cpu_s: float
    plates: int
    events: int
    stages: Mapping[str, Any]
    gpu_percent: float | None
    gpu_peak_bytes: int | None

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.wall_s


class CountingSink:
    """An EventSink that keeps the plates alone."""

    def __init__(self) -> None:
        self.plates: list[str] = []
        self.lost = 0

    @property
    def events(self) -> int:
        """How many came."""
        return len(self.plates)

    def add(self, events: Sequence[PlateEvent]) -> None:
        """Note them."""
        self.plates += [event.plate or "" for event in events]

    def add_lost(self, count: int) -> None:
        """Count them too."""
        self.lost += count


def run_round(
    models: Models, pictures: Pictures, case: Case, count: int, *, ask_gpu: AskGpu | None
) -> Round:
    """Send `count` frames the whole way but decoding and the outbox.

    Raises:
        EngineError: a model failed.
    """
    used, detector = counted(models, parallel=case.parallel)
    sink, ids = CountingSink(), camera_ids(case.cameras)
    mux = FrameMux(ids)
    pipelines = {
        camera_id: CameraPipeline(camera_id, TrackingSettings(), None, new_event_id=new_event_id)
        for camera_id in ids
    }
    source = frames(pictures, rate=case.rate, cameras=case.cameras, count=count)
    inference = InferenceThread(
        used,
        mux,
        pipelines,
        sink,
        lambda: None,
        max_batch=case.batch,
        live=(),
        # A failure must end the feeder too, which waits until somebody takes its frames.
        on_failure=lambda _: mux.close(),
        drain_timeout_s=DRAIN_TIMEOUT_S,
    )
    with Usage(ask_gpu) as usage, inference, Feeder(source, mux):
        pass
    if inference.failed is not None:
        raise inference.failed
    figures = inference.figures()
    return Round(
        frames=detector.frames,
        calls=detector.calls,
        wall_s=usage.wall_s,
        cpu_s=usage.cpu_s,
        plates=figures["plates"],
        events=sink.events,
        stages=figures["stages"],
        gpu_percent=usage.gpu_percent,
        gpu_peak_bytes=usage.gpu_peak_bytes,
    )
