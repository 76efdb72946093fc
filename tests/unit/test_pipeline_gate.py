"""Before a gate: a vehicle that waits is published soon, and then takes little time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from alprd.core.dedup import next_vote_t_s
from alprd.core.tracking import begin
from alprd.core.types import PlateEvent
from alprd.pipeline import CameraPipeline
from support.line import Seen, pipeline, show
from support.plates_in_frames import make_frame, make_observation, make_plate, make_read
from support.replay import Rules
from support.simulation import times

STOPS_S = 2.0
"""The car drives up until then."""


def at_the_gate(t_s: float, text: str = "LS15EBC", **read: float | None) -> Seen:
    """A car that nears for two seconds and waits then."""
    near = min(t_s, STOPS_S) / STOPS_S
    return [(make_plate(600.0, 250.0 + 200.0 * near, 60.0 + 60.0 * near), make_read(text, **read))]


def first_event(
    line: CameraPipeline, *, until_s: float = 20.0, fps: float = 10.0, **read: float | None
) -> tuple[float, PlateEvent]:
    for t in times(0.0, until_s, fps):
        for event in show(line, t, at_the_gate(t, **read)):
            return t, event
    raise AssertionError("no event")


def test_a_vehicle_that_waits_and_is_surely_read_is_published_a_second_after_it_stopped() -> None:
    t_s, event = first_event(pipeline())
    assert STOPS_S + 0.5 <= t_s <= STOPS_S + 1.1
    assert event.direction is not None
    assert event.direction.label == "approaching"


def test_a_vehicle_that_waits_is_published_once() -> None:
    line = pipeline()
    events = [e for t in times(0.0, 30.0, 10.0) for e in show(line, t, at_the_gate(t))]
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]


def test_a_vehicle_that_is_not_surely_read_is_held_back_for_hold_s() -> None:
    t_s, event = first_event(pipeline(), quality=0.7, sure=0.7)
    assert event.confidence < 0.95
    assert t_s == pytest.approx(5.0, abs=0.11)


def test_a_vehicle_whose_direction_is_not_known_yet_is_held_back_for_hold_s() -> None:
    line = pipeline()
    events = [
        (t, e) for t in times(0.0, 8.0, 10.0) for e in show(line, t, [(make_plate(), make_read())])
    ]
    assert [t for t, _ in events] == [5.0]


def test_a_vehicle_that_is_still_on_its_way_is_held_back() -> None:
    line = pipeline()
    for t in times(0.0, 3.0, 10.0):
        plate = make_plate(600.0, 200.0 + 80.0 * t, 80.0)
        assert show(line, t, [(plate, make_read())]) == []
    assert len(line.finish()) == 1


def test_a_vehicle_that_comes_straight_at_the_camera_is_held_back() -> None:
    line = pipeline()
    for t in times(0.0, 3.0, 10.0):
        assert show(line, t, [(make_plate(width=60.0 * 1.35**t), make_read())]) == []
    assert len(line.finish()) == 1


def test_a_vehicle_is_not_published_while_its_place_may_be_anothers() -> None:
    line = pipeline()
    events: list[PlateEvent] = []
    for t in times(0.0, 3.2, 10.0):
        text = "LS15EBC" if t < 2.4 else f"{round(t * 10):02d}XXQQQ"
        events += show(line, t, at_the_gate(t, text))
    assert events == []


def test_a_shorter_hold_is_kept() -> None:
    assert first_event(pipeline(Rules(hold_s=0.5)))[0] == 0.5


def waiting(line: CameraPipeline, *, fps: float, x: float = 600.0, text: str = "LS15EBC") -> int:
    """How many plates are read in 10 s of a standing plate; the last is shown at 10 s."""
    chosen = 0
    for t in times(0.0, 10.0, fps):
        frame, plate = make_frame(t), make_plate(x)
        reads = [make_read(text) for _ in line.select(frame, [plate])]
        line.step(frame, [plate], reads)
        chosen += len(reads)
    return chosen


def test_a_standing_plate_that_has_its_event_is_read_about_twice_a_second() -> None:
    line = pipeline()
    before_verdict = 5 * 20
    assert before_verdict + 5 <= waiting(line, fps=20.0) <= before_verdict + 15


def test_a_standing_plate_that_is_seldom_read_is_followed_in_every_frame() -> None:
    line = pipeline()
    waiting(line, fps=20.0)
    (track,) = line.tracks
    assert track.sightings == 200
    assert track.last.t_s == pytest.approx(9.95)


def test_a_plate_that_moves_on_is_read_again_at_once() -> None:
    line = pipeline()
    waiting(line, fps=20.0)
    moved = make_plate(640.0)
    assert line.select(make_frame(10.0), [moved]) == [moved]


def test_a_plate_in_another_place_is_read_in_every_frame() -> None:
    line = pipeline()
    waiting(line, fps=20.0)
    other = make_plate(300.0)
    assert other in line.select(make_frame(10.0), [make_plate(600.0), other])


def test_another_car_in_the_place_of_a_seldom_read_one_has_its_event() -> None:
    line = pipeline()
    waiting(line, fps=20.0)
    events: list[PlateEvent] = []
    for t in times(10.0, 18.0, 20.0):
        events += show(line, t, [(make_plate(), make_read("34A36837"))])
    assert [e.plate for e in events] == ["34A36837"]


def test_frames_may_be_selected_ahead_of_their_steps() -> None:
    line = pipeline()
    waiting(line, fps=20.0)
    frames = [make_frame(10.0 + i / 20.0) for i in range(16)]
    chosen = [line.select(frame, [make_plate()]) for frame in frames]
    for frame, plates in zip(frames, chosen, strict=True):
        line.step(frame, [make_plate()], [make_read() for _ in plates])
    assert line.tracks[0].sightings == 216


def test_a_vehicle_that_cannot_be_read_is_voted_on_more_and_more_rarely() -> None:
    seen = make_observation(0.0, read=make_read(quality=0.1))
    track, when, votes = begin(1, seen), 5.0, []
    while when < 300.0:
        votes.append(when)
        when = next_vote_t_s(track, when, Rules())
    waits = [b - a for a, b in pairwise(votes)]
    assert waits[0] == 0.5
    assert waits == sorted(waits)
    assert max(waits) == 8.0
    assert len(votes) < 45
