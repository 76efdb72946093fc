"""What Home Assistant is told, by its own rules, and what its templates make of our messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jsonschema import Draft202012Validator

from alprd.config import HomeAssistantSettings
from alprd.core.types import Speed
from alprd.publish.discovery import CAMERA_STATES, Discovery, discovery_payload
from alprd.publish.notes import Notes
from alprd.publish.outbox import Outbox
from support.outboxes import open_outbox
from support.payloads import payload_of
from support.plate_events import plate_event


@cache
def schema() -> Draft202012Validator:
    text = (files("alprd") / "schemas" / "homeassistant-device.json").read_text(encoding="utf-8")
    Draft202012Validator.check_schema(json.loads(text))
    return Draft202012Validator(json.loads(text))


def problems(payload: Mapping[str, Any]) -> list[str]:
    return [f"{e.json_path}: {e.message}" for e in schema().iter_errors(payload)]


def described(*cameras: str, zones: tuple[str, ...] = ()) -> dict[str, Any]:
    return discovery_payload(
        device_id="edge-07", prefix="alpr", camera_ids=cameras, zones=zones, expire_after_s=31
    )


def rendered(template: str, payload: bytes | str) -> str:
    """As Home Assistant does: `value_json` is there when the payload is JSON."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["to_json"] = json.dumps
    text = payload if isinstance(payload, str) else payload.decode()
    variables: dict[str, Any] = {"value": text}
    with suppress(ValueError):
        variables["value_json"] = json.loads(text)
    return environment.from_string(template).render(variables)


class Board:
    def __init__(self) -> None:
        self.announced: list[tuple[str, bytes]] = []
        self.passed: list[str] = []

    def camera_status(self, status: Any) -> None:
        self.passed.append(status)

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        self.passed.append(name)

    def announce(self, topic: str, payload: bytes) -> None:
        self.announced.append((topic, payload))

    def newest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.announced[-1][1])
        return found


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with open_outbox(tmp_path / "outbox.sqlite") as opened:
        yield opened


@pytest.fixture
def discovery(board: Board, outbox: Outbox) -> Discovery:
    return started(board, outbox)


def started(board: Board, outbox: Outbox) -> Discovery:
    """As at the daemon's start."""
    return Discovery(board, board.announce, device_id="edge-07", prefix="alpr", notes=Notes(outbox))


ON = HomeAssistantSettings(enabled=True)


def test_the_message_is_what_home_assistant_takes() -> None:
    payload = described("gate-in", "yard", zones=("cpu-thermal", 'odd "zone"', "GPU"))
    assert problems(payload) == []
    platforms = [c["platform"] for c in payload["components"].values()]
    assert (platforms.count("event"), platforms.count("sensor")) == (2, 9)


def test_every_entity_has_an_id_of_its_own() -> None:
    payload = described("a", "b", zones=("cpu", "gpu"))
    ids = [c["unique_id"] for c in payload["components"].values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "change",
    [
        {"device": {"name": "x"}},
        {"origin": {}},
        {"components": {}},
        {"availability_topic": "alpr/#"},
        {"state": "x"},
        {"components": {"a b": {"platform": "sensor"}}},
        {"components": {"a": {"platform": "light", "unique_id": "x", "state_topic": "t"}}},
        {"components": {"a": {"platform": "sensor", "state_topic": "t"}}},
        {"components": {"a": {"platform": "event", "unique_id": "x", "state_topic": "t"}}},
    ],
)
def test_the_schema_refuses_what_home_assistant_would(change: dict[str, Any]) -> None:
    assert problems({**described("gate"), **change})


def test_the_last_plate_and_its_attributes_come_from_an_event() -> None:
    event = payload_of(replace(plate_event(1), lists=("staff",)))
    sensor = described("gate")["components"]["gate_plate"]
    assert sensor["state_topic"] == sensor["json_attributes_topic"] == "alpr/gate/plates"
    assert rendered(sensor["value_template"], json.dumps(event)) == "AB01CDE"
    attributes = json.loads(rendered(sensor["json_attributes_template"], json.dumps(event)))
    assert attributes["lists"] == ["staff"]
    assert attributes["seq"] == 1


def test_a_pass_is_an_event_of_a_type_that_was_announced() -> None:
    entity = described("gate")["components"]["gate_pass"]
    fired = json.loads(rendered(entity["value_template"], json.dumps(payload_of(plate_event(1)))))
    assert fired["event_type"] in entity["event_types"]
    assert fired["plate"] == "AB01CDE"


def test_a_speed_that_was_not_measured_is_unknown_and_never_0() -> None:
    template = described("gate")["components"]["gate_speed"]["value_template"]
    assert rendered(template, json.dumps(payload_of(plate_event(1)))) == "None"
    speed = Speed(kmh=31.44, stderr_kmh=0.6, calibration="sha256:" + "0" * 64)
    event = payload_of(replace(plate_event(1), speed=speed))
    assert rendered(template, json.dumps(event)) == "31.4"


