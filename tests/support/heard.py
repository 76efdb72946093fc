"""Reading what a subscriber heard from a daemon."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from support.subscriber import Received


def events(messages: Iterable[Received], camera: str | None = None) -> list[dict[str, Any]]:
    """The plate events, in the order of arrival."""
    found = [json.loads(m.payload) for m in messages if m.topic.endswith("/plates")]
    return [event for event in found if camera is None or event["camera_id"] == camera]


def states(messages: Iterable[Received], camera: str) -> list[str]:
    """The camera's states in order, without immediate repetitions."""
    found: list[str] = []
    for status in statuses(messages, camera):
        if not found or found[-1] != status["state"]:
            found.append(status["state"])
    return found


def statuses(messages: Iterable[Received], camera: str) -> list[dict[str, Any]]:
    """The camera's status messages in order."""
    return [
        json.loads(m.payload)
        for m in messages
        if m.topic.endswith(f"/{camera}/status") and m.payload
    ]


def availability(messages: Iterable[Received]) -> list[str]:
    """What the device said about itself, in order."""
    return [m.payload.decode() for m in messages if m.topic.endswith("/availability")]


def assert_no_gap(found: list[dict[str, Any]]) -> None:
    """Every sequence number from 1 on is there; a resend is the same event again."""
    ids: dict[int, str] = {}
    for event in found:
        assert ids.setdefault(event["seq"], event["event_id"]) == event["event_id"]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    assert len(set(ids.values())) == len(ids)
