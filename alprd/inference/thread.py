"""The inference thread: takes batches, detects, reads, tracks and makes the events durable.

It alone owns the models and every camera's pipeline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import structlog

from alprd.core.types import Detection, EndOfStream, Frame, PlateEvent, PlateRead
from alprd.inference.figures import StageFigures
from alprd.inference.models import Models
from alprd.inference.preprocess import ImageError
from alprd.inference.unsaved import UnsavedEvents
from alprd.ports import Beat, Clock, EventSink
from alprd.threads import show_name

log = structlog.get_logger(__name__)

WAIT_S = 0.5
"""Longest wait for frames; the beat and the ticks come at least as often."""

SILENCE_S = 1.0
"""A live camera without usable frames for this long gets ticks, so that its tracks can end."""

COMPLAINT_INTERVAL_S = 60.0
"""A camera's unusable frames are mentioned once in this time."""

ABANDON_S = 2.0
"""How long the last batch may take once draining has been given up."""


class FrameQueue(Protocol):
    """The consumer's end of the mux."""

    @property
    def closed(self) -> bool:
        """True once it was closed and everything has been taken."""

    def take(self, max_batch: int, timeout_s: float) -> list[Frame | EndOfStream]:
        """At most one item per camera; [] when none came in time."""

    def close(self) -> None:
        """Accept nothing more."""


class Pipeline(Protocol):
    """One camera's tracking and voting."""

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        """The plates worth reading."""

    def step(
        self, frame: Frame, detections: Sequence[Detection], reads: Sequence[PlateRead]
    ) -> list[PlateEvent]:
        """Events that this frame completes; one read per selected plate."""

    def tick(self, t_s: float) -> list[PlateEvent]:
        """Events that the time completes."""

    def finish(self) -> list[PlateEvent]:
        """Ends all tracks."""


