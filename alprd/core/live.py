"""The published form of a track: what is read while the vehicle is in view, schema alprd.track/1.

The JSON Schema is `alprd/schemas/track-1.json`. The fields that a track has in common with the
event that may follow are those of the event, as far as it is known by then.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from alprd.core.events import to_payload
from alprd.core.types import PlateEvent

SCHEMA: Final = "alprd.track/1"
Kind = Literal["new", "update", "end"]

FIELDS: Final = (
    "plate",
    "confidence",
    "region",
    "reads",
    "first_seen",
    "last_seen",
    "direction",
    "vehicle",
    "quad",
    "frame_size",
    "dwell_s",
    "stationary",
    "lists",
)
"""What is the event's."""

UNCHANGED: Final = ("reads", "last_seen", "dwell_s", "confidence")
"""What grows by itself and alone is no news."""


def track_payload(
    kind: Kind,
    event: PlateEvent,
    *,
    device_id: str,
    published: bool,
    seq: int | None,
) -> dict[str, Any]:
    """The message.

    Args:
        kind: whether the track begins, goes on or is over.
        event: the pass as it stands, after the policy.
        device_id: the device's name in topics.
        published: whether there is an event of it by now.
        seq: the event's number; None while there is none, or while the disk does not take it.
    """
    known = to_payload(event, seq=seq, device_id=device_id, software="", models={})
    return {
        **_head(kind, event.event_id, device_id=device_id, camera_id=event.camera_id),
        "published": published,
        "seq": seq if published else None,
        **{name: known[name] for name in FIELDS},
    }


def bare_end(event_id: str, *, device_id: str, camera_id: str) -> dict[str, Any]:
    """The end of a track of which nothing may be told any more."""
    return {
        **_head("end", event_id, device_id=device_id, camera_id=camera_id),
        "published": False,
        "seq": None,
        **{name: [] if name == "lists" else None for name in FIELDS},
    }


def _head(kind: Kind, event_id: str, *, device_id: str, camera_id: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": kind,
        "event_id": event_id,
        "device_id": device_id,
        "camera_id": camera_id,
    }
