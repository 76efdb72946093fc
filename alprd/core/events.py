"""The published form of a vehicle pass: payload, event id and time format.

`to_payload` is the only place that knows the field names of schema alprd.plate/1; the JSON Schema
beside it is `alprd/schemas/plate-1.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from alprd.core.speed import KMH_PER_MPH
from alprd.core.types import BoxPx, Direction, EventImage, PlateEvent, Speed, Vehicle

SCHEMA = "alprd.plate/1"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
RANDOM_BYTES = 10
"""What `uuid7` needs: 74 random bits, rounded up to bytes."""


def to_payload(
    event: PlateEvent,
    *,
    seq: int | None,
    device_id: str,
    software: str,
    models: Mapping[str, str],
) -> dict[str, Any]:
    """The event as a JSON object of schema alprd.plate/1; what was not measured is None.

    Args:
        event: the vehicle pass.
        seq: the device's gap-free number of the event; None outside a daemon.
        device_id: the device's name in topics.
        software: name and version, "alprd 0.1.0".
        models: name of each model used -> "sha256:...".

    Raises:
        ValueError: a probability is not a number, or a time has no time zone.
    """
    return {
        "schema": SCHEMA,
        "event_id": event.event_id,
        "continues": event.continues,
        "seq": seq,
        "device_id": device_id,
        "camera_id": event.camera_id,
        "plate": event.plate,
        "confidence": None if event.confidence is None else _probability(event.confidence),
        "char_confidences": [_probability(p) for p in event.char_confidences],
        "candidates": [
            {"plate": c.plate, "confidence": _probability(c.confidence)} for c in event.candidates
        ],
        "region": None
        if event.region is None
        else {"code": event.region.code, "confidence": _probability(event.region.confidence)},
        "reads": {"count": event.reads_count, "agreeing": event.reads_agreeing},
        "first_seen": format_time(event.first_seen),
        "last_seen": format_time(event.last_seen),
        "captured_at": format_time(event.captured_at),
        "direction": _direction(event.direction),
        "speed": _speed(event.speed),
        "vehicle": _vehicle(event.vehicle),
        "quad": [[round(x, 1), round(y, 1)] for x, y in event.quad] or None,
        "frame_size": list(event.frame_size),
        "crossings": [
            {
                "line": c.line,
                "label": c.label,
                "wrong_way": c.wrong_way if c.checked else None,
                "at": None if c.at is None else format_time(c.at),
            }
            for c in event.crossings
        ],
        "wrong_way": event.wrong_way,
        "zones": [
            {
                "zone": v.zone,
                "dwell_s": round(v.dwell_s, 2),
                "entered": v.entered,
                "left": v.left,
            }
            for v in event.zones
        ],
        "dwell_s": None if event.dwell_s is None else round(event.dwell_s, 2),
        "stationary": event.stationary,
        "lists": list(event.lists),
        "image": _image(event.image),
        "software": software,
        "models": dict(models),
    }


def format_time(at: datetime) -> str:
    """UTC with milliseconds and "Z": 2026-11-21T09:12:03.120Z.

    Raises ValueError for a naive time, which could be anybody's zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone; use datetime.now(timezone.utc)")
    text = at.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def uuid7(at: datetime, random: bytes) -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then 74 random bits.

    Args:
        at: aware time; one before 1970 counts as 1970.
        random: at least RANDOM_BYTES bytes from `os.urandom`; given, so that this stays pure.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone; use datetime.now(timezone.utc)")
    if len(random) < RANDOM_BYTES:
        raise ValueError(f"{len(random)} random bytes; uuid7 needs {RANDOM_BYTES}")
    millis = max(0, (at - EPOCH) // timedelta(milliseconds=1)) & 0xFFFF_FFFF_FFFF
    noise = int.from_bytes(random[:RANDOM_BYTES], "big")
    rand_a = noise & 0xFFF
    rand_b = (noise >> 12) & 0x3FFF_FFFF_FFFF_FFFF
    value = (millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _probability(value: float) -> float:
    """0..1 with four decimals. Raises ValueError: what is unknown is None, and never 0."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no probability; give None for what was not measured")
    return round(min(1.0, max(0.0, value)), 4)


def _direction(direction: Direction | None) -> dict[str, Any] | None:
    if direction is None:
        return None
    heading_deg = direction.heading_deg
    return {
        "label": direction.label,
        # 359.96 rounds to 360.0, which is 0.
        "heading_deg": None if heading_deg is None else round(heading_deg, 1) % 360.0,
        "zone": direction.zone,
        "confidence": None if direction.confidence is None else _probability(direction.confidence),
    }


def _speed(speed: Speed | None) -> dict[str, Any] | None:
    if speed is None:
        return None
    return {
        "kmh": round(speed.kmh, 1),
        "stderr_kmh": round(speed.stderr_kmh, 2),
        "calibration": speed.calibration,
        "mph": round(speed.kmh / KMH_PER_MPH, 1) if speed.unit == "mph" else None,
        "stderr_mph": round(speed.stderr_kmh / KMH_PER_MPH, 2) if speed.unit == "mph" else None,
        "limit_kmh": None if speed.limit_kmh is None else round(speed.limit_kmh, 1),
        "speeding": speed.speeding,
    }


def _vehicle(vehicle: Vehicle | None) -> dict[str, Any] | None:
    if vehicle is None:
        return None
    known = {attribute.name: attribute for attribute in vehicle.attributes}
    values = {name: attribute.value for name, attribute in known.items()}
    return {
        "color": None,
        "view": None,
        **values,
        "type": vehicle.type,
        "confidence": _probability(vehicle.confidence),
        "box": _rounded(vehicle.box),
        "reversing": vehicle.reversing,
        "confidences": {
            name: _probability(attribute.confidence)
            for name, attribute in known.items()
            if attribute.confidence is not None
        },
    }


def _image(image: EventImage | None) -> dict[str, Any] | None:
    if image is None:
        return None
    return {
        "file": image.file,
        "sha256": image.sha256,
        "bytes": image.size_bytes,
        "size": [image.width_px, image.height_px],
        "crop": image.crop,
        "plates": image.plates,
        "captured_at": format_time(image.captured_at),
        "topic": image.topic,
    }


def _rounded(box: BoxPx) -> list[float]:
    return [round(value, 1) for value in box]
