"""What `alprd watch` makes of messages: lines for a pipe, rows for a terminal, noise for nobody."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from alprd.commands.watch_view import MAX_EVENTS, View, event_cells, event_line, local_time

EVENT: dict[str, Any] = {
    "camera_id": "gate-in",
    "plate": "LS15EBC",
    "confidence": 0.973,
    "reads": {"count": 31, "agreeing": 29},
    "captured_at": "2026-11-21T09:12:03.120Z",
    "direction": {"label": "approaching", "heading_deg": 184.0, "zone": None},
    "speed": {"kmh": 31.4, "stderr_kmh": 0.6, "calibration": "sha256:x"},
}


def payload(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def shown(view: View, height: int = 20) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(view.render(height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_event_line_tells_what_matters() -> None:
    line = event_line(EVENT)
    for part in ("gate-in", "LS15EBC", "97%", "29/31", "approaching", "31 km/h"):
        assert part in line


def test_a_speed_is_shown_in_the_unit_of_its_camera_and_marked_when_it_is_too_high() -> None:
    speed = {**EVENT["speed"], "mph": 19.5, "speeding": True}
    assert event_cells({**EVENT, "speed": speed})[5] == "20 mph !"
    assert event_cells({**EVENT, "speed": {**speed, "mph": None}})[5] == "31 km/h !"
    assert event_cells({**EVENT, "speed": {**speed, "speeding": False}})[5] == "20 mph"


def test_what_was_not_measured_is_a_dash_and_no_zero() -> None:
    cells = event_cells({**EVENT, "direction": None, "speed": None})
    assert cells[4:6] == ("-", "-")


def test_an_event_of_an_unknown_shape_is_shown_without_failing() -> None:
    assert event_cells({"plate": "A1"})[2] == "A1"


def test_the_prefix_may_have_several_levels() -> None:
    view = View(prefix="site-a/alpr")
    assert view.take("site-a/alpr/gate-in/plates", payload(EVENT)) is not None
    assert view.total == 1


@pytest.mark.parametrize("content", [b"", b"not json", b"[1]", b'"text"', b"\xff\xfe"])
def test_foreign_payloads_are_ignored(content: bytes) -> None:
    view = View(prefix="alpr")
    assert view.take("alpr/gate-in/plates", content) is None
    assert view.take("alpr/gate-in/status", content) is None
    assert view.total == 0


def test_a_status_is_told_once_per_change_and_not_for_every_figure() -> None:
    view = View(prefix="alpr")
    topic = "alpr/gate-in/status"
    online = {"state": "online", "fps": 25.0, "last_error": None}
    assert view.take(topic, payload(online)) == "camera gate-in: online, 25.0 fps"
    assert view.take(topic, payload({**online, "fps": 24.0})) is None
    offline = {"state": "offline", "last_error": "no answer"}
    assert view.take(topic, payload(offline)) == "camera gate-in: offline (no answer)"


def test_a_devices_availability_is_told_when_it_changes() -> None:
    view = View(prefix="alpr")
    topic = "alpr/devices/edge-07/availability"
    assert view.take(topic, b"online") == "device edge-07: online"
    assert view.take(topic, b"online") is None
    assert view.take(topic, b"offline") == "device edge-07: offline"


def test_the_table_shows_the_newest_events_that_fit_and_every_camera() -> None:
    view = View(prefix="alpr")
    for number in range(30):
        view.take("alpr/gate-in/plates", payload({**EVENT, "plate": f"P{number:03}"}))
    view.take("alpr/gate-in/status", payload({"state": "stalled", "last_error": "no frame"}))
    text = shown(view, height=12)
    assert "P029" in text
    assert "P000" not in text
    assert text.index("P029") < text.index("P028")
    assert "camera gate-in: stalled (no frame)" in text
    assert "30 events" in text


def test_plates_cannot_inject_markup_into_the_terminal() -> None:
    view = View(prefix="alpr")
    view.take("alpr/gate-in/plates", payload({**EVENT, "plate": "[bold]X[/nope]\x1b[31m"}))
    text = shown(view)
    assert "[bold]X[/nope]" in text
    assert "\x1b[31m" not in text
    assert "\x1b" not in event_line({**EVENT, "plate": "\x1b[31m"})


def test_memory_is_bounded() -> None:
    view = View(prefix="alpr")
    for _ in range(MAX_EVENTS + 10):
        view.take("alpr/gate-in/plates", payload(EVENT))
    assert len(view.events) == MAX_EVENTS
    assert view.total == MAX_EVENTS + 10


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert local_time("yesterday") == "yesterday"
    assert local_time("") == "-"


TRACK: dict[str, Any] = {
    "kind": "new",
    "event_id": "one",
    "camera_id": "gate-in",
    "plate": "LS15EBC",
    "confidence": 0.5,
    "reads": {"count": 1, "agreeing": 1},
    "last_seen": "2026-11-21T09:12:03.120Z",
    "direction": None,
    "seq": None,
}


def test_tracks_are_shown_while_the_vehicle_is_in_view_where_they_are_asked_for() -> None:
    view, unasked = View(prefix="alpr", with_tracks=True), View(prefix="alpr")
    assert unasked.take("alpr/gate-in/tracks", payload(TRACK)) is None
    line = view.take("alpr/gate-in/tracks", payload(TRACK))
    assert line is not None
    assert "(new)" in line
    assert "LS15EBC" in shown(view)
    end = {**TRACK, "kind": "end", "seq": 7}
    assert "(end, seq 7)" in str(view.take("alpr/gate-in/tracks", payload(end)))
    assert "LS15EBC" not in shown(view)


def test_tracks_whose_end_was_missed_do_not_pile_up() -> None:
    view = View(prefix="alpr", with_tracks=True)
    for number in range(1000):
        view.take("alpr/gate-in/tracks", payload({**TRACK, "event_id": str(number)}))
    assert len(view.in_view) <= 20


def test_the_bare_end_of_a_track_is_a_line_too() -> None:
    bare = {"kind": "end", "event_id": "x", "camera_id": "gate", "plate": None, "reads": None}
    line = View(prefix="alpr", with_tracks=True).take("alpr/gate/tracks", payload(bare))
    assert "(end)" in str(line)