class InferenceThread:
    """Runs from entering until the mux is closed and drained, or until a model fails.

    Args:
        models: used by this thread only.
        mux: where frames come from; leaving the context closes it.
        pipelines: one per camera; frames of other cameras are ignored.
        sink: makes events durable. While it refuses them they are kept here and tried again.
        beat: called at least once a second while it waits, and between the stages of a batch.
        max_batch: frames in one detector call.
        live: ids of the cameras whose time goes on without frames (everything but files that are
            read as fast as possible).
        on_failure: called once, from this thread, when it ends because of an error.
        clock: monotonic seconds.
        errands: called between batches: does what others ask of the thread that has the models.
        drain_timeout_s: how long leaving the context waits for the frames still in the mux.
    """

    def __init__(
        self,
        models: Models,
        mux: FrameQueue,
        pipelines: Mapping[str, Pipeline],
        sink: EventSink,
        beat: Beat,
        *,
        max_batch: int,
        live: Collection[str],
        on_failure: Callable[[Exception], None] | None = None,
        clock: Clock = time.monotonic,
        errands: Callable[[], None] = lambda: None,
        drain_timeout_s: float = 10.0,
    ) -> None:
        self.failed: Exception | None = None
        self._models = models
        self._mux = mux
        self._pipelines = dict(pipelines)
        self._beat = beat
        self._max_batch = max_batch
        self._live = frozenset(live)
        self._on_failure = on_failure
        self._clock = clock
        self._errands = errands
        self._drain_timeout_s = drain_timeout_s
        self._figures = StageFigures(clock)
        self._unsaved = UnsavedEvents(sink, clock)
        self._last_frame: dict[str, tuple[float, float]] = {}
        self._complained_at_s: dict[str, float] = {}
        self._replacement_lock = threading.Lock()
        self._replacement: tuple[Mapping[str, Pipeline], frozenset[str]] | None = None
        self._changes: list[Callable[[], None]] = []
        self._abandoned = threading.Event()
        # A call into a hung driver must not keep the process alive: a daemon thread.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def __enter__(self) -> InferenceThread:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._mux.close()
        self._thread.join(self._drain_timeout_s)
        if self._thread.is_alive():
            log.warning("inference.drain_overran", timeout_s=self._drain_timeout_s)
            self._abandoned.set()
            self._thread.join(ABANDON_S)
        if self._thread.is_alive():
            self.failed = self.failed or TimeoutError(
                f"inference did not end within {self._drain_timeout_s + ABANDON_S:g} s and was "
                "abandoned with the vehicles that it followed; look for a hung accelerator driver"
            )

    def replace_pipelines(
        self,
        pipelines: Mapping[str, Pipeline],
        *,
        live: Collection[str],
        changes: Iterable[Callable[[], None]] = (),
    ) -> None:
        """Use these from the next batch on; callable from any thread.

        A camera that has another pipeline than before, or none, ends its tracks and publishes
        them. Call it before a new camera starts: frames of unknown cameras are ignored.

        Args:
            pipelines: of all cameras.
            live: ids of the cameras whose time goes on without frames.
            changes: called then by the thread that the pipelines belong to, each one once.
        """
        with self._replacement_lock:
            self._replacement = (dict(pipelines), frozenset(live))
            self._changes += changes

    def figures(self) -> dict[str, Any]:
        """Counters and stage times for health; callable from any thread."""
        return {
            **self._figures.snapshot(),
            "unsaved_events": self._unsaved.count,
            "lost_events": self._unsaved.lost,
        }

    def _run(self) -> None:
        show_name()
        self._guarded(self._serve)
        # Whatever happened, the tracks so far are real and belong on disk.
        self._guarded(self._end)
        if self.failed is not None and self._on_failure is not None:
            self._on_failure(self.failed)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (
            Exception
        ) as error:  # the thread's outermost frame: whatever it is, the process must learn of it
            log.error("inference.failed", error=str(error), exc_info=True)
            self.failed = self.failed or error

    def _serve(self) -> None:
        while not self._mux.closed and not self._abandoned.is_set():
            self._beat()
            self._unsaved.retry()
            items = self._mux.take(self._max_batch, WAIT_S)
            self._apply_replacement()
            self._process(items)
            self._tick_silent_cameras()
            self._errands()

    def _end(self) -> None:
        for pipeline in self._pipelines.values():
            self._guarded(partial(self._finish, pipeline))
        left = self._unsaved.flush()
        if left is not None:
            raise left

    def _finish(self, pipeline: Pipeline) -> None:
        self._store(pipeline.finish())

    def _store(self, events: list[PlateEvent]) -> None:
        """Make a pipeline's events durable at once: what fails after it must not cost them."""
        if not events:
            return
        self._figures.count("events", len(events))
        with self._figures.timed("store", len(events)):
            self._unsaved.add(events)
        self._beat()  # each camera of a batch may have to wait for the disk

    def _apply_replacement(self) -> None:
        with self._replacement_lock:
            replacement, self._replacement = self._replacement, None
            changes, self._changes = self._changes, []
        if replacement is None:
            return
        pipelines, live = replacement
        for camera_id, pipeline in self._pipelines.items():
            if pipelines.get(camera_id) is not pipeline:
                self._finish(pipeline)
                self._last_frame.pop(camera_id, None)
                self._complained_at_s.pop(camera_id, None)
        self._pipelines, self._live = dict(pipelines), live
        for change in changes:
            change()

    def _process(self, items: Sequence[Frame | EndOfStream]) -> None:
        if not items:
            return
        frames = [
            item for item in items if isinstance(item, Frame) and item.camera_id in self._pipelines
        ]
        arrived_s = self._clock()
        self._figures.count("frames", len(frames))
        with self._figures.timed("detect", len(frames)):
            detected = self._detect(frames)
        self._beat()
        usable = [
            (frame, detections)
            for frame, detections in zip(frames, detected, strict=True)
            if detections is not None
        ]
        selected = [
            self._pipelines[frame.camera_id].select(frame, detections)
            for frame, detections in usable
        ]
        plates = sum(map(len, selected))
        self._figures.count("plates", plates)
        with self._figures.timed("read", plates):
            read = self._read([frame for frame, _ in usable], selected)
        self._beat()
        for (frame, detections), reads in zip(usable, read, strict=True):
            if reads is None:
                continue
            with self._figures.timed("track", 1):
                events = self._pipelines[frame.camera_id].step(frame, detections, reads)
            # Only now: for its vehicles a camera whose frames are all broken is a silent one.
            self._last_frame[frame.camera_id] = (frame.t_s, arrived_s)
            self._store(events)
        for item in items:
            # The mux gives one item per camera, so the end never overtakes the last frame.
            if isinstance(item, EndOfStream) and item.camera_id in self._pipelines:
                self._finish(self._pipelines[item.camera_id])
                self._last_frame.pop(item.camera_id, None)

    def _detect(self, frames: Sequence[Frame]) -> list[list[Detection] | None]:
        """Per frame its detections; None for a frame that cannot be processed."""
        if not frames:
            return []
        try:
            return list(self._models.detector.detect([frame.image for frame in frames]))
        except ImageError as error:
            if len(frames) > 1:  # one bad frame must not cost the others theirs
                return [self._detect([frame])[0] for frame in frames]
            self._complain(frames[0], error)
            return [None]

    def _read(
        self, frames: Sequence[Frame], selected: Sequence[Sequence[Detection]]
    ) -> list[list[PlateRead] | None]:
        """Per frame one read per selected plate; None for a frame that cannot be processed."""
        plates = [
            (frame.image, plate, frame.t_s)
            for frame, chosen in zip(frames, selected, strict=True)
            for plate in chosen
        ]
        if not plates:
            return [[] for _ in frames]
        try:
            reads = iter(self._models.reader.read(plates))
            return [[next(reads) for _ in chosen] for chosen in selected]
        except ImageError as error:
            if len(frames) > 1:
                return [
                    self._read([frame], [chosen])[0]
                    for frame, chosen in zip(frames, selected, strict=True)
                ]
            self._complain(frames[0], error)
            return [None]

    def _tick_silent_cameras(self) -> None:
        now_s = self._clock()
        for camera_id, (frame_t_s, arrived_s) in self._last_frame.items():
            if camera_id in self._live and now_s - arrived_s >= SILENCE_S:
                # The camera's own axis goes on at the pace of ours.
                self._store(self._pipelines[camera_id].tick(frame_t_s + now_s - arrived_s))

    def _complain(self, frame: Frame, error: ImageError) -> None:
        self._figures.count("bad_frames", 1)
        now_s = self._clock()
        last_s = self._complained_at_s.get(frame.camera_id)
        if last_s is None or now_s - last_s >= COMPLAINT_INTERVAL_S:
            self._complained_at_s[frame.camera_id] = now_s
            log.warning("camera.bad_frame", camera=frame.camera_id, seq=frame.seq, error=str(error))
