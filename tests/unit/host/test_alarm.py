"""Alerts are told once when they begin and once when they end, as their schema says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from alprd.config import AlertsSettings
from alprd.core.alerts import KINDS
from alprd.host.alarm import Alarm
from alprd.host.sample import HostMeter
from support.health import camera, pipeline, sample
from support.payloads import validator

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
BRISK = AlertsSettings(raise_after_s=10.0, clear_after_s=10.0)


class Heard:
    """What was said, and the time."""

    def __init__(self, settings: AlertsSettings = BRISK) -> None:
        self.said: list[tuple[str, Mapping[str, Any] | None]] = []
        self.now_s = 0.0
        self.alarm = Alarm(
            settings,
            lambda kind, payload: self.said.append((kind, payload)),
            min_fps={"gate": 5.0},
            clock=lambda: self.now_s,
            now=lambda: NOON,
        )

    def at(self, now_s: float, made: dict[str, Any]) -> bool:
        self.now_s = now_s
        self.said.clear()
        return self.alarm.judge(made)


def test_what_an_earlier_run_left_is_taken_away_when_it_would_have_been_raised_by_now(
    tmp_path: Path,
) -> None:
    heard = Heard()
    for now_s in (0.0, 5.0):
        assert not heard.at(now_s, sample(tmp_path))
        assert heard.said == []
    assert not heard.at(10.0, sample(tmp_path))
    assert heard.said == [(kind, None) for kind in sorted(KINDS)]
    heard.at(11.0, sample(tmp_path))
    assert heard.said == []


def test_an_alert_that_goes_on_over_a_restart_is_not_taken_away_in_between(tmp_path: Path) -> None:
    heard = Heard()
    hot = sample(tmp_path, temperatures=[{"name": "cpu", "c": 95.0, "max_c": None}])
    told = []
    for now_s in (0.0, 4.0, 10.0, 14.0, 60.0):
        heard.at(now_s, hot if now_s else sample(tmp_path))
        told += [payload for kind, payload in heard.said if kind == "over_temperature"]
    assert [payload is not None for payload in told] == [True]


def test_an_alert_says_the_newest_figure_once_a_minute(tmp_path: Path) -> None:
    heard = Heard()

    def hot(celsius: float) -> dict[str, Any]:
        zone = {"name": "cpu", "c": celsius, "max_c": None}
        return sample(tmp_path, temperatures=[zone])

    heard.at(0.0, hot(95.0))
    heard.at(10.0, hot(95.0))
    first = dict(heard.said)["over_temperature"]
    told = {}
    for now_s, celsius in ((15.0, 96.0), (69.0, 97.0), (70.0, 98.0), (130.0, 98.0)):
        assert not heard.at(now_s, hot(celsius))
        told[now_s] = [payload["alerts"][0]["value"] for _, payload in heard.said if payload]
    assert told == {15.0: [], 69.0: [], 70.0: [98.0], 130.0: []}
    assert first is not None
    assert first["alerts"][0]["value"] == 95.0


def test_a_machine_that_slows_down_and_a_clock_that_is_lost_are_told_and_taken_back(
    tmp_path: Path,
) -> None:
    device = tmp_path / "sys/class/thermal/cooling_device0"
    device.mkdir(parents=True)
    (device / "type").write_text("cpu-throttle-alert\n")
    (device / "cur_state").write_text("1\n")
    synchronised = [False]

    def now() -> dict[str, Any]:
        meter = HostMeter(
            tmp_path, clock_state=lambda: {"synchronised": synchronised[0], "max_error_s": None}
        )
        return sample(tmp_path, throttling=meter.throttling(), clock=meter.clock())

    heard = Heard()
    heard.at(0.0, now())
    with capture_logs() as lines:
        assert heard.at(10.0, now())
        told = {kind: payload for kind, payload in heard.said if payload is not None}
        assert set(told) == {"throttled", "clock_not_synchronised"}
        (device / "cur_state").write_text("0\n")
        synchronised[0] = True
        assert not heard.at(11.0, now())
        made = now()
        assert heard.at(21.0, made)
    assert heard.said == [("clock_not_synchronised", None), ("throttled", None)]
    assert made["alerts"] == []
    for payload in told.values():
        plain = json.loads(json.dumps(payload, allow_nan=False))
        assert [error.message for error in validator("alert-1").iter_errors(plain)] == []
    assert [(line["event"], line["kind"]) for line in lines] == [
        *(("alert.raised", kind) for kind in ("clock_not_synchronised", "throttled")),
        *(("alert.cleared", kind) for kind in ("clock_not_synchronised", "throttled")),
    ]


def test_the_second_camera_with_the_same_trouble_is_told_too(tmp_path: Path) -> None:
    heard = Heard()

    def blind(*names: str) -> dict[str, Any]:
        cameras = [
            camera(name, picture="black" if name in names else "clear") for name in ("a", "b")
        ]
        return sample(tmp_path, pipeline=pipeline(cameras=cameras))

    def subjects() -> list[list[str]]:
        return [
            [alert["subject"] for alert in payload["alerts"]]
            for kind, payload in heard.said
            if kind == "camera_blind" and payload is not None
        ]

    heard.at(0.0, blind("a"))
    heard.at(10.0, blind("a", "b"))
    assert subjects() == [["a"]]
    heard.at(20.0, blind("a", "b"))
    assert subjects() == [["a", "b"]]
    heard.at(21.0, blind("b"))
    heard.at(31.0, blind("b"))
    assert subjects() == [["b"]]


def test_switched_off_alerts_end_at_once_and_other_limits_judge_what_is_raised(
    tmp_path: Path,
) -> None:
    heard = Heard()
    hot = sample(tmp_path, temperatures=[{"name": "cpu", "c": 95.0, "max_c": None}])
    heard.at(0.0, hot)
    assert heard.at(10.0, hot)
    heard.alarm.use(BRISK.model_copy(update={"temperature_c": 110.0}), {})
    heard.at(11.0, hot)
    assert heard.at(21.0, hot)
    assert heard.said == [("over_temperature", None)]
    heard.alarm.use(BRISK, {})
    heard.at(30.0, hot)
    assert heard.at(40.0, hot)
    heard.alarm.use(BRISK.model_copy(update={"enabled": False}), {})
    assert heard.at(41.0, hot)
    assert heard.said == [("over_temperature", None)]
