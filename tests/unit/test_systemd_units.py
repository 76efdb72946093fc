"""The units: what the one confines, the other does as well, and nothing waits for ever."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
# Only the daemon talks to cameras and to a broker, and asks the kernel about the clock.
OF_THE_DAEMON = {
    "DeviceAllow=char-video4linux rw",
    "DeviceAllow=char-media rw",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallFilter=adjtimex clock_adjtime",
}
CONFINING = (
    *("DevicePolicy", "DeviceAllow", "CapabilityBoundingSet", "AmbientCapabilities", "NoNew"),
    *("Protect", "Private", "Restrict", "RemoveIPC", "Lock", "KeyringMode", "SystemCall"),
    *("User", "UMask", "CacheDirectory", "Environment", "MemoryHigh", "MemoryMax", "LimitCORE"),
)


def lines(name: str) -> list[str]:
    text = (SYSTEMD / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def confining(name: str) -> set[str]:
    found = {line for line in lines(name) if line.startswith(CONFINING)}
    return {line for line in found if not line.startswith("RestartPrevent")}


def test_the_build_of_engines_is_confined_as_the_daemon_is() -> None:
    assert confining("alprd.service") - confining("alprd-engines.service") == OF_THE_DAEMON


def test_the_build_of_engines_has_no_network_and_writes_to_the_cache_alone() -> None:
    unit = lines("alprd-engines.service")
    assert "PrivateNetwork=yes" in unit
    assert not any(line.startswith(("StateDirectory", "ReadWritePaths")) for line in unit)


@pytest.mark.parametrize("key", ["JobTimeoutSec", "TimeoutStartSec"])
def test_the_build_of_engines_is_not_waited_for_without_end(key: str) -> None:
    [value] = [line for line in lines("alprd-engines.service") if line.startswith(f"{key}=")]
    assert not value.endswith("infinity")


def test_the_daemon_wants_engines_and_neither_requires_them_nor_waits() -> None:
    unit = lines("alprd.service")
    assert "Wants=alprd-engines.service" in unit
    ordered = [line for line in unit if line.startswith(("After=", "Requires=", "BindsTo="))]
    assert not any("alprd-engines" in line for line in ordered)
    assert not any(line.startswith("Before=") for line in lines("alprd-engines.service"))


@pytest.mark.parametrize(
    ("result", "new", "restarted"),
    [("success", True, True), ("success", False, False), ("exit-code", True, False)],
)
def test_the_daemon_is_started_again_when_the_build_succeeded_and_an_engine_is_new(
    tmp_path: Path, result: str, *, new: bool, restarted: bool
) -> None:
    """The one engine without the other is of no use to it."""
    [line] = [each for each in lines("alprd-engines.service") if each.startswith("ExecStopPost=")]
    cache, run = tmp_path / "cache", tmp_path / "run"
    text = line.removeprefix("ExecStopPost=+").replace("%C", str(cache)).replace("%t", str(run))
    systemctl = tmp_path / "bin" / "systemctl"
    engines, begun = cache / "alprd" / "engines", run / "alprd-engines" / "begun"
    for folder in (systemctl.parent, engines, begun.parent):
        folder.mkdir(parents=True)
    systemctl.write_text(f'#!/bin/sh\necho "$@" >{tmp_path / "said"}\n')
    systemctl.chmod(0o755)
    plan = engines / "plate-reader.fp16.plan"
    for path, age in ((begun, 100), (plan, 90 if new else 110)):
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    environment = {"SERVICE_RESULT": result, "PATH": f"{systemctl.parent}:/usr/bin:/bin"}
    assert subprocess.run(shlex.split(text), env=environment, check=False).returncode == 0
    assert (tmp_path / "said").exists() is restarted


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/python3/dist-packages",
        "usr/lib/python3.10/dist-packages",
        "usr/local/lib/python3.12/dist-packages",
        "usr/lib/alprd/lib/python3.11/site-packages",
    ],
)
def test_tensorrt_is_found_wherever_alprd_imports_it_from(tmp_path: Path, place: str) -> None:
    prefix = "ConditionPathExistsGlob=/"
    [pattern] = [each for each in lines("alprd-engines.service") if each.startswith(prefix)]
    (tmp_path / place / "tensorrt").mkdir(parents=True)
    found = subprocess.run(  # braces, as systemd's glob takes them
        ["bash", "-c", f"shopt -s nullglob; echo {pattern.removeprefix(prefix)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"{place}/tensorrt\n"
