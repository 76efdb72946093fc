"""The seeing half of the daemon: cameras, mux, pipelines and the inference thread."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from alprd.camera_set import CameraBook, CameraSet, live_cameras, recorded_cameras
from alprd.cameras.decoding import decided
from alprd.cameras.mux import FrameMux
from alprd.cameras.taken import TakenFrames
from alprd.cameras.tap import FrameTap
from alprd.cameras.thread import CameraThread
from alprd.config import CameraSettings, Settings
from alprd.errands import Errands
from alprd.extras import Extras
from alprd.host.heartbeats import Heartbeats
from alprd.inference.models import Models
from alprd.inference.thread import InferenceThread
from alprd.pipelines import retuning
from alprd.ports import EventSink
from alprd.publish.thread import PublisherThread
from alprd.reload import Plan

INFERENCE = "inference"


class Sight:
    """Belongs to the main thread; a context manager: leaving stops cameras, then inference.

    Args:
        settings: in force.
        models: for the inference thread alone; closed when that has ended.
        sink: makes events durable.
        extras: look on at the pipelines.
        book: is told the cameras' states.
        publisher: takes away what a removed camera left.
        heartbeats: expects signs of life of every camera and of inference.
        errands: for the inference thread, between batches.
        on_failure: called when the inference thread fails.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        models: Models,
        sink: EventSink,
        extras: Extras,
        book: CameraBook,
        publisher: PublisherThread,
        heartbeats: Heartbeats,
        errands: Errands,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._models = models
        self._book = book
        self._publisher = publisher
        self._heartbeats = heartbeats
        self._frames_on_gpu = models.backend == "tensorrt"
        self._mux = FrameMux()
        self.tap = FrameTap(self._mux)
        self.taken = TakenFrames(self._mux)
        self._cameras = CameraSet(self._open_camera, book)
        self._new_pipeline = extras.pipeline
        self._pipelines = {c.id: self._new_pipeline(settings, c) for c in settings.cameras}
        self.inference = InferenceThread(
            models,
            self.taken,
            self._pipelines,
            sink,
            self._beater(INFERENCE),
            max_batch=settings.inference.max_batch,
            live=live_cameras(settings.cameras),
            on_failure=on_failure,
            errands=errands,
            # The other half is for the cameras before it and the publisher after it.
            drain_timeout_s=settings.process.stop_timeout_s / 2,
        )

    def line_counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """For health: camera -> line -> in, out and wrong_way; callable from any thread."""
        return {
            camera_id: {
                name: {"in": c.inward, "out": c.outward, "wrong_way": c.wrong_way}
                for name, c in pipeline.line_counts().items()
            }
            for camera_id, pipeline in self._pipelines.items()
            if pipeline.has_lines
        }

    def dropped(self, camera_id: str) -> int:
        """Frames that newer ones replaced before inference took them, since start."""
        return self._mux.dropped(camera_id)

    def start(self) -> None:
        """Open the cameras."""
        self._cameras.start(self._settings.cameras)

    def change(self, plan: Plan) -> None:
        """Do what a new configuration wants of cameras and pipelines."""
        self._settings = settings = plan.settings
        if not plan.changes_cameras:
            return
        for camera_id in plan.stop:
            self._heartbeats.remove(_stage(camera_id))
        self._cameras.stop(plan.stop)
        for camera_id in plan.stop:
            self._mux.remove_camera(camera_id)
        self._pipelines = {
            camera.id: self._new_pipeline(settings, camera)
            if camera.id in plan.new_pipelines
            else self._pipelines[camera.id]
            for camera in settings.cameras
        }
        self.inference.replace_pipelines(
            self._pipelines,
            live=live_cameras(settings.cameras),
            changes=[
                retuning(self._pipelines[camera.id].line, settings, camera)
                for camera in settings.cameras
                if camera.id in plan.retuned
            ],
        )
        for camera_id in plan.removed:
            self._book.forget(camera_id)
            self._publisher.forget_camera(camera_id)
        self._cameras.start(plan.start)

    def no_more_frames(self) -> bool:
        """True when no camera will give another frame: files, read or failed."""
        cameras = self._settings.cameras
        enabled = {camera.id for camera in cameras if camera.enabled}
        return self._book.over(enabled, recorded_cameras(cameras))

    def expect_nothing(self) -> None:
        """It has ended: nothing of it beats any more."""
        for stage in (INFERENCE, *(_stage(c.id) for c in self._settings.cameras)):
            self._heartbeats.remove(stage)

    def __enter__(self) -> Sight:
        self.inference.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._cameras.__exit__(kind, error, trace)
        finally:
            self.inference.__exit__(kind, error, trace)
            if self.inference.ended(0.0):  # under a call that hangs nothing is taken away
                self._models.close()

    def _open_camera(self, settings: CameraSettings) -> CameraThread:
        self._mux.add_camera(settings.id)
        camera = decided(settings, frames_on_gpu=self._frames_on_gpu)
        return CameraThread(camera, self.tap, self._book, self._beater(_stage(settings.id)))

    def _beater(self, stage: str) -> Callable[[], None]:
        self._heartbeats.add(stage, self._settings.process.stall_timeout_s)
        return self._heartbeats.beater(stage)


def _stage(camera_id: str) -> str:
    return f"camera-{camera_id}"
