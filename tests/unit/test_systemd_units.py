"""The units: what the one confines, the other does as well, and nothing waits for ever."""

from __future__ import annotations

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
