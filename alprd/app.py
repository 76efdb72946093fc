"""The composition root: builds the daemon, runs it, reloads it, takes it down; nothing else wires.

Entered in order and left in reverse: outbox, publisher, health, models, inference, cameras. So a
stop first ends the cameras, lets inference finish what waits and end its tracks, and then gives the
publisher the rest of the time to send what is in the outbox.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import structlog

from alprd import __version__
from alprd.camera_set import CameraBook, CameraSet, live_cameras, recorded_cameras
from alprd.cameras.mux import FrameMux
from alprd.cameras.thread import CameraThread
from alprd.config import CameraSettings, ConfigError, Settings
from alprd.delivery import delivery_notice, new_publisher, new_sink, open_outbox
from alprd.host.health import HealthThread
from alprd.host.heartbeats import Heartbeats
from alprd.host.signals import Signals
from alprd.host.systemd import Notifier
from alprd.inference.models import load_models
from alprd.inference.thread import InferenceThread
from alprd.info import info_payload, read_boot_id, status_line
from alprd.logs import configure_logging
from alprd.pipeline import CameraPipeline
from alprd.pipelines import new_pipeline, retuning
from alprd.ports import Clock
from alprd.publish.outbox import Outbox
from alprd.reload import Plan, plan_reload
from alprd.supervise import Pulse, StopDeadline
from alprd.versions import versions

log = structlog.get_logger(__name__)

SOFTWARE = f"alprd {__version__}"
GOODBYE_S = 1.0
"""Kept free at the end of the stop for the retained `stopped` and the disconnect."""

LAST_RESORT_S = 2.0
"""A stop that exceeds its time by this much hangs, and is ended."""


def run(
    settings: Settings,
    *,
    load: Callable[[], Settings],
    notify: Notifier,
    until_end: bool = False,
    clock: Clock = time.monotonic,
) -> int:
    """Be the daemon until told to stop; must be called in the main thread.

    Args:
        settings: checked.
        load: reads the configuration again, for a reload. Raises ConfigError.
        notify: the service manager.
        until_end: stop by itself when all cameras are files that have been read and the broker has
            acknowledged every event.
        clock: monotonic seconds.

    Returns:
        The exit code: 0 after a clean stop, 1 when a part failed.

    Raises:
        EngineError: a model cannot be used.
        OutboxError: the outbox cannot be used.
    """
    with Signals(_leave_at_once, clock=clock) as signals, ExitStack() as last_resort:
        daemon = _Daemon(
            settings,
            load=load,
            notify=notify,
            signals=signals,
            last_resort=last_resort,
            clock=clock,
        )
        code = daemon.run(until_end=until_end)
        log.info("daemon.stopped", exit_code=code)
        return code


def _leave_at_once(signal_name: str) -> None:
    log.warning("daemon.left_at_once", signal=signal_name, outbox="is on disk")
    # The threads hold nothing that the outbox does not; the broker announces our last will.
    os._exit(1)


class _Daemon:
    """The running parts; belongs to the main thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings],
        notify: Notifier,
        signals: Signals,
        last_resort: ExitStack,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._load = load
        self._notify = notify
        self._signals = signals
        self._last_resort = last_resort
        self._clock = clock
        self._heartbeats = Heartbeats({}, clock=clock)
        self._failure: tuple[str, Exception] | None = None
        self._flush_until_s: float | None = None
        self._said: dict[str, Any] | None = None
        self._mux = FrameMux()
        self._pipelines: dict[str, CameraPipeline] = {}
        self._health = ExitStack()

    def run(self, *, until_end: bool) -> int:
        """Build, run and take down; returns the exit code."""
        settings = self._settings
        log.info(
            "daemon.starting",
            version=__version__,
            device=settings.device_id,
            cameras=[camera.id for camera in settings.cameras],
        )
        with ExitStack() as delivery:
            outbox = delivery.enter_context(open_outbox(settings, now=_now, boot_id=read_boot_id()))
            self._publisher = delivery.enter_context(
                new_publisher(
                    settings,
                    outbox,
                    beat=self._beater("publisher"),
                    on_failure=lambda error: self._fail("publisher", error),
                )
            )
            delivery.callback(self._flush)
            self._book = CameraBook(self._publisher, self._signals.wake)
            with ExitStack() as recognition:
                recognition.callback(self._health.close)
                self._models = load_models(settings.inference)
                log.info("models.loaded", backend=self._models.backend, reason=self._models.reason)
                self._inference = recognition.enter_context(self._new_inference(outbox))
                self._cameras = recognition.enter_context(CameraSet(self._open_camera, self._book))
                self._start_health()
                self._pulse = Pulse(
                    self._notify, self._heartbeats.stalled, self._status_line, self._clock
                )
                if self._signals.stop is None:  # loading takes its time
                    self._cameras.start(settings.cameras)
                    self._say_info()
                    self._notify.ready()
                    log.info("daemon.ready")
                self._supervise(lambda: until_end and self._no_more_frames(), self._reload)
                failed_files = self._book.failures() if until_end else {}
                self._begin_stop()
            self._expect_only_the_publisher()
            if until_end:
                log.info("outbox.emptying", events=outbox.counts().pending)
                self._supervise(lambda: outbox.counts().pending == 0, _nothing_to_reload)
                self._begin_stop()
        return self._exit_code(failed_files)

    def _supervise(self, is_over: Callable[[], bool], reload: Callable[[], None]) -> None:
        """Keep the service manager informed and reload on demand until something ends it."""
        while self._failure is None and self._signals.stop is None and not is_over():
            if self._signals.take_reload():
                reload()
            if self._said is not None and self._said != delivery_notice(self._publisher.stats()):
                self._say_info()
            self._signals.wait(self._pulse.beat())

    def _begin_stop(self) -> None:
        """From here on the time is limited; nothing happens when nobody asked for a stop."""
        if self._flush_until_s is not None or (
            self._signals.stop is None and self._failure is None
        ):
            return
        timeout_s = self._settings.process.stop_timeout_s
        self._flush_until_s = self._clock() + timeout_s - min(GOODBYE_S, timeout_s / 2)
        self._last_resort.enter_context(StopDeadline(timeout_s + LAST_RESORT_S))
        self._notify.stopping()
        # The unit's own limit may be shorter than what the configuration grants.
        self._notify.extend_timeout(timeout_s + 2 * LAST_RESORT_S)
        self._notify.status("stopping")
        log.info("daemon.stopping", signal=self._signals.stop, timeout_s=timeout_s)

    def _flush(self) -> None:
        until_s = self._flush_until_s
        if until_s is None:
            until_s = self._clock() + self._settings.process.stop_timeout_s
        if not self._publisher.flush(until_s):
            waiting = self._publisher.stats().pending
            log.warning("outbox.not_empty", events=waiting, sent="after the next start")

    def _exit_code(self, failed_files: dict[str, str]) -> int:
        for part, error in (
            ("inference", self._inference.failed),
            ("publisher", self._publisher.failed),
        ):
            if error is not None:
                log.error("daemon.failed", part=part, error=str(error))
                return 1
        for camera_id, reason in failed_files.items():
            log.error("camera.failed", camera=camera_id, error=reason)
        return 1 if failed_files else 0

    # -- parts ---------------------------------------------------------------------------------

    def _new_inference(self, outbox: Outbox) -> InferenceThread:
        self._pipelines = {c.id: new_pipeline(self._settings, c) for c in self._settings.cameras}
        sink = new_sink(
            self._settings, outbox, self._publisher, software=SOFTWARE, models=self._models.hashes
        )
        return InferenceThread(
            self._models,
            self._mux,
            self._pipelines,
            sink,
            self._beater("inference"),
            max_batch=self._settings.inference.max_batch,
            live=live_cameras(self._settings.cameras),
            on_failure=lambda error: self._fail("inference", error),
            # The other half is for the cameras before it and the publisher after it.
            drain_timeout_s=self._settings.process.stop_timeout_s / 2,
        )

    def _start_health(self) -> None:
        self._health.enter_context(
            HealthThread(
                self._settings.health,
                self._publisher,
                disk_folder=self._settings.outbox.path.absolute().parent,
                pipeline_figures=self._figures,
                beat=self._beater("health"),
            )
        )

    def _open_camera(self, settings: CameraSettings) -> CameraThread:
        self._mux.add_camera(settings.id)
        beat = self._beater(_stage(settings.id))
        return CameraThread(settings, self._mux, self._book, beat)

    def _beater(self, stage: str) -> Callable[[], None]:
        self._heartbeats.add(stage, self._settings.process.stall_timeout_s)
        return self._heartbeats.beater(stage)

    def _expect_only_the_publisher(self) -> None:
        for stage in ("inference", "health", *(_stage(c.id) for c in self._settings.cameras)):
            self._heartbeats.remove(stage)

    def _fail(self, part: str, error: Exception) -> None:
        """Called by a part's thread when it ends by itself: the whole process ends."""
        self._failure = self._failure or (part, error)
        self._signals.wake()

    # -- reload --------------------------------------------------------------------------------

    def _reload(self) -> None:
        self._notify.reloading()
        try:
            new = self._load()
        except ConfigError as error:
            for problem in error.problems:
                log.error("config.refused", problem=problem, in_force="the configuration before")
        else:
            self._apply(plan_reload(self._settings, new))
        self._notify.ready()

    def _apply(self, plan: Plan) -> None:
        before, self._settings = self._settings, plan.settings
        if plan.settings.log != before.log:
            configure_logging(plan.settings.log)
        for name in plan.needs_restart:
            log.warning("config.needs_restart", setting=name, remedy="systemctl restart alprd")
        if plan.changes_cameras:
            self._change_cameras(plan)
        if plan.settings.health != before.health:
            self._health.close()
            self._start_health()
        self._say_info()
        log.info(
            "config.reloaded",
            stopped=list(plan.stop),
            started=[camera.id for camera in plan.start],
            retuned=list(plan.retuned),
        )

    def _change_cameras(self, plan: Plan) -> None:
        for camera_id in plan.stop:
            self._heartbeats.remove(_stage(camera_id))
        self._cameras.stop(plan.stop)
        for camera_id in plan.stop:
            self._mux.remove_camera(camera_id)
        self._pipelines = {
            camera.id: new_pipeline(self._settings, camera)
            if camera.id in plan.new_pipelines
            else self._pipelines[camera.id]
            for camera in self._settings.cameras
        }
        self._inference.replace_pipelines(
            self._pipelines,
            live=live_cameras(self._settings.cameras),
            changes=[
                retuning(self._pipelines[camera.id], self._settings, camera)
                for camera in self._settings.cameras
                if camera.id in plan.retuned
            ],
        )
        for camera_id in plan.removed:
            self._book.forget(camera_id)
            self._publisher.forget_camera(camera_id)
        self._cameras.start(plan.start)

    def _no_more_frames(self) -> bool:
        cameras = self._settings.cameras
        enabled = {camera.id for camera in cameras if camera.enabled}
        return self._book.over(enabled, recorded_cameras(cameras))

    # -- what others get to see ----------------------------------------------------------------

    def _say_info(self) -> None:
        self._said = delivery_notice(self._publisher.stats())
        payload = info_payload(
            self._settings,
            backend=self._models.backend,
            reason=self._models.reason,
            models=self._models.hashes,
            versions=versions(),
            boot_id=read_boot_id(),
            delivery=self._said,
        )
        self._publisher.device("info", payload, retain=True)

    def _figures(self) -> dict[str, Any]:
        """For health; called in its thread."""
        return {
            "cameras": {
                "configured": len(self._settings.cameras),
                "online": self._book.count("online"),
            },
            "inference": self._inference.figures(),
            "delivery": asdict(self._publisher.stats()),
        }

    def _status_line(self) -> str:
        return status_line(
            online=self._book.count("online"),
            enabled=sum(camera.enabled for camera in self._settings.cameras),
            events=self._inference.figures()["events"],
            stats=self._publisher.stats(),
        )


def _stage(camera_id: str) -> str:
    return f"camera-{camera_id}"


def _nothing_to_reload() -> None:
    log.warning("config.not_reloaded", reason="the cameras have ended")


def _now() -> datetime:
    return datetime.now(timezone.utc)
