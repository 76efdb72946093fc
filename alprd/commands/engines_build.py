"""`alprd engines build`: plans for this device, each checked before it replaces the old one."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from alprd.commands.common import (
    EXIT_BAD_CONFIG,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    CommandError,
    Commands,
    write_error,
    write_line,
)
from alprd.commands.engines_common import (
    add_model_options,
    figures_line,
    inference_settings,
    this_device,
    wanted_names,
)

if TYPE_CHECKING:
    from alprd.config import InferenceSettings
    from alprd.host.systemd import Notifier
    from alprd.inference.building import Built
    from alprd.inference.engines import Device, Engine
    from alprd.inference.plans import PlanStore

_MIB = 1 << 20
_TICK_S = 1.0
_TELL_SYSTEMD_S = 5.0
_EXTENSION_S = 120.0
"""Granted anew every few seconds; one silent layer may take a minute on a small board."""
_SILENT_S = 20 * 60.0
"""A build that shows no sign of life for so long is granted nothing more: its driver may hang."""
_LINE_S = 30.0
"""Between the lines that a journal, or another program's log, gets."""


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "build",
        help="build what is missing or does not fit any more",
        description="Build the engines of the configured models (or of those named) on this "
        "device. One that fits is left alone; each is checked against ONNX Runtime before it "
        "replaces the old one, so an interrupted or failed build leaves everything as it was and "
        "the next one goes on where it stopped.",
    )
    add_model_options(parser)
    parser.add_argument(
        "--workspace-mib",
        type=int,
        metavar="MIB",
        help="scratch memory of a layer, instead of inference.workspace_mib",
    )
    parser.add_argument("--force", action="store_true", help="build also what fits")
    parser.add_argument(
        "--if-possible",
        action="store_true",
        help="succeed, and say why, where ONNX Runtime will run the models in any case: without "
        "TensorRT or a GPU that can be used, or with inference.backend = onnxruntime",
    )
    parser.add_argument("--verbose", action="store_true", help="show TensorRT's own warnings")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build; the exit code is 1 when an engine could not be built."""
    settings = inference_settings(arguments)
    if arguments.if_possible and settings.backend == "onnxruntime":
        write_line("nothing is built: inference.backend is onnxruntime")
        return EXIT_DONE
    names = wanted_names(arguments.names, settings)
    try:
        device = this_device()
    except CommandError as error:
        if not arguments.if_possible or settings.backend == "tensorrt":
            raise
        write_line(f"nothing is built: {error}")
        return EXIT_DONE
    from alprd.host.systemd import Notifier  # noqa: PLC0415 -- takes structlog along
    from alprd.inference.plans import PlanStore  # noqa: PLC0415 -- takes OpenCV along
    from alprd.ports import EngineError  # noqa: PLC0415

    store = PlanStore(settings.engines_dir)
    codes = {EXIT_DONE}
    try:
        with store.building(), Notifier.from_environment() as notify:
            for name in names:
                code = _one(name, settings, device, store, notify=notify, arguments=arguments)
                # Without its engine a classifier runs in ONNX Runtime; the others need each other.
                if not arguments.if_possible or name in (settings.detector, settings.reader):
                    codes.add(code)
    except EngineError as error:
        raise CommandError(str(error)) from error
    return max(codes)


def _one(
    name: str,
    settings: InferenceSettings,
    device: Device,
    store: PlanStore,
    *,
    notify: Notifier,
    arguments: argparse.Namespace,
) -> int:
    """One engine; the others are built whatever comes of it. Gives the exit code for it."""
    from alprd.inference.engines import engine  # noqa: PLC0415 -- takes OpenCV along
    from alprd.ports import EngineError, EngineUnavailable  # noqa: PLC0415

    try:
        wanted = engine(name, settings)
    except EngineError as error:
        write_error(f"{name}: {error}")
        return EXIT_FAILED if isinstance(error, EngineUnavailable) else EXIT_BAD_CONFIG
    screen = _Screen(name, notify)
    try:
        if not arguments.force and _fits(wanted, device, store):
            write_line(f"{name}: fits already ({wanted.settings.precision})")
            return EXIT_DONE
        screen.begin(wanted)
        _report(wanted, _build(wanted, device, store, screen, show=arguments.verbose))
    except EngineError as error:
        screen.clear()
        write_error(f"{name}: {error}")
        return EXIT_FAILED
    return EXIT_DONE


def _fits(wanted: Engine, device: Device, store: PlanStore) -> bool:
    return store.fits(wanted.name, wanted.identity(device)) is None


def _report(wanted: Engine, built: Built) -> None:
    write_line(
        f"{wanted.name}: built in {built.seconds:.0f} s ({wanted.settings.precision}, batch 1.."
        f"{wanted.settings.max_batch}, {built.size / _MIB:.1f} MiB): "
        f"{figures_line(dict(built.check.figures))}"
    )


class _Screen:
    """Progress of one engine: a line on a terminal, lines elsewhere, and what systemd shows."""

    def __init__(
        self, name: str, notify: Notifier, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._notify = notify
        self._clock = clock
        self._begun_s = self._written_s = self._moved_s = clock()
        self._told_s = float("-inf")
        self._lock = threading.Lock()
        self._share: float | None = None
        self._phase = "building"
        self._seen: tuple[float | None, str] = (self._share, self._phase)
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def begin(self, wanted: Engine) -> None:
        """Say what begins, where no line shows it."""
        if not self._terminal:
            write_line(
                f"{self._name}: building ({wanted.settings.precision}, batch 1.."
                f"{wanted.settings.max_batch}); this takes minutes"
            )

    def report(self, share: float | None, phase: str) -> None:
        """From TensorRT's threads: only noted here."""
        with self._lock:
            self._share, self._phase = share, phase

    def tick(self) -> None:
        """Show it; from the main thread, about every second."""
        now_s = self._clock()
        with self._lock:
            share, phase = self._share, self._phase
        if (share, phase) != self._seen:
            self._seen = share, phase
            self._moved_s = now_s
        elapsed_s = int(now_s - self._begun_s)
        done = "" if share is None else f" {share:4.0%}"
        text = f"{self._name}: {phase}{done}, {elapsed_s // 60}:{elapsed_s % 60:02}"
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text[:78]}")
            sys.stderr.flush()
            self._shown = True
        elif now_s - self._written_s >= _LINE_S:
            self._written_s = now_s
            write_line(text)
        if now_s - self._told_s >= _TELL_SYSTEMD_S:
            self._told_s = now_s
            self._notify.status(text)
            if now_s - self._moved_s < _SILENT_S:
                self._notify.extend_timeout(_EXTENSION_S)

    def clear(self) -> None:
        """Make room for a line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def _build(
    wanted: Engine, device: Device, store: PlanStore, screen: _Screen, *, show: bool
) -> Built:
    """Build in a thread of its own, so that this one can show progress and hear Ctrl-C."""
    from alprd.inference.building import build_engine  # noqa: PLC0415 -- takes OpenCV along
    from alprd.inference.trt_build import BuildProgress  # noqa: PLC0415

    result: list[Built | BaseException] = []
    done = threading.Event()

    def log(severity: str, message: str) -> None:
        if show:
            screen.clear()
            write_error(f"{severity}: {message}", program="tensorrt")

    def work() -> None:
        try:
            result.append(
                build_engine(
                    wanted,
                    device,
                    store,
                    progress=BuildProgress(screen.report),
                    log=log,
                    clock=time.perf_counter,
                    now=lambda: datetime.now(timezone.utc),
                )
            )
        except BaseException as error:  # noqa: BLE001 -- raised again by who waits
            result.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="engine-build", daemon=True).start()
    _wait(done, screen)
    screen.clear()
    [outcome] = result
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _wait(done: threading.Event, screen: _Screen, leave: Callable[[int], None] = os._exit) -> None:
    try:
        while not done.wait(_TICK_S):
            screen.tick()
    except KeyboardInterrupt:
        # TensorRT cannot be interrupted inside a layer, and nothing of ours is half done: an
        # unfinished file is no plan, and the next build clears it away.
        screen.clear()
        write_error("interrupted; what was built before stays, and the next build goes on")
        leave(EXIT_INTERRUPTED)
