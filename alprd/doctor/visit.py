"""The whole visit: every check in order, each on its own, so that one surprise spoils no other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from alprd.config import Settings
from alprd.doctor import broker, cameras, gpu, machine, storage
from alprd.doctor.credentials import NOTHING, Handed
from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.doctor.models import ModelCheck
from alprd.doctor.person import READ, Person
from alprd.host.clock import clock_state
from alprd.host.local_sample import read_sample
from alprd.host.nvml import GpuMeter
from alprd.host.sample import HostMeter

_Found = TypeVar("_Found")
_LARGE_FILE = 8
"""So many times the patience: an outbox of gigabytes is read as a whole."""


class _HangError(Exception):
    """Somebody was asked and has not answered in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the doctor looks at beside the configuration; tests put something else there.

    Attributes:
        who: the daemon's user.
        root: of the file system.
        clock_state: tells whether the clock is synchronised.
        gpus: asks the driver.
        software: what is installed for a GPU.
        environ: the environment.
        handed: the daemon's credentials, of which systemd gives none to us.
        patience_s: how long a disk, the kernel or the GPUs' driver may take to answer.
    """

    who: Person
    root: Path = Path("/")
    clock_state: Callable[[], dict[str, Any] | None] = clock_state
    gpus: Callable[[], GpuMeter] = GpuMeter
    software: gpu.Software = gpu.HERE
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    handed: Handed = NOTHING
    patience_s: float = 15.0


def visit(settings: Settings, around: Surroundings, *, open_cameras: bool) -> Iterator[Finding]:
    """All findings, one after the other as they are known.

    Args:
        settings: a configuration that can be read.
        around: where to look.
        open_cameras: open cameras also when a running daemon has them.
    """
    who, patience_s = around.who, around.patience_s
    yield ok("configuration", f"{len(settings.cameras)} cameras, device {settings.device_id}")
    # Slowdowns are counted from here on.
    meter = HostMeter(around.root, clock_state=around.clock_state)
    yield from _guarded("secrets", lambda: _secrets(settings, who, around.handed))
    is_held = _is_held(settings.outbox.path, patience_s)
    sample = None if is_held is False else read_sample(settings.device_id, around.environ)
    is_running = True if sample is not None else is_held
    yield from _guarded("daemon", lambda: _daemon(is_running=is_running, sample=sample))
    models = ModelCheck(settings.inference)
    yield from _guarded("models", models.findings)
    gpus = _asked(around)
    yield from _guarded(
        "gpu", lambda: gpu.gpu(who, gpus=gpus, software=around.software, root=around.root)
    )
    folder = settings.outbox.path.absolute().parent
    yield from _guarded(
        "machine",
        lambda: machine.figures(settings.alerts, folder, meter=meter, gpus=gpus),
        limit_s=patience_s,
    )
    yield from _guarded(
        "outbox",
        lambda: storage.outbox(settings.outbox.path, who, is_running=is_held),
        limit_s=_LARGE_FILE * patience_s,
    )
    if "mqtt.password" in around.handed.unreadable and settings.mqtt.password is None:
        yield warning(
            "broker",
            "not tried: its password is a credential for root alone; run the doctor as root",
        )
    else:
        yield from _guarded("broker", lambda: broker.brokers(settings))
    if open_cameras or is_running is False:
        detector = None if models.models is None else models.models.detector
        yield from _guarded("cameras", lambda: cameras.cameras(settings, who, detector=detector))
    elif is_running:
        yield from _guarded("cameras", lambda: cameras.cameras_of_daemon(settings, sample))
    else:
        yield from _guarded("cameras", lambda: cameras.cameras_unseen(settings))
    models.close()


def _daemon(*, is_running: bool | None, sample: Mapping[str, Any] | None) -> Iterator[Finding]:
    if is_running is None:
        yield warning(
            "daemon",
            "whether it runs is not for this user to see; run the doctor as root. No camera is "
            "opened without --open-cameras",
        )
        return
    if not is_running:
        yield ok("daemon", "does not run; cameras are opened here")
        return
    yield ok("daemon", "runs; its cameras are left to it")
    if sample is None:
        return
    for alert in sample["alerts"]:
        about = "" if alert["subject"] is None else f" {alert['subject']}"
        yield warning("alert", f"{alert['kind']}{about}: {alert['message']}")
    yield from _delivery(sample["pipeline"]["delivery"])


def _delivery(stats: Mapping[str, Any]) -> Iterator[Finding]:
    """What the daemon found out about the topics that no test message may go to."""
    if not stats["connected"]:
        yield warning("delivery", f"the daemon has no broker: {stats['last_error'] or 'not yet'}")
    if stats.get("given_up"):
        yield problem(
            "delivery",
            f"the broker does not take {', '.join(stats['given_up'])}; mend its access list, see "
            "etc/mosquitto/acl",
        )
    if stats.get("parked"):
        yield warning(
            "delivery",
            f"a broker refused {stats['parked']} events, which are kept "
            f"({stats.get('last_refusal')}); mend its access list, see etc/mosquitto/acl",
        )


def _is_held(outbox: Path, limit_s: float) -> bool | None:
    try:
        return _within(limit_s, lambda: storage.daemon_runs(outbox))
    except _HangError:
        return None  # the outbox's own line says what is wrong


def _asked(around: Surroundings) -> gpu.Answers:
    try:
        return _within(around.patience_s, lambda: gpu.answers(around.gpus))
    except _HangError:
        return gpu.Answers(hangs=True)
    except Exception:  # noqa: BLE001 -- a library's surprise: the driver cannot be asked
        return gpu.Answers()


def _secrets(settings: Settings, who: Person, given: Handed) -> Iterator[Finding]:
    files = [
        ("mqtt.password", settings.mqtt.password_file),
        ("privacy.key", settings.privacy.key_file),
        *((f"camera.{camera.id}.password", camera.password_file) for camera in settings.cameras),
        ("", settings.mqtt.key_file),
    ]
    # Of a credential the daemon gets a copy: systemd has read the file, as root.
    named: dict[Path, bool] = {}
    for name, file in files:
        path = given.sources.get(name, file)
        if path is not None:
            named[path] = named.get(path, True) and name in given.sources
    bad = list(_badly_kept(named, who))
    yield from bad
    if not bad:
        yield ok("secrets", f"{len(named)} files, for the daemon alone" if named else "no files")


def _badly_kept(named: Mapping[Path, bool], who: Person) -> Iterator[Finding]:
    """Of files -> whether systemd hands them over."""
    for path, is_handed in named.items():
        try:
            if path.stat().st_mode & 0o004:
                yield warning("secrets", f"everybody can read {path}; chmod 600 {path}")
            elif not is_handed and not who.may(path, READ):
                yield problem("secrets", f"{who.name} may not read {path}; chown {who.name} {path}")
        except OSError as error:
            yield problem("secrets", f"{path}: {error.strerror}")


def _guarded(
    name: str, look: Callable[[], Iterable[Finding]], *, limit_s: float | None = None
) -> Iterator[Finding]:
    """One check, whatever becomes of it.

    Args:
        name: the check's.
        look: does it.
        limit_s: how long it may take; None where it has limits of its own.
    """
    try:
        yield from look() if limit_s is None else _within(limit_s, lambda: list(look()))
    except _HangError:
        yield problem(name, "does not answer; a disk or a driver hangs: see dmesg")
    except Exception as error:  # noqa: BLE001 -- one check's surprise must not hide the others
        yield problem(name, f"could not be checked: {type(error).__name__}: {error}")


def _within(limit_s: float, ask: Callable[[], _Found]) -> _Found:
    """The answer, or _HangError: whoever hangs in the kernel is left behind."""
    answer: Future[_Found] = Future()

    def tell() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 -- raised where it was asked for
            answer.set_exception(error)

    threading.Thread(target=tell, name="doctor", daemon=True).start()
    try:
        return answer.result(limit_s)
    except FutureTimeoutError:
        if answer.done():  # it did not hang: what was asked gave up by itself
            raise
        raise _HangError from None
