"""The published form of a vehicle pass: payload, event id and time format.

`to_payload` is the only place that knows the field names of schema alprd.plate/1; the JSON Schema
beside it is `alprd/schemas/plate-1.json`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

from alprd.core.motion import direction_of
from alprd.core.observe import Observation
from alprd.core.speed import KMH_PER_MPH
from alprd.core.tracking import Track
from alprd.core.types import BoxPx, Direction, PlateEvent, Speed, Vehicle
from alprd.core.voting import Vote, read_weight

SCHEMA = "alprd.plate/1"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
RANDOM_BYTES = 10
"""What `uuid7` needs: 74 random bits, rounded up to bytes."""

CLOCK_SLACK_S = 1.0
CLOCK_SLEW = 1e-3
"""The wall clock may drift from the steady axis by so much, and by this share of the time: more
than a clock that is steered does, less than one that is set."""

VEHICLE_SHARE = 1 / 3
"""A vehicle seen around the plate in fewer of its frames is not taken for its carrier."""


def make_event(
    track: Track,
    found: Vote,
    *,
    camera_id: str,
    new_event_id: Callable[[datetime], str],
    speed: Speed | None = None,
) -> PlateEvent:
    """The pass as an event, from the track up to now and its vote.

    `captured_at`, `quad` and the vehicle's box belong to one picture: the one whose read counts
    most of those that gave the published text (and show the vehicle, if there is one).
    """
    label, confidence = _carrier_type(track)
    # A read counts for the published text also before the format settled its look-alikes.
    texts = {found.plate, found.published}
    agreeing = [o for o in track.reads if o.read is not None and o.read.text in texts]
    reads = agreeing or list(track.reads) or [track.last]
    with_vehicle = [o for o in reads if o.vehicle is not None and o.vehicle.label == label]
    shown = max(with_vehicle or reads, key=_shows)
    carrier = shown.vehicle if with_vehicle else None
    first_read = track.first_read or track.first
    last = track.last_own
    first_seen, captured_at, last_seen = wall_times([track.first, shown, last])
    return PlateEvent(
        event_id=new_event_id(wall_times([first_read, last])[0]),
        camera_id=camera_id,
        plate=found.published,
        confidence=found.confidence,
        char_confidences=found.published_char_confidences,
        candidates=found.candidates,
        region=found.region,
        reads_count=track.reads_count,
        reads_agreeing=sum(track.count_of(text) for text in texts),
        first_seen=first_seen,
        last_seen=last_seen,
        captured_at=captured_at,
        direction=direction_of(track.path, shown.frame_size),
        speed=speed,
        vehicle=None
        if carrier is None
        else Vehicle(type=carrier.label, confidence=confidence, box=carrier.box),
        quad=shown.quad,
        frame_size=shown.frame_size,
    )


def wall_times(seen: Sequence[Observation]) -> list[datetime]:
    """The observations' wall times, never going back and never leaping ahead.

    The wall clock is for people and may be set while a vehicle passes, forward too (a device
    without a battery starts in 1970). Then the newest reading is the one that is right; the earlier
    times are counted back from it on the steady axis. So first_seen <= captured_at <= last_seen
    always holds, and they are as far apart as the pictures were.

    Args:
        seen: oldest first.
    """
    if all(_steady(a, b) for a, b in pairwise(seen)):
        return [o.captured_at for o in seen]
    newest = seen[-1]
    return [newest.captured_at - timedelta(seconds=newest.t_s - o.t_s) for o in seen]


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
        "seq": seq,
        "device_id": device_id,
        "camera_id": event.camera_id,
        "plate": event.plate,
        "confidence": _probability(event.confidence),
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
        "quad": [[round(x, 1), round(y, 1)] for x, y in event.quad],
        "frame_size": list(event.frame_size),
        "lists": list(event.lists),
        "image": None,
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


def _steady(earlier: Observation, later: Observation) -> bool:
    """Whether nobody set the wall clock between two observations."""
    wall_s = (later.captured_at - earlier.captured_at).total_seconds()
    steady_s = later.t_s - earlier.t_s
    return wall_s >= 0.0 and abs(wall_s - steady_s) <= CLOCK_SLACK_S + CLOCK_SLEW * steady_s


def _carrier_type(track: Track) -> tuple[str | None, float]:
    """The vehicle type with the greatest sum of scores, and its mean score over all sightings."""
    label, total = max(track.vehicles, key=lambda v: (v[1], v[0]), default=(None, 0.0))
    share = min(1.0, total / max(1, track.sightings))
    return (label, share) if share >= VEHICLE_SHARE else (None, 0.0)


def _shows(seen: Observation) -> tuple[float, float]:
    """How well a picture shows the plate; of equals the earlier."""
    weight = 0.0 if seen.read is None else read_weight(seen.read, seen.width_px)
    return weight, -seen.t_s


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
    return {
        "type": vehicle.type,
        "color": vehicle.color,
        "confidence": _probability(vehicle.confidence),
        "box": _rounded(vehicle.box),
    }


def _rounded(box: BoxPx) -> list[float]:
    return [round(value, 1) for value in box]
