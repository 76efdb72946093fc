"""The systemd unit says what the exit codes and the daemon's own limits mean for restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from alprd.commands.common import EXIT_BAD_CONFIG
from alprd.config.models import ProcessSettings

UNIT = Path(__file__).parents[2] / "systemd" / "alprd.service"


@pytest.fixture
def unit() -> dict[str, str]:
    """Its directives; what may be listed (DeviceAllow=, SystemCallFilter=) with its last value."""
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line]
    pairs = [line.split("=", 1) for line in lines if not line.startswith("#")]
    names = [name for name, _ in pairs]
    assert {name for name in names if names.count(name) > 1} == {"DeviceAllow", "SystemCallFilter"}
    return {name: value for name, value in pairs}  # noqa: C416 -- lists, not tuples


def test_a_bad_configuration_is_not_tried_again_and_what_passes_is(
    unit: dict[str, str],
) -> None:
    assert unit["Restart"] == "on-failure"
    assert unit["RestartPreventExitStatus"] == str(EXIT_BAD_CONFIG)
    # RestartPreventExitStatus holds for ExecStart alone: a check before it would restart for ever.
    assert "ExecStartPre" not in unit
    # A disk that is full for some minutes is no reason to give up; starts cannot exceed the limit
    # at all where each takes a while.
    assert unit["StartLimitIntervalSec"] == "1h"
    assert float(unit["RestartSec"]) * float(unit["StartLimitBurst"]) >= 1200


def test_the_clock_can_be_asked_but_not_set(unit: dict[str, str]) -> None:
    # ProtectClock= forbids to ask as well.
    assert "ProtectClock" not in unit
    assert unit["SystemCallFilter"] == "adjtimex clock_adjtime"
    assert unit["CapabilityBoundingSet"] == ""


def test_the_watchdog_and_the_stop_leave_the_daemon_its_own_limits(unit: dict[str, str]) -> None:
    process = ProcessSettings()
    assert float(unit["WatchdogSec"]) > process.stall_timeout_s
    assert float(unit["TimeoutStopSec"]) > process.stop_timeout_s
