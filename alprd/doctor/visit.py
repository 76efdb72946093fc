"""The whole visit: every check in order, each on its own, so that one surprise spoils no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alprd.config import Settings
from alprd.doctor import broker, cameras, machine, storage
from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.doctor.models import ModelCheck
from alprd.doctor.person import READ, Person
from alprd.host.clock import clock_state
from alprd.host.local_sample import read_sample
from alprd.host.nvml import GpuMeter
from alprd.host.sample import HostMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the doctor looks at beside the configuration; tests put something else there.

    Attributes:
        who: the daemon's user.
        root: of the file system.
        clock_state: tells whether the clock is synchronised.
        gpus: asks the driver.
        environ: the environment.
    """

    who: Person
    root: Path = Path("/")
    clock_state: Callable[[], dict[str, Any] | None] = clock_state
    gpus: Callable[[], GpuMeter] = GpuMeter
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def visit(settings: Settings, around: Surroundings, *, open_cameras: bool) -> Iterator[Finding]:
    """All findings, one after the other as they are known.

    Args:
        settings: a configuration that can be read.
        around: where to look.
        open_cameras: open cameras also when a running daemon has them.
    """
    who = around.who
    yield ok("configuration", f"{len(settings.cameras)} cameras, device {settings.device_id}")
    yield from _guarded("secrets", lambda: _secrets(settings, who))
    is_running = storage.daemon_runs(settings.outbox.path)
    sample = read_sample(settings.device_id, around.environ) if is_running else None
    yield from _guarded("daemon", lambda: _daemon(is_running=is_running, sample=sample))
    models = ModelCheck(settings.inference)
    yield from _guarded("models", models.findings)
    gpus = around.gpus()
    try:
        yield from _guarded("gpu", lambda: machine.gpu(who, gpus=gpus, root=around.root))
        yield from _guarded(
            "machine",
            lambda: machine.figures(
                settings.alerts,
                settings.outbox.path.absolute().parent,
                meter=HostMeter(around.root, clock_state=around.clock_state),
                gpus=gpus,
            ),
        )
    finally:
        gpus.close()
    yield from _guarded(
        "outbox", lambda: storage.outbox(settings.outbox.path, who, is_running=is_running)
    )
    yield from _guarded("broker", lambda: broker.brokers(settings))
    if is_running and not open_cameras:
        yield from _guarded("cameras", lambda: cameras.cameras_of_daemon(settings, sample))
    else:
        detector = None if models.models is None else models.models.detector
        yield from _guarded("cameras", lambda: cameras.cameras(settings, who, detector=detector))


def _daemon(*, is_running: bool, sample: Mapping[str, Any] | None) -> Iterator[Finding]:
    if not is_running:
        yield ok("daemon", "does not run; cameras are opened here")
        return
    yield ok("daemon", "runs; its cameras are left to it")
    if sample is not None:
        for alert in sample["alerts"]:
            about = "" if alert["subject"] is None else f" {alert['subject']}"
            yield warning("alert", f"{alert['kind']}{about}: {alert['message']}")


def _secrets(settings: Settings, who: Person) -> Iterator[Finding]:
    files = [
        settings.mqtt.password_file,
        settings.mqtt.key_file,
        *(camera.password_file for camera in settings.cameras),
    ]
    named = [path for path in files if path is not None]
    bad = list(_badly_kept(named, who))
    yield from bad
    if not bad:
        yield ok("secrets", f"{len(named)} files, for the daemon alone" if named else "no files")


def _badly_kept(named: Iterable[Path], who: Person) -> Iterator[Finding]:
    for path in named:
        try:
            if path.stat().st_mode & 0o004:
                yield warning("secrets", f"everybody can read {path}; chmod 600 {path}")
            elif not who.may(path, READ):
                yield problem("secrets", f"{who.name} may not read {path}; chown {who.name} {path}")
        except OSError as error:
            yield problem("secrets", f"{path}: {error.strerror}")


def _guarded(name: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 -- one check's surprise must not hide the others
        yield problem(name, f"could not be checked: {type(error).__name__}: {error}")
