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
from alprd.core.vehicles import VehicleTrack
from alprd.inference.batches import Batch, Lookout
from alprd.inference.conveyor import Conveyor
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

    @property
    def vehicles(self) -> tuple[VehicleTrack, ...]:
        """Those that are followed now."""

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


class Errands(Protocol):
    """What others ask of the thread that has the models."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to do."""

    def run(self) -> None:
        """Do what waits."""


_Replacement = tuple[Mapping[str, Pipeline], frozenset[str], tuple[Callable[[], None], ...]]


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
        errands: run between batches, while the models work on nothing.
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
        errands: Errands | None = None,
        drain_timeout_s: float = 10.0,
    ) -> None:
        self.failed: Exception | None = None
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
        lookout = Lookout(
            models.detector,
            models.reader,
            figures=self._figures,
            clock=clock,
            complain=self._complain,
        )
        self._conveyor = Conveyor(lookout, self, beat)
        self._attributes = models.attributes
        self._unsaved = UnsavedEvents(sink, clock)
        self._last_frame: dict[str, tuple[float, float]] = {}
        self._complained_at_s: dict[str, float] = {}
        self._replacement_lock = threading.Lock()
        self._replacement: _Replacement | None = None
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

    def ended(self, timeout_s: float) -> bool:
        """Whether it has ended within this time: the mux was drained, or something failed."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

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
            before = () if self._replacement is None else self._replacement[2]
            self._replacement = (dict(pipelines), frozenset(live), (*before, *changes))

    def figures(self) -> dict[str, Any]:
        """Counters and stage times for health; callable from any thread."""
        return {
            **self._figures.snapshot(),
            "unsaved_events": self._unsaved.count,
            "lost_events": self._unsaved.lost,
            **({} if self._attributes is None else {"attributes": self._attributes.figures()}),
        }

    def _run(self) -> None:
        show_name()
        self._guarded(self._serve)
        if not self._abandoned.is_set():
            # What failed may have been the batch behind one that is being read.
            self._guarded(self._conveyor.drain)
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
        conveyor = self._conveyor
        while (conveyor.busy or not self._mux.closed) and not self._abandoned.is_set():
            self._beat()
            self._unsaved.retry()
            # Nothing is held back for company.
            items = self._take(0.0 if conveyor.busy else WAIT_S)
            replacement = self._take_replacement()
            if replacement is not None:
                conveyor.drain()  # it was begun for the pipelines that go
                self._apply(*replacement)
            conveyor.advance([item for item in items if item.camera_id in self._pipelines])
            self._tick_silent_cameras()
            if self._errands is not None and self._errands.waiting:
                # The models do one thing at a time for whoever else asks them.
                conveyor.drain()
                self._errands.run()

    def _take(self, timeout_s: float) -> Sequence[Frame | EndOfStream]:
        if self._mux.closed:
            return ()
        return self._mux.take(self._max_batch, timeout_s)

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
        if self._attributes is not None:
            with self._figures.timed("attributes", len(events)):
                events = self._attributes.completed(events)
        self._figures.count("events", len(events))
        with self._figures.timed("store", len(events)):
            self._unsaved.add(events)
        self._beat()  # each camera of a batch may have to wait for the disk

    def _take_replacement(self) -> _Replacement | None:
        with self._replacement_lock:
            replacement, self._replacement = self._replacement, None
            return replacement

    def _apply(
        self,
        pipelines: Mapping[str, Pipeline],
        live: frozenset[str],
        changes: Iterable[Callable[[], None]],
    ) -> None:
        for camera_id, pipeline in self._pipelines.items():
            if pipelines.get(camera_id) is not pipeline:
                self._finish(pipeline)
                self._last_frame.pop(camera_id, None)
                self._complained_at_s.pop(camera_id, None)
                if self._attributes is not None:
                    self._attributes.forget(camera_id)
        self._pipelines, self._live = dict(pipelines), live
        for change in changes:
            change()

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        """For the conveyor: the plates worth reading."""
        return self._pipelines[frame.camera_id].select(frame, detections)

    def follow(
        self,
        frame: Frame,
        detections: Sequence[Detection],
        reads: Sequence[PlateRead],
        taken_s: float,
    ) -> None:
        """For the conveyor: tracks and events of a frame."""
        began_s = self._clock()
        events = self._pipelines[frame.camera_id].step(frame, detections, reads)
        self._figures.note("track", self._clock() - began_s, 1)
        self._note_vehicles(frame)
        # Only now: for its vehicles a camera whose frames are all broken is a silent one.
        self._last_frame[frame.camera_id] = (frame.t_s, taken_s)
        self._store(events)

    def conclude(self, batch: Batch) -> None:
        """For the conveyor: what follows the last frame of a batch."""
        self._ask_about_vehicles()
        for camera_id in batch.ended:
            self._finish(self._pipelines[camera_id])
            self._last_frame.pop(camera_id, None)

    def _note_vehicles(self, frame: Frame) -> None:
        if self._attributes is not None:
            with self._figures.timed("cut", 1):
                self._attributes.see(frame, self._pipelines[frame.camera_id].vehicles)

    def _ask_about_vehicles(self) -> None:
        """Of all frames of a batch together."""
        if self._attributes is not None:
            self._attributes.ask()

    def _tick_silent_cameras(self) -> None:
        now_s = self._clock()
        for camera_id, (frame_t_s, arrived_s) in self._last_frame.items():
            if camera_id not in self._live or now_s - arrived_s < SILENCE_S:
                continue
            if not self._conveyor.has(camera_id):  # else its time goes on with that frame
                # The camera's own axis goes on at the pace of ours.
                self._store(self._pipelines[camera_id].tick(frame_t_s + now_s - arrived_s))

    def _complain(self, frame: Frame, error: ImageError) -> None:
        self._figures.count("bad_frames", 1)
        now_s = self._clock()
        last_s = self._complained_at_s.get(frame.camera_id)
        if last_s is None or now_s - last_s >= COMPLAINT_INTERVAL_S:
            self._complained_at_s[frame.camera_id] = now_s
            log.warning("camera.bad_frame", camera=frame.camera_id, seq=frame.seq, error=str(error))
