"""The published form of a vehicle pass."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.core.events import format_time, uuid7
from alprd.core.passes import wall_times
from alprd.core.types import Attribute, Candidate, Direction, PlateEvent, Region, Speed, Vehicle
from alprd.pipeline import CameraPipeline
from support.payloads import payload_of, problems_of, schema_problems
from support.plates_in_frames import START, make_frame, make_observation, make_plate, make_read
from support.replay import Rules

BARE = PlateEvent(
    event_id=uuid7(START, bytes(10)),
    camera_id="gate-in",
    plate="LS15EBC",
    confidence=0.97,
    char_confidences=(0.99,) * 7,
    candidates=(Candidate(plate="LS15EBC", confidence=0.97),),
    region=None,
    reads_count=31,
    reads_agreeing=29,
    first_seen=START,
    last_seen=START + timedelta(seconds=2),
    captured_at=START + timedelta(seconds=1),
    direction=None,
    speed=None,
    vehicle=None,
    quad=((612.14, 401.36), (700.0, 402.0), (700.0, 421.0), (612.0, 420.0)),
    frame_size=(1280, 720),
)
FULL = replace(
    BARE,
    region=Region(code="US-CA", confidence=0.93),
    direction=Direction(label="approaching", heading_deg=359.97, zone="in", confidence=0.9),
    speed=Speed(kmh=31.44, stderr_kmh=0.567, calibration="sha256:" + "a" * 64),
    vehicle=Vehicle(
        type="suv",
        confidence=0.9,
        box=(1.04, 2.0, 3.0, 4.0),
        attributes=(
            Attribute(name="type", value="suv", confidence=0.9),
            Attribute(name="color"),
            Attribute(name="make_model", value="toyota hilux", confidence=0.81234),
        ),
        reversing=False,
    ),
)


def test_what_was_not_measured_is_null() -> None:
    payload = payload_of(BARE)
    unknown = {name for name, value in payload.items() if value is None}
    assert unknown == {
        *("region", "direction", "speed", "vehicle", "image", "wrong_way", "dwell_s", "stationary"),
        "continues",
    }
    assert problems_of(BARE) == []


def test_a_full_event_obeys_its_schema() -> None:
    payload = payload_of(FULL, seq=4711)
    assert schema_problems(payload) == []
    assert payload["schema"] == "alprd.plate/1"
    assert payload["seq"] == 4711
    assert payload["region"] == {"code": "US-CA", "confidence": 0.93}
    assert payload["reads"] == {"count": 31, "agreeing": 29}
    assert payload["direction"] == {
        "label": "approaching",
        "heading_deg": 0.0,
        "zone": "in",
        "confidence": 0.9,
    }
    assert payload["speed"]["kmh"] == 31.4
    assert payload["vehicle"] == {
        "type": "suv",
        "confidence": 0.9,
        "color": None,
        "view": None,
        "make_model": "toyota hilux",
        "reversing": False,
        "box": [1.0, 2.0, 3.0, 4.0],
        "confidences": {"type": 0.9, "make_model": 0.8123},
    }
    assert payload["quad"][0] == [612.1, 401.4]
    assert payload["first_seen"] == "2026-11-21T09:00:00.000Z"


def test_outside_a_daemon_an_event_has_no_number() -> None:
    assert schema_problems(payload_of(BARE, seq=None)) == []


@pytest.mark.parametrize(
    "damage",
    [
        {"extra": 1},
        {"event_id": "0193"},
        {"event_id": "6f1c7a52-9d3e-4b80-a1c4-0e5d2f7b9a63"},
        {"first_seen": "2026-13-41T09:00:00.000Z"},
        {"first_seen": "2026-11-21T09:00:00+01:00"},
        {"camera_id": "gate/in"},
        {"plate": "ls15 ebc"},
        {"confidence": 1.2},
        {"seq": 0},
        {"direction": {"label": "north", "heading_deg": 1.0, "zone": None}},
        {"vehicle": {"type": "car"}},
        {"models": {"plate-reader": "latest"}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_contract_does_not_allow(damage: dict[str, object]) -> None:
    assert schema_problems({**payload_of(FULL), **damage})


def test_the_schema_refuses_an_event_with_a_field_missing() -> None:
    for name in payload_of(FULL):
        assert schema_problems({k: v for k, v in payload_of(FULL).items() if k != name})


def test_an_unknown_probability_is_refused_and_never_published_as_zero() -> None:
    unknown = float("nan")
    for damaged in (
        replace(BARE, confidence=unknown),
        replace(BARE, char_confidences=(unknown,)),
        replace(BARE, candidates=(Candidate(plate="LS15EBC", confidence=unknown),)),
        replace(BARE, region=Region(code="GB", confidence=unknown)),
    ):
        with pytest.raises(ValueError, match="no probability; give None"):
            payload_of(damaged)


def test_a_plate_whose_look_alikes_a_format_settled_is_published_with_the_reads_it_rests_on() -> (
    None
):
    pipeline = CameraPipeline("gate", Rules(), None, new_event_id=lambda at: uuid7(at, bytes(10)))
    read = make_read("LS1SEBC", doubts={3: ("5", 0.45)}, regions=(("GB", 0.95),))
    for i in range(10):
        pipeline.step(make_frame(i / 10), [make_plate(600.0 + 5 * i)], [read])

    (event,) = pipeline.finish()

    assert event.plate == event.candidates[0].plate == "LS15EBC"
    assert (event.reads_count, event.reads_agreeing) == (10, 10)
    assert len(event.char_confidences) == 7
    assert min(event.char_confidences) >= event.confidence > 0.6
    assert problems_of(event) == []


def test_times_are_utc_with_milliseconds() -> None:
    berlin = timezone(timedelta(hours=1))
    assert format_time(datetime(2026, 11, 21, 10, 12, 3, 120_999, berlin)) == (
        "2026-11-21T09:12:03.120Z"
    )
    with pytest.raises(ValueError, match="no time zone"):
        format_time(datetime(2026, 11, 21))  # noqa: DTZ001 - the mistake under test


@given(st.datetimes(timezones=st.just(timezone.utc)), st.binary(min_size=10, max_size=16))
def test_an_event_id_is_a_version_7_uuid_of_its_time(at: datetime, random: bytes) -> None:
    parsed = uuid.UUID(uuid7(at, random))
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert parsed.int >> 80 == max(0, (at - epoch) // timedelta(milliseconds=1))


def test_event_ids_sort_by_time_and_differ_by_their_random_bits() -> None:
    early, late = uuid7(START, b"\xff" * 10), uuid7(START + timedelta(milliseconds=1), bytes(10))
    assert early < late
    assert uuid7(START, bytes(9) + b"\1") != uuid7(START, bytes(10))
    with pytest.raises(ValueError, match="random bytes"):
        uuid7(START, b"short")
    with pytest.raises(ValueError, match="no time zone"):
        uuid7(START.replace(tzinfo=None), bytes(10))


def test_wall_times_that_go_back_are_counted_back_from_the_newest() -> None:
    early, late = make_observation(10.0), make_observation(12.0)
    assert wall_times([early, late]) == [early.captured_at, late.captured_at]
    set_back = replace(late, captured_at=late.captured_at - timedelta(hours=1))
    assert wall_times([early, set_back]) == [
        set_back.captured_at - timedelta(seconds=2),
        set_back.captured_at,
    ]


def test_wall_times_before_the_clock_was_set_forward_are_counted_back_from_the_newest() -> None:
    first, shown, last = (make_observation(t_s) for t_s in (10.0, 11.5, 12.0))
    unset = replace(first, captured_at=datetime(1970, 1, 1, 0, 0, 30, tzinfo=timezone.utc))
    assert wall_times([unset, shown, last]) == [o.captured_at for o in (first, shown, last)]


def test_a_clock_that_is_steered_keeps_its_readings() -> None:
    first, last = make_observation(10.0), make_observation(3610.0)
    steered = replace(last, captured_at=last.captured_at + timedelta(seconds=1.8))
    assert wall_times([first, steered]) == [first.captured_at, steered.captured_at]