@pytest.mark.parametrize("state", CAMERA_STATES)
def test_every_state_of_a_camera_is_among_the_options(state: str) -> None:
    sensor = described("gate")["components"]["gate_status"]
    assert rendered(sensor["value_template"], json.dumps({"state": state})) in sensor["options"]


def test_a_removed_cameras_empty_status_is_offline() -> None:
    assert (
        rendered(described("gate")["components"]["gate_status"]["value_template"], "") == "offline"
    )


@pytest.mark.parametrize(
    ("said", "understood"), [("online", "online"), ("offline", "offline"), ("stopped", "offline")]
)
def test_a_clean_stop_is_not_available(said: str, understood: str) -> None:
    assert rendered(described("gate")["availability_template"], said) == understood


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ([{"name": "cpu", "c": 51.5, "max_c": None}, {"name": "gpu", "c": 40.0}], "51.5"),
        ([{"name": "cpu", "c": None, "max_c": None}], "None"),
        ([{"name": "gpu", "c": 40.0}], "None"),
        ([], "None"),
        (None, "None"),
    ],
)
def test_a_temperature_comes_from_health_or_is_unknown(zones: Any, expected: str) -> None:
    sensor = described(zones=("cpu",))["components"]["temperature_cpu"]
    assert sensor["state_topic"] == "alpr/devices/edge-07/health"
    assert rendered(sensor["value_template"], json.dumps({"temperatures": zones})) == expected


def test_an_odd_zone_name_breaks_no_template() -> None:
    zone = 'a"b\\c {{ x }}'
    (sensor,) = described(zones=(zone,))["components"].values()
    health = {"temperatures": [{"name": zone, "c": 42.0}]}
    assert rendered(sensor["value_template"], json.dumps(health)) == "42.0"


def test_nothing_is_said_unless_it_is_switched_on(discovery: Discovery, board: Board) -> None:
    discovery.use(HomeAssistantSettings(), ["gate"], 10.0)
    discovery.device("health", {"temperatures": [{"name": "cpu", "c": 50.0}]}, retain=True)
    assert board.announced == []
    assert board.passed == ["health"]


def test_zones_are_learned_from_health_and_told_once(discovery: Discovery, board: Board) -> None:
    discovery.use(ON, ["gate"], 10.0)
    topic, _ = board.announced[0]
    assert topic == "homeassistant/device/edge-07/config"
    for names in (("cpu",), ("cpu", "gpu"), ("gpu",), (), None):
        zones = None if names is None else [{"name": n, "c": 50.0} for n in names]
        discovery.device("health", {"temperatures": zones}, retain=True)
    assert len(board.announced) == 3  # at first, with cpu, with gpu: one that is away stays
    newest = board.newest()
    assert newest["components"]["temperature_gpu"]["expire_after"] == 31
    assert problems(newest) == []


def test_a_removed_camera_is_named_without_settings_which_removes_it(
    discovery: Discovery, board: Board
) -> None:
    discovery.use(ON, ["gate", "yard"], 10.0)
    discovery.use(ON, ["gate"], 10.0)
    newest = board.newest()
    assert newest["components"]["yard_plate"] == {"platform": "sensor"}
    assert newest["components"]["yard_pass"] == {"platform": "event"}
    assert problems(newest) == []
    discovery.use(ON, ["gate", "yard"], 10.0)
    assert "unique_id" in board.newest()["components"]["yard_plate"]


def test_switched_off_it_takes_its_message_away(discovery: Discovery, board: Board) -> None:
    discovery.use(ON, ["gate"], 10.0)
    discovery.use(HomeAssistantSettings(), ["gate"], 10.0)
    assert board.announced[-1] == ("homeassistant/device/edge-07/config", b"")
    discovery.use(HomeAssistantSettings(), ["gate"], 10.0)
    assert len(board.announced) == 2


def test_a_camera_that_left_while_the_daemon_was_off_is_removed_and_a_temperature_is_not(
    board: Board, outbox: Outbox
) -> None:
    before = started(board, outbox)
    before.use(ON, ["gate", "yard"], 10.0)
    before.device("health", {"temperatures": [{"name": "cpu", "c": 40.0}]}, retain=True)
    started(board, outbox).use(ON, ["gate"], 10.0)
    components = board.newest()["components"]
    assert components["yard_plate"] == {"platform": "sensor"}
    assert components["yard_pass"] == {"platform": "event"}
    assert len(components["gate_plate"]) > 1
    assert "temperature_cpu" not in components
    assert problems(board.newest()) == []
