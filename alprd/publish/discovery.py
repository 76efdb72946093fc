"""Home Assistant's MQTT device discovery: one retained message that describes the whole device.

Topic <discovery prefix>/device/<device>/config, form: alprd/schemas/homeassistant-device.json. Home
Assistant then shows per camera the last plate, an event entity for automations, the speed and the
camera's status, and per device its temperatures; all of them read alprd's ordinary topics.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from alprd import __version__
from alprd.config.policy import HomeAssistantSettings
from alprd.core.types import CameraStatus
from alprd.ports import StateBoard
from alprd.publish.notes import Notes
from alprd.publish.sink import encode

CAMERA_STATES: Final = ("online", "stalled", "offline", "ended", "disabled")
MISSED_SAMPLES: Final = 3
"""Temperatures are unknown after so many health messages that did not come."""

# Home Assistant knows two words, alprd a third one for a clean stop.
_AVAILABILITY: Final = "{{ 'online' if value == 'online' else 'offline' }}"
# Only what an automation decides by: attributes are written to a database at every pass.
_SHOWN: Final = ("plate", "camera_id", "confidence", "lists", "captured_at", "event_id", "seq")

NOTE: Final = "discovered"
TEMPERATURE: Final = "temperature_"
MOST_REMOVED: Final = 200

Component = dict[str, Any]


def discovery_topic(prefix: str, device_id: str) -> str:
    """Where Home Assistant looks for the message; `prefix` is its own."""
    return f"{prefix}/device/{device_id}/config"


def discovery_payload(
    *,
    device_id: str,
    prefix: str,
    camera_ids: Sequence[str],
    zones: Collection[str],
    expire_after_s: int,
) -> dict[str, Any]:
    """The message.

    Args:
        device_id: the device's name in topics.
        prefix: first topic level(s) of alprd.
        camera_ids: the configured cameras.
        zones: names of the temperatures in health messages.
        expire_after_s: a temperature is unknown when none came for so long.
    """
    components: dict[str, Component] = {}
    for camera_id in camera_ids:
        components.update(_camera(f"{prefix}/{camera_id}", camera_id))
    for zone in sorted(zones):
        key = f"{TEMPERATURE}{_slug(zone)}"
        components[key] = {
            "platform": "sensor",
            "name": f"Temperature {zone}",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": f"{prefix}/devices/{device_id}/health",
            "value_template": "{{ value_json.temperatures | default([], true) "
            f"| selectattr('name', 'eq', {json.dumps(zone)}) | map(attribute='c') "
            "| first | default(None) }}",
            "expire_after": expire_after_s,
        }
    for key, component in components.items():
        component["unique_id"] = f"alprd_{device_id}_{key}"
    return {
        "device": {
            "identifiers": [f"alprd_{device_id}"],
            "name": device_id,
            "manufacturer": "alprd",
            "model": "licence plate recognition",
            "sw_version": __version__,
        },
        "origin": {"name": "alprd", "sw_version": __version__},
        "availability_topic": f"{prefix}/devices/{device_id}/availability",
        "availability_template": _AVAILABILITY,
        "qos": 1,
        "components": components,
    }


def _camera(topic: str, camera_id: str) -> dict[str, Component]:
    plates, status = f"{topic}/plates", f"{topic}/status"
    shown = ", ".join(f"'{name}': value_json.{name}" for name in _SHOWN)
    return {
        f"{camera_id}_plate": {
            "platform": "sensor",
            "name": f"{camera_id} last plate",
            "icon": "mdi:car",
            "state_topic": plates,
            "value_template": "{{ value_json.plate }}",
            "json_attributes_topic": plates,
            "json_attributes_template": f"{{{{ {{{shown}}} | to_json }}}}",
            "force_update": True,  # the same vehicle again is news
        },
        f"{camera_id}_pass": {
            "platform": "event",
            "name": f"{camera_id} vehicle pass",
            "icon": "mdi:car-arrow-right",
            "event_types": ["pass"],
            "state_topic": plates,
            "value_template": "{{ dict(value_json, event_type='pass') | to_json }}",
        },
        f"{camera_id}_speed": {
            "platform": "sensor",
            "name": f"{camera_id} last speed",
            "device_class": "speed",
            "unit_of_measurement": "km/h",
            "state_class": "measurement",
            "state_topic": plates,
            "value_template": "{{ value_json.speed.kmh if value_json.speed else None }}",
        },
        f"{camera_id}_status": {
            "platform": "sensor",
            "name": f"{camera_id} status",
            "device_class": "enum",
            "options": list(CAMERA_STATES),
            "entity_category": "diagnostic",
            "state_topic": status,
            # The message of a camera that was removed is empty.
            "value_template": "{{ value_json.state if value_json is defined else 'offline' }}",
        },
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "zone"


class Discovery:
    """A `StateBoard` in front of another one, which learns from health what there is to measure.

    Args:
        board: where everything is passed on to.
        announce: publishes a retained message on any topic; empty takes it away.
        device_id: the device's name in topics.
        prefix: first topic level(s) of alprd.
        notes: keep over restarts what was described of cameras.
    """

    def __init__(
        self,
        board: StateBoard,
        announce: Callable[[str, bytes], None],
        *,
        device_id: str,
        prefix: str,
        notes: Notes,
    ) -> None:
        self._board = board
        self._announce = announce
        self._device_id = device_id
        self._prefix = prefix
        self._lock = threading.Lock()
        self._settings = HomeAssistantSettings()
        self._camera_ids: tuple[str, ...] = ()
        self._interval_s = 0.0
        self._zones: frozenset[str] = frozenset()
        self._notes = notes
        before = notes.recall(NOTE)
        self._platforms = {key: str(platform) for key, platform in before.items()}
        self._said: tuple[str, bytes] | None = None

    def use(
        self, settings: HomeAssistantSettings, camera_ids: Sequence[str], health_interval_s: float
    ) -> None:
        """Describe these from now on; switched off, a description of ours is taken away."""
        with self._lock:
            self._settings = settings
            self._camera_ids, self._interval_s = tuple(camera_ids), health_interval_s
            self._describe()

    def camera_status(self, status: CameraStatus) -> None:
        """Pass it on."""
        self._board.camera_status(status)

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        """Pass it on, and look for zones that are not described yet."""
        self._board.device(name, payload, retain=retain)
        if name != "health":
            return
        zones = {str(zone["name"]) for zone in payload.get("temperatures") or ()}
        with self._lock:
            # A zone that is off for a while keeps its place.
            if not zones <= self._zones:
                self._zones |= zones
                self._describe()

    def _describe(self) -> None:
        topic = discovery_topic(self._settings.prefix, self._device_id)
        if self._said is not None and (not self._settings.enabled or topic != self._said[0]):
            self._announce(self._said[0], b"")
            self._said = None
        if not self._settings.enabled:
            return
        described = discovery_payload(
            device_id=self._device_id,
            prefix=self._prefix,
            camera_ids=self._camera_ids,
            zones=self._zones,
            expire_after_s=round(MISSED_SAMPLES * self._interval_s + 1.0),
        )
        platforms = {key: c["platform"] for key, c in described["components"].items()}
        # Home Assistant removes what is named without its settings.
        for key in sorted(self._platforms.keys() - platforms.keys())[:MOST_REMOVED]:
            described["components"][key] = {"platform": self._platforms[key]}
        self._platforms |= platforms
        # Temperatures come back by themselves; until then they must not be removed after a start.
        known = {k: v for k, v in self._platforms.items() if not k.startswith(TEMPERATURE)}
        self._notes.remember(NOTE, known)
        payload = encode(described)
        if self._said != (topic, payload):
            self._said = topic, payload
            self._announce(topic, payload)
