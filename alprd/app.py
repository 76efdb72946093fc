"""The composition root: builds the daemon, runs it, reloads it, takes it down; nothing else wires.

Entered in order and left in reverse: outbox, publisher, health, models, lists, pictures, inference,
cameras, commands. So a stop first ends the commands and cameras, lets inference finish what waits
and end its tracks, and then gives the publisher the rest of the time to send what is in the outbox.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import structlog

from alprd import __version__
from alprd.actions import Actions
from alprd.camera_set import CameraBook
from alprd.config import ConfigError, Settings
from alprd.control import RemoteControl
from alprd.delivery import new_publisher, new_sink, open_outbox, retained_topics, unsent
from alprd.errands import Errands
from alprd.extras import Extras
from alprd.host.heartbeats import Heartbeats
from alprd.host.signals import Signals
from alprd.host.systemd import Notifier
from alprd.inference.models import load_models
from alprd.info import read_boot_id
from alprd.logs import configure_logging
from alprd.ports import Clock
from alprd.publish.outbox import Outbox
from alprd.reload import Plan, plan_reload, switched
from alprd.remote import CommandFailedError
from alprd.rules import Rules
from alprd.sight import INFERENCE, Sight
from alprd.stacks import HangTimer
from alprd.supervise import Pulse, StopDeadline
from alprd.telling import Telling
from alprd.wellbeing import Wellbeing

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
    on_reload: Callable[[Sequence[str]], None] = lambda _problems: None,
    until_end: bool = False,
    clock: Clock = time.monotonic,
) -> int:
    """Be the daemon until told to stop; must be called in the main thread.

    Args:
        settings: checked.
        load: reads the configuration again, for a reload. Raises ConfigError.
        notify: the service manager.
        on_reload: is told after a SIGHUP why the configuration before stays in force, or nothing.
        until_end: stop by itself when all cameras are files that have been read and the broker has
            acknowledged every event.
        clock: monotonic seconds.

    Returns:
        The exit code: 0 after a clean stop, 1 when a part failed.

    Raises:
        EngineError: a model cannot be used.
        ImageStoreError: the folder of the pictures cannot be used.
        OutboxError: the outbox cannot be used.
    """
    with Signals(_leave_at_once, clock=clock) as signals, ExitStack() as last_resort:
        daemon = _Daemon(
            settings,
            load=load,
            notify=notify,
            on_reload=on_reload,
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
        on_reload: Callable[[Sequence[str]], None],
        signals: Signals,
        last_resort: ExitStack,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._load = load
        self._notify = notify
        self._on_reload = on_reload
        self._signals = signals
        self._last_resort = last_resort
        self._clock = clock
        self._heartbeats = Heartbeats({}, clock=clock)
        self._failure: tuple[str, Exception] | None = None
        self._flush_until_s: float | None = None
        self._errands = Errands(signals.wake)
        self._control = RemoteControl(settings, clock=clock)
        self._switched: dict[str, bool] = {}

    @property
    def settings(self) -> Settings:
        """In force."""
        return self._settings

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
            outbox = delivery.enter_context(
                open_outbox(
                    settings,
                    now=_now,
                    boot_id=read_boot_id(),
                    # While it is mended both who use it wait, for minutes on a slow disk.
                    on_progress=lambda: self._heartbeats.beat_those("publisher", INFERENCE),
                )
            )
            self._publisher = delivery.enter_context(
                new_publisher(
                    settings,
                    outbox,
                    beat=self._beater("publisher"),
                    on_failure=lambda error: self._fail("publisher", error),
                    subscriptions=self._control.subscriptions,
                    on_message=self._control.on_message,
                    in_force=lambda: self._settings,
                )
            )
            delivery.callback(self._flush, outbox)
            self._board = self._control.board(self._publisher)
            self._publisher.keep(retained_topics(settings))
            self._book = CameraBook(
                self._publisher,
                self._signals.wake,
                every_s=lambda: self._settings.health.status_interval_s,
                clock=self._clock,
            )
            with ExitStack() as recognition:
                self._models = load_models(settings.inference)
                log.info("models.loaded", backend=self._models.backend, reason=self._models.reason)
                self._rules = recognition.enter_context(Rules(settings))
                self._extras = recognition.enter_context(self._new_extras())
                inference_errands = Errands()
                recognition.callback(inference_errands.close)
                self._sight = recognition.enter_context(self._new_sight(outbox, inference_errands))
                self._telling = Telling(
                    lambda: self._settings,
                    publisher=self._publisher,
                    models=self._models,
                    book=self._book,
                    sight=self._sight,
                    rules=self._rules,
                    extras=self._extras,
                )
                self._wellbeing = recognition.enter_context(self._new_wellbeing())
                self._hang_timer = HangTimer(self._notify.watchdog_interval_s)
                self._pulse = Pulse(
                    self._notify,
                    self._heartbeats.stalled,
                    self._telling.status_line,
                    self._clock,
                    on_keepalive=self._hang_timer.postpone,
                )
                if self._signals.stop is None:  # loading takes its time
                    self._sight.start()
                    recognition.enter_context(self._commands(inference_errands))
                    recognition.callback(self._errands.close)
                    self._telling.info()
                    self._notify.ready()
                    log.info("daemon.ready")
                self._supervise(lambda: until_end and self._sight.no_more_frames(), self._reload)
                failed_files = self._book.failures() if until_end else {}
                self._begin_stop()
            self._sight.expect_nothing()
            if until_end:
                log.info("outbox.emptying", events=outbox.counts().pending)
                self._supervise(lambda: outbox.counts().pending == 0, _nothing_to_reload)
                self._begin_stop()
        return self._exit_code(failed_files)

    def _supervise(self, is_over: Callable[[], bool], reload: Callable[[], None]) -> None:
        """Keep the service manager informed and reload on demand until something ends it."""
        with self._hang_timer:
            while self._failure is None and self._signals.stop is None and not is_over():
                if self._signals.take_reload():
                    reload()
                self._errands.run()
                self._telling.trouble()
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

    def _flush(self, outbox: Outbox) -> None:
        until_s = self._flush_until_s
        if until_s is None:
            until_s = self._clock() + self._settings.process.stop_timeout_s
        flushed = self._publisher.flush(until_s)
        waiting = unsent(self._publisher, outbox)
        # States that no broker took are told anew after the next start; nothing of them waits.
        if waiting and not flushed:
            log.warning("outbox.not_empty", events=waiting, sent="after the next start")

    def _exit_code(self, failed_files: dict[str, str]) -> int:
        for part, error in (
            ("inference", self._sight.inference.failed),
            ("publisher", self._publisher.failed),
        ):
            if error is not None:
                log.error("daemon.failed", part=part, error=str(error))
                return 1
        for camera_id, reason in failed_files.items():
            log.error("camera.failed", camera=camera_id, error=reason)
        return 1 if failed_files else 0

    # -- parts ---------------------------------------------------------------------------------

    def _new_sight(self, outbox: Outbox, errands: Errands) -> Sight:
        sink = new_sink(
            self._settings,
            outbox,
            self._publisher,
            software=SOFTWARE,
            models=self._models.hashes,
            on_stored=self._extras.stored,
        )
        kept = self._rules.guard(self._extras.behind_policy(sink))
        return Sight(
            self._settings,
            models=self._models,
            sink=self._extras.in_front(kept),
            extras=self._extras,
            book=self._book,
            publisher=self._publisher,
            heartbeats=self._heartbeats,
            errands=errands,
            on_failure=lambda error: self._fail("inference", error),
        )

    def _new_extras(self) -> Extras:
        rules = self._rules
        stage = self._models.attributes
        return Extras(
            self._settings,
            publisher=self._publisher,
            policy=lambda: rules.policy,
            describe=(lambda event: event) if stage is None else stage.described,
        )

    def _commands(self, inference_errands: Errands) -> RemoteControl:
        actions = Actions(
            self,
            main=self._errands,
            inference=inference_errands,
            models=self._models,
            publisher=self._publisher,
            tap=self._sight.tap,
            book=self._book,
            stalled=self._heartbeats.stalled,
            policy=lambda: self._rules.policy,
        )
        return self._control.serving(actions.table())

    def _new_wellbeing(self) -> Wellbeing:
        return Wellbeing(
            self._settings,
            board=self._board,
            publisher=self._publisher,
            book=self._book,
            sight=self._sight,
            figures=self._telling.figures,
        )

    def _beater(self, stage: str) -> Callable[[], None]:
        self._heartbeats.add(stage, self._settings.process.stall_timeout_s)
        return self._heartbeats.beater(stage)

    def _fail(self, part: str, error: Exception) -> None:
        """Called by a part's thread when it ends by itself: the whole process ends."""
        self._failure = self._failure or (part, error)
        self._signals.wake()

    # -- reload --------------------------------------------------------------------------------

    def _reload(self) -> None:
        """For SIGHUP: what is wrong stands in the log, and is told to who asked."""
        problems: list[str] = []
        try:
            self.reload()
        except CommandFailedError as error:
            problems = str(error).splitlines()
        self._on_reload(problems)

    def reload(self) -> Mapping[str, Any]:
        """Put the configuration in force as it is now; what that changed.

        Raises:
            CommandFailedError: it cannot be used; the one before stays in force.
        """
        self._notify.reloading()
        try:
            new = self._load()
        except ConfigError as error:
            for problem in error.problems:
                log.error("config.refused", problem=problem, in_force="the configuration before")
            raise CommandFailedError("\n".join(error.problems)) from error
        else:
            return self._apply(plan_reload(self._settings, switched(new, self._switched)))
        finally:
            self._notify.ready()

    def switch_camera(self, camera_id: str, *, enabled: bool) -> Mapping[str, Any]:
        """Open or close a camera; the configuration has its say again at the next start."""
        if camera_id not in {camera.id for camera in self._settings.cameras}:
            raise CommandFailedError("the camera is no longer configured; see the info message")
        self._switched[camera_id] = enabled
        log.info("camera.switched", camera=camera_id, enabled=enabled, until="the next start")
        self._apply(plan_reload(self._settings, switched(self._settings, self._switched)))
        return {"camera": camera_id, "enabled": enabled}

    def _apply(self, plan: Plan) -> Mapping[str, Any]:
        before, self._settings = self._settings, plan.settings
        if plan.settings.log != before.log:
            configure_logging(plan.settings.log)
        for name in plan.needs_restart:
            log.warning("config.needs_restart", setting=name, remedy="systemctl restart alprd")
        # First: what is hidden from now on must not show while cameras are closed and opened.
        self._rules.use(plan.settings)
        self._extras.use(plan.settings)
        self._sight.change(plan)
        self._control.use(plan.settings)
        self._publisher.keep(retained_topics(plan.settings))
        self._wellbeing.use(plan.settings)
        self._telling.info()
        changed = {
            "stopped": list(plan.stop),
            "started": [camera.id for camera in plan.start],
            "retuned": list(plan.retuned),
        }
        log.info("config.reloaded", **changed)
        return {**changed, "needs_restart": list(plan.needs_restart)}


def _nothing_to_reload() -> None:
    log.warning("config.not_reloaded", reason="the cameras have ended")


def _now() -> datetime:
    return datetime.now(timezone.utc)
