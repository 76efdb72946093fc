"""The event's JSON Schema, applied to events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from alprd.core.events import to_payload
from alprd.core.types import PlateEvent

MODELS = {"plate-detector": "sha256:" + "0" * 64, "plate-reader": "sha256:" + "f" * 64}


@cache
def validator(name: str = "plate-1") -> Draft202012Validator:
    """Checks formats (date-time, uuid) too."""
    schema = json.loads((files("alprd") / "schemas" / f"{name}.json").read_text())
    assert validator_for(schema) is Draft202012Validator
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def payload_of(event: PlateEvent, *, seq: int | None = 1) -> dict[str, Any]:
    """The event as it would be published, after a way through JSON text."""
    payload = to_payload(event, seq=seq, device_id="edge-07", software="alprd 0.1.0", models=MODELS)
    parsed: dict[str, Any] = json.loads(json.dumps(payload, allow_nan=False))
    return parsed


def schema_problems(payload: Mapping[str, Any]) -> list[str]:
    """One line per violation."""
    return [f"{e.json_path}: {e.message}" for e in validator().iter_errors(payload)]


def gap_problems(payload: Mapping[str, Any]) -> list[str]:
    """One line per violation of the gap's schema."""
    return [f"{e.json_path}: {e.message}" for e in validator("gap-1").iter_errors(payload)]


def problems_of(event: PlateEvent) -> list[str]:
    """What the schema says against the event's payload."""
    return schema_problems(payload_of(event))
