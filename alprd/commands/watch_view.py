"""What `alprd watch` shows: messages in, lines or a table out; no network, no clock."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

MAX_EVENTS = 500
MAX_IN_VIEW = 10
_STATE_STYLE = {
    "online": "green",
    "stalled": "yellow",
    "offline": "red",
    "stopped": "yellow",
    "ended": "cyan",
    "disabled": "dim",
}


@dataclass(slots=True)
class View:
    """What was heard so far.

    Attributes:
        prefix: first topic level(s); None: whatever they are.
        events: newest last, at most `MAX_EVENTS`.
        cameras: camera id -> its last status payload.
        devices: device id -> its availability.
        with_tracks: whether live tracks are shown.
        in_view: event id -> the newest track message of a vehicle that has not left.
        connection: one word or line about the broker.
    """

    prefix: str | None
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    with_tracks: bool = False
    in_view: dict[str, dict[str, Any]] = field(default_factory=dict)
    connection: str = "connecting"
    total: int = 0

    def take(self, topic: str, payload: bytes) -> str | None:
        """Digest one message; the line that a pipe gets for it, None when it says nothing new."""
        parts = self._levels(topic)
        if len(parts) == 3 and parts[0] == "devices" and parts[2] == "availability":
            return self._take_availability(plain_text(parts[1]), payload.decode("utf-8", "replace"))
        message = _object(payload)
        if len(parts) != 2 or message is None:
            return None
        if parts[1] == "plates":
            self.events.append(message)
            self.total += 1
            return event_line(message)
        if parts[1] == "tracks":
            return self._take_track(message) if self.with_tracks else None
        return self._take_status(plain_text(parts[0]), message) if parts[1] == "status" else None

    def _levels(self, topic: str) -> list[str]:
        """The topic without its prefix."""
        if self.prefix is not None:
            return topic.removeprefix(self.prefix + "/").split("/")
        levels = topic.split("/")
        return levels[-3:] if levels[-3:-2] == ["devices"] else levels[-2:]

    def _take_availability(self, device: str, state: str) -> str | None:
        if self.devices.get(device) == state:
            return None
        self.devices[device] = state = plain_text(state)
        return f"device {device}: {state}"

    def _take_track(self, message: dict[str, Any]) -> str:
        event_id = str(message.get("event_id"))
        self.in_view.pop(event_id, None)
        if message.get("kind") != "end":
            self.in_view[event_id] = message
            if len(self.in_view) > MAX_IN_VIEW:  # ends may be missed
                del self.in_view[next(iter(self.in_view))]
        return track_line(message)

    def _take_status(self, camera: str, message: dict[str, Any]) -> str | None:
        before = self.cameras.get(camera, {})
        self.cameras[camera] = message
        if _said(before) == _said(message):
            return None
        return f"camera {camera}: {statusplain_text(message)}"

    def render(self, height: int) -> RenderableType:
        """The table of the newest events that fit into `height` lines, and the state line below."""
        footer = self._footer()
        rows = max(height - 5 - len(footer), 1)
        table = Table(expand=True, title=None)
        for heading in ("time", "camera", "plate", "confidence", "direction", "speed", "reads"):
            table.add_column(heading, justify="right" if heading == "confidence" else "left")
        for event in list(self.events)[-rows:][::-1]:
            cells = [Text(cell) for cell in event_cells(event)]
            cells[2].stylize("bold")
            table.add_row(*cells)
        return Group(table, *footer)

    def _footer(self) -> list[Text]:
        lines = [Text(f"{self.connection}; {self.total} events; Ctrl-C ends", style="dim")]
        lines += [Text(track_line(each), style="cyan") for each in self.in_view.values()]
        for kind, states in (
            ("device", {name: {"state": state} for name, state in self.devices.items()}),
            ("camera", self.cameras),
        ):
            for name, status in sorted(states.items()):
                state = str(status.get("state", "?"))
                line = Text(f"{kind} {name}: ")
                line.append(statusplain_text(status), style=_STATE_STYLE.get(state, ""))
                lines.append(line)
        return lines


def event_cells(event: Mapping[str, Any]) -> tuple[str, str, str, str, str, str, str]:
    """Time, camera, plate, confidence, direction, speed, reads; "-" where nothing was measured."""
    confidence = event.get("confidence")
    reads = event.get("reads")
    direction = event.get("direction")
    speed = event.get("speed")
    return (
        local_time(plain_text(event.get("captured_at", ""))),
        plain_text(event.get("camera_id", "?")),
        plain_text(event.get("plate") or "-"),
        f"{confidence:.0%}" if isinstance(confidence, (int, float)) else "-",
        plain_text(direction.get("label", "-")) if isinstance(direction, dict) else "-",
        speed_text(speed) if isinstance(speed, dict) else "-",
        plain_text(f"{reads.get('agreeing')}/{reads.get('count')}")
        if isinstance(reads, dict)
        else "-",
    )


def speed_text(speed: Mapping[str, Any]) -> str:
    """In miles where the camera is set to them; with "!" when a limit was surely exceeded."""
    kmh, mph = speed.get("kmh"), speed.get("mph")
    if isinstance(mph, (int, float)):
        text = f"{mph:.0f} mph"
    else:
        text = f"{kmh:.0f} km/h" if isinstance(kmh, (int, float)) else "-"
    return f"{text} !" if speed.get("speeding") is True else text


def event_line(event: Mapping[str, Any]) -> str:
    """One event as a line for people."""
    time, camera, plate, confidence, direction, speed, reads = event_cells(event)
    parts = [time, f"{camera:<16}", f"{plate:<10}", f"{confidence:>4}", f"reads {reads}"]
    parts += [value for value in (direction, speed) if value != "-"]
    return "  ".join(parts)


def track_line(track: Mapping[str, Any]) -> str:
    """One track message as a line for people."""
    seen = {**track, "captured_at": track.get("last_seen") or "-"}
    time, camera, plate, confidence, direction, _, reads = event_cells(seen)
    parts = [time, f"{camera:<16}", f"{plate:<10}", f"{confidence:>4}", f"reads {reads}"]
    parts += [direction] if direction != "-" else []
    seq = track.get("seq")
    told = plain_text(track.get("kind", "?"))
    return "  ".join([*parts, f"({told})" if seq is None else f"({told}, seq {plain_text(seq)})"])


def statusplain_text(status: Mapping[str, Any]) -> str:
    """A camera's state with what matters: frames per second while online, else the reason."""
    state = plain_text(status.get("state", "?"))
    fps = status.get("fps")
    if state == "online" and isinstance(fps, (int, float)):
        return f"{state}, {fps:.1f} fps"
    error = status.get("last_error")
    return f"{state} ({plain_text(error)})" if error and state != "online" else state


def local_time(iso: str) -> str:
    """The local wall time of an ISO time stamp, to the second; the text itself if it is none."""
    try:
        # Python 3.10's fromisoformat does not know "Z".
        return datetime.fromisoformat(iso.replace("Z", "+00:00")).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return iso or "-"


def _object(payload: bytes) -> dict[str, Any] | None:
    """The JSON object; None for somebody else's message on our topic or a cleared retained one."""
    try:
        message = json.loads(payload)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def plain_text(value: object) -> str:
    """As one printable line: whoever may publish must not control our terminal."""
    return "".join(c if c.isprintable() else "�" for c in str(value))


def _said(status: Mapping[str, Any]) -> tuple[Any, Any]:
    return status.get("state"), status.get("last_error")
