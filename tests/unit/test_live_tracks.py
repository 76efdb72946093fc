"""Live tracks: what is told while a vehicle is in view, how often, and what never is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alprd.core.lists import PlateList
from alprd.core.types import Attribute, PlateEvent, Vehicle
from alprd.ports import OutboxError
from support.line import Seen, show, standing
from support.observed import Gate
from support.plates_in_frames import make_plate, make_read
from support.simulation import times

ON: dict[str, Any] = {"tracks": {"enabled": True, "interval_s": 1.0}}


def drive(gate: Gate, until_s: float, what: Callable[[float], Seen], fps: float = 10.0) -> None:
    for t in times(0.0, until_s, fps):
        gate.store(show(gate.line, t, what(t)))  # type: ignore[arg-type]


def passing(text: str = "LS15EBC", *, until_s: float = 3.0) -> Callable[[float], Seen]:
    """A car that comes nearer, then is gone."""
    return lambda t: (
        [(make_plate(400 + 60 * t, 300 + 30 * t), make_read(text))] if t < until_s else []
    )


def staff(*plates: str) -> PlateList:
    return PlateList(name="staff", plates=frozenset(plates), drop=True)


def test_a_pass_is_told_once_a_second_and_its_end_says_the_events_number(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)
    drive(gate, 8.0, passing())
    assert gate.kinds == ["new", "update", "update", "end"]
    (event,) = gate.disk.events
    assert {payload["event_id"] for payload in gate.told} == {event.event_id}
    assert [payload["published"] for payload in gate.told] == [False, False, False, True]
    end = gate.told[-1]
    assert (end["plate"], end["seq"]) == ("LS15EBC", 1)
    quads = [payload["quad"][0] for payload in gate.told[:3]]
    assert quads == sorted(quads), "the newest place"
    assert quads[0] != quads[1]


def test_a_live_track_tells_what_is_known_of_its_vehicle_by_then(tmp_path: Path) -> None:
    known: list[Attribute] = []

    def describe(event: PlateEvent) -> PlateEvent:
        car = Vehicle(type="car", confidence=0.9, box=(0, 0, 9, 9), attributes=tuple(known))
        return replace(event, vehicle=car)

    gate = Gate(tmp_path, ON, describe=describe)
    drive(gate, 1.0, passing())
    known.append(Attribute(name="color", value="red", confidence=0.8))
    drive(gate, 8.0, passing())
    assert [payload["vehicle"]["color"] for payload in gate.told] == [None, "red", "red", "red"]


def test_nothing_is_told_where_nobody_asked(tmp_path: Path) -> None:
    gate = Gate(tmp_path, {})
    drive(gate, 8.0, passing())
    assert gate.told == []
    assert len(gate.disk.events) == 1


def test_a_car_that_stays_is_told_again_only_now_and_then_and_says_that_it_has_an_event(
    tmp_path: Path,
) -> None:
    gate = Gate(tmp_path, ON)
    drive(gate, 40.0, lambda _: standing())
    gate.store(gate.line.finish())
    assert gate.kinds[0] == "new"
    assert gate.kinds[-1] == "end"
    assert 4 <= len(gate.kinds) <= 8
    assert gate.told[-1]["last_seen"] > gate.told[-1]["first_seen"][:14] + "00:39"
    assert gate.told[-2]["published"]
    assert gate.told[-2]["seq"] == 1


def test_two_vehicles_at_once_are_two_tracks(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)
    drive(gate, 8.0, lambda t: [*standing(), *standing("AB12CDE", 900.0)] if t < 2.0 else [])
    told: dict[str, list[str]] = {}
    for payload in gate.told:
        told.setdefault(payload["event_id"], []).append(payload["kind"])
    assert [kinds[0] + kinds[-1] for kinds in told.values()] == ["newend", "newend"]
    assert set(told) == {event.event_id for event in gate.disk.events}


def test_a_glimpse_that_becomes_no_event_ends_without_one(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)
    unsure = make_read("LS15EBC", quality=0.2)
    drive(gate, 8.0, lambda t: [(make_plate(), unsure)] if t < 0.15 else [])
    assert gate.disk.events == []
    assert gate.kinds == ["new", "end"]
    assert (gate.told[-1]["published"], gate.told[-1]["seq"]) == (False, None)


def test_an_event_that_the_disk_refuses_does_not_keep_the_end_back(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)
    gate.disk.full = True
    with pytest.raises(OutboxError):
        drive(gate, 8.0, passing())
    assert gate.kinds[-1] == "end"
    assert (gate.told[-1]["published"], gate.told[-1]["seq"]) == (True, None)


def test_a_plate_that_is_dropped_is_never_told(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON, lists=[staff("LS15EBC")])
    drive(gate, 8.0, passing())
    assert gate.told == []
    assert gate.disk.events == []


@pytest.mark.parametrize(
    ("plate", "misread"),
    [
        ("LS15EBC", "LS15E8C"),
        ("LS15EBC", "15EBC"),  # while it drives into the picture
        ("LS15EBC", "L515E8C"),
        ("AB12", "AB1Z"),
        ("AB123", "AB12"),
    ],
)
def test_nor_is_what_is_read_of_it_before_it_is_known(
    tmp_path: Path, plate: str, misread: str
) -> None:
    gate = Gate(tmp_path, ON, lists=[staff(plate)])

    def seen(t: float) -> Seen:
        text = misread if t < 1.5 else plate
        return [(make_plate(400 + 60 * t, 300 + 30 * t), make_read(text))] if t < 6.0 else []

    drive(gate, 12.0, seen)
    assert gate.told == []
    assert gate.disk.events == []


def test_of_unlisted_plates_nothing_is_told_where_they_are_dropped(tmp_path: Path) -> None:
    wanted = PlateList(name="wanted", plates=frozenset({"AB12CDE"}))
    gate = Gate(tmp_path, ON, lists=[wanted], drop_unlisted=True)
    drive(gate, 20.0, lambda t: [*standing(), *standing("AB12CDE", 900.0)] if t < 9.0 else [])
    assert {payload["plate"] for payload in gate.told} == {"AB12CDE"}
    assert {tuple(payload["lists"]) for payload in gate.told} == {("wanted",)}


def test_a_track_whose_plate_is_dropped_after_all_ends_without_a_word(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)

    def seen(t: float) -> Seen:
        if t > 1.5:  # the list's file has changed meanwhile
            gate.lists = (staff("LS15EBC"),)
        return passing(until_s=4.0)(t)

    drive(gate, 9.0, seen)
    assert gate.kinds == ["new", "update", "end"]
    end = gate.told[-1]
    assert (end["plate"], end["quad"], end["first_seen"], end["published"]) == (
        None,
        None,
        None,
        False,
    )
    assert gate.disk.events == []


def test_where_plates_are_dropped_a_track_is_told_from_its_event_on(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON, lists=[staff("LS15EBC")])
    drive(gate, 12.0, lambda t: standing("AB12CDE") if t < 9.0 else [])
    assert gate.kinds[0] == "new"
    assert gate.kinds[-1] == "end"
    assert {payload["plate"] for payload in gate.told} == {"AB12CDE"}
    assert {payload["published"] for payload in gate.told} == {True}


def test_that_a_car_stands_and_that_it_has_an_event_are_news(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)
    drive(gate, 5.5, lambda _: standing())
    told = [(payload["published"], payload["seq"], payload["stationary"]) for payload in gate.told]
    assert told == [(False, None, False), (False, None, True), (True, None, True)]


def test_an_end_outdates_what_still_waits_of_its_track(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)

    def seen(t: float) -> Seen:
        if t > 1.5:
            gate.lists = (staff("LS15EBC"),)
        return passing(until_s=4.0)(t)

    drive(gate, 9.0, seen)
    assert gate.kinds == ["new", "update", "end"]
    (waiting,) = gate.lane._tracks.values()
    assert waiting.message == gate.messages[-1], "what tells the plate goes no more"


def test_pseudonyms_stand_in_tracks_too(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON, key=b"k" * 32)
    drive(gate, 8.0, passing())
    assert {payload["plate"] for payload in gate.told} == {gate.disk.events[0].plate}
    assert "LS15EBC" not in "".join(str(payload) for payload in gate.told)


def test_a_reload_ends_the_tracks_and_takes_up_those_in_view(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)

    def seen(t: float) -> Seen:
        if abs(t - 1.5) < 0.01:
            gate.use({})
        if abs(t - 2.5) < 0.01:
            gate.use(ON)
        return passing(until_s=4.0)(t)

    drive(gate, 9.0, seen)
    assert gate.kinds == ["new", "update", "end", "new", "update", "end"]
    assert {payload["event_id"] for payload in gate.told} == {gate.disk.events[0].event_id}
    assert gate.told[-1]["seq"] == 1


def test_a_camera_that_is_taken_away_ends_its_tracks_and_no_other_ones(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON, cameras=("gate", "yard"))
    for t in times(0.0, 2.0, 10.0):
        for line in gate.lines.values():
            gate.store(show(line, t, standing()))  # type: ignore[arg-type]
    gate.store(gate.lines["gate"].finish())
    ended = [payload for payload in gate.told if payload["kind"] == "end"]
    assert [payload["camera_id"] for payload in ended] == ["gate"]


def test_a_clip_that_begins_anew_is_another_pass(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ON)
    for _ in range(2):
        drive(gate, 2.0, lambda _: standing())
    gate.store(gate.line.finish())
    assert len({payload["event_id"] for payload in gate.told}) == 2
    assert sorted(kind for kind in gate.kinds if kind != "update") == ["end", "end", "new", "new"]
    assert [p["event_id"] for p in gate.told if p["kind"] == "end"] == [
        event.event_id for event in gate.disk.events
    ]


def test_sixty_four_cameras_leave_nothing_behind(tmp_path: Path) -> None:
    cameras = [f"camera-{k}" for k in range(64)]
    gate = Gate(tmp_path, ON, cameras=cameras)
    for t in times(0.0, 1.0, 5.0):
        for line in gate.lines.values():
            gate.store(show(line, t, standing()))  # type: ignore[arg-type]
    for line in gate.lines.values():
        gate.store(line.finish())
    assert gate.kinds.count("new") == gate.kinds.count("end") == 64
    assert (gate.news._stored_as, gate.news._awaited) == ({}, {})
    assert sorted(p["seq"] for p in gate.told if p["kind"] == "end") == list(range(1, 65))
