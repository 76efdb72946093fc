"""One event per vehicle pass, from a camera's detections and reads."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.config.models import TrackingSettings
from alprd.core.events import uuid7
from alprd.core.types import Detection, PlateEvent, PlateRead
from alprd.pipeline import CameraPipeline
from support.line import pipeline, run, show, standing
from support.payloads import payload_of, problems_of
from support.plates_in_frames import make_frame, make_plate, make_read
from support.replay import (
    RecordedFrame,
    Recording,
    Rules,
    make_pipeline,
    replay,
    to_detection,
    to_frame,
)
from support.simulation import Car, drive, simulate, times


def test_the_settings_of_the_configuration_are_what_the_pipeline_takes() -> None:
    line = CameraPipeline(
        "gate", TrackingSettings(), None, new_event_id=lambda at: uuid7(at, bytes(10))
    )
    assert run(line, 6.0, lambda _: standing())[0][1].plate == "LS15EBC"


def test_only_plates_worth_reading_are_selected() -> None:
    line = pipeline(roi=[(0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)])
    good, narrow = make_plate(y=500), make_plate(x=200, y=500, width=20)
    above, car = make_plate(y=200), Detection(label="car", score=0.9, box=(500, 300, 700, 600))
    assert line.select(make_frame(), [narrow, above, car, good]) == [good]


def test_a_read_too_few_or_too_many_is_named() -> None:
    with pytest.raises(ValueError, match="1 reads for 0 selected plates"):
        pipeline().step(make_frame(), [], [make_read()])


def test_a_vehicle_that_stays_is_published_once_hold_s_after_its_first_read() -> None:
    events = run(pipeline(), 60.0, lambda t: standing() if t >= 1.0 else [])
    assert [(t, e.plate) for t, e in events] == [(6.0, "LS15EBC")]


def test_a_vehicle_that_stays_is_published_without_another_frame() -> None:
    line = pipeline()
    assert run(line, 2.0, lambda _: standing()) == []
    assert line.tick(3.0) == []
    assert [e.plate for e in line.tick(5.5)] == ["LS15EBC"]
    assert line.tick(9.0) == []


def test_a_vehicle_that_left_is_published_once_it_cannot_come_back() -> None:
    line = pipeline(Rules(merge_s=1.0))
    events = run(line, 5.0, lambda t: standing() if t < 1.0 else [])
    assert [(round(t, 3), e.plate) for t, e in events] == [(2.0, "LS15EBC")]


def test_a_vehicle_lost_for_less_than_merge_s_is_the_same_pass() -> None:
    events = run(pipeline(), 20.0, lambda t: standing() if t % 3.0 < 1.2 else [])
    assert len(events) == 1


def test_a_vehicle_lost_for_longer_than_merge_s_is_a_new_pass() -> None:
    events = run(pipeline(), 20.0, lambda t: standing() if t < 2.0 or t > 10.0 else [])
    assert len(events) == 2
    assert events[0][1].event_id != events[1][1].event_id


def test_the_end_of_the_stream_publishes_what_is_open_and_leaves_a_usable_pipeline() -> None:
    line = pipeline()
    run(line, 1.0, lambda _: standing())
    assert [e.plate for e in line.finish()] == ["LS15EBC"]
    assert line.finish() == []
    assert [e.plate for _, e in run(line, 6.0, lambda _: standing("34A36837"))] == ["34A36837"]


def test_time_that_starts_again_ends_the_old_passes() -> None:
    line = pipeline()
    run(line, 4.0, lambda _: standing())
    assert [e.plate for e in show(line, 0.0, standing())] == ["LS15EBC"]
    assert [e.plate for e in line.finish()] == ["LS15EBC"]


def test_a_pass_needs_agreeing_reads() -> None:
    texts = iter(["AB12CDE", "AB1ZCDE", "A812CDE"])
    line = pipeline()
    for t in (0.0, 0.1, 0.2):
        show(line, t, standing(next(texts)))
    assert line.finish() == []


def test_a_pass_of_a_single_frame_needs_one_read() -> None:
    line = pipeline()
    show(line, 0.0, standing())
    event = line.finish()[0]
    assert (event.reads_count, event.reads_agreeing) == (1, 1)


def test_a_plate_read_in_one_frame_only_must_be_read_surely() -> None:
    def once(quality: float, *, fps: float) -> list[str]:
        line = pipeline()
        events = run(line, 4.0, lambda t: standing(quality=quality) if t == 1.0 else [], fps)
        return [e.plate for _, e in events] + [e.plate for e in line.finish()]

    assert once(0.8, fps=2.0) == []
    assert once(0.9, fps=2.0) == ["LS15EBC"]
    assert once(0.9, fps=16.0) == []
    assert once(0.98, fps=16.0) == ["LS15EBC"]


def test_a_plate_that_can_hardly_ever_be_read_must_be_read_surely() -> None:
    def rarely(quality: float) -> list[str]:
        line = pipeline()
        seen = run(
            line,
            4.0,
            lambda t: standing(quality=quality) if t in (1.0, 2.0, 3.0) else standing(""),
            fps=16.0,
        )
        return [e.plate for _, e in seen] + [e.plate for e in line.finish()]

    assert rarely(0.5) == []
    assert rarely(0.9) == ["LS15EBC"]


def test_what_the_reader_is_not_sure_of_is_no_event() -> None:
    assert run(pipeline(), 8.0, lambda _: standing("EXIT20", quality=0.15)) == []
    assert run(pipeline(), 8.0, lambda _: standing("EXIT20", sure=0.6, quality=None)) == []


def test_a_plate_becomes_an_event_as_soon_as_it_is_read_well_enough() -> None:
    events = run(pipeline(), 20.0, lambda t: standing(quality=0.1 if t < 9.0 else 0.95))
    assert [e.plate for _, e in events] == ["LS15EBC"]
    assert 9.0 <= events[0][0] <= 12.0


def test_the_same_plate_twice_in_a_picture_is_one_event() -> None:
    events = run(pipeline(), 8.0, lambda _: [*standing(x=300.0), *standing(x=900.0)])
    assert len(events) == 1


def test_two_vans_of_one_fleet_side_by_side_are_two_events() -> None:
    vans = [*standing("AB12CDE", x=300.0), *standing("AB12CDF", x=900.0)]
    events = run(pipeline(), 8.0, lambda _: vans)
    assert sorted(e.plate for _, e in events) == ["AB12CDE", "AB12CDF"]


def test_a_cut_to_another_car_in_the_same_place_is_another_pass() -> None:
    line = pipeline()
    events = run(line, 6.0, lambda t: standing("AB12CDE" if t < 2.0 else "34A36837"))
    plates = [e.plate for _, e in events] + [e.plate for e in line.finish()]
    assert plates == ["AB12CDE", "34A36837"]


def test_a_second_text_that_comes_and_goes_is_no_second_car() -> None:
    odd = {3, 4, 11, 17, 18, 30, 31, 45}
    events = run(
        pipeline(), 12.0, lambda t: standing("WW99WWW" if round(t * 10) % 50 in odd else "LS15EBC")
    )
    assert [e.plate for _, e in events] == ["LS15EBC"]


def test_the_picture_of_an_event_shows_its_plate_and_vehicle() -> None:
    line = pipeline()
    car = Detection(label="car", score=0.8, box=(400, 200, 800, 600))
    for t in times(0.0, 2.0, 10.0):
        plate, read = make_plate(600 + 20 * t, width=60 + 30 * t), make_read(t_s=t)
        line.step(make_frame(t), [car, plate], [read])
    event = line.finish()[0]
    assert event.vehicle is not None
    assert (event.vehicle.type, event.vehicle.box) == ("car", car.box)
    assert event.captured_at == event.last_seen  # the widest plate is read best
    assert event.first_seen < event.last_seen
    assert event.direction is not None
    assert event.speed is None
    assert problems_of(event) == []


def test_a_clock_that_is_set_back_never_turns_first_and_last_seen_around() -> None:
    line = pipeline()
    for t in times(0.0, 3.0, 10.0):
        frame = make_frame(t)
        back = timedelta(hours=1 if t >= 1.5 else 0)
        detections = [make_plate()]
        line.step(
            replace(frame, captured_at=frame.captured_at - back), detections, [make_read(t_s=t)]
        )
    event = line.finish()[0]
    assert event.first_seen <= event.captured_at <= event.last_seen
    assert event.last_seen - event.first_seen == timedelta(seconds=2.9)


def test_frames_without_a_time_are_ignored() -> None:
    line = pipeline()
    for t in (math.nan, math.inf, -math.inf):
        assert show(line, t, standing()) == []
        assert line.tick(t) == []
    assert line.tracks == ()


def test_frames_of_the_same_time_do_no_harm() -> None:
    line = pipeline()
    for _ in range(5):
        show(line, 1.0, standing())
    assert [e.reads_count for e in line.finish()] == [5]


TRAFFIC = Recording(
    frames=simulate(
        [
            Car(plate="AB12CDE", where=drive((-1.5, 18.0), (0.0, -5.0), begin_s=0.2, end_s=3.2)),
            Car(plate="AB12CDF", where=drive((1.5, 17.0), (0.0, -5.0), begin_s=0.3, end_s=3.2)),
            Car(plate="34A36837", where=drive((-5.0, 9.0), (4.0, 0.0), begin_s=0.5, end_s=3.0)),
        ],
        times(0.0, 5.5, 8),
        seed=42,
    )
)


def payloads(recording: Recording) -> list[dict[str, object]]:
    return [payload_of(p.event) for p in replay(recording)]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_a_frames_detections_does_not_matter(random: object) -> None:
    def shuffled(frame: RecordedFrame) -> RecordedFrame:
        objects = list(frame.objects)
        random.shuffle(objects)
        return replace(frame, objects=tuple(objects))

    mixed = replace(TRAFFIC, frames=tuple(shuffled(f) for f in TRAFFIC.frames))
    assert payloads(mixed) == payloads(TRAFFIC)
    assert len(payloads(TRAFFIC)) == 3


@settings(max_examples=10, deadline=None)
@given(st.integers(-(2**20), 2**20))
def test_when_the_steady_axis_begins_does_not_matter(shift_s: int) -> None:
    # 8 frames a second and whole seconds are exact in binary, so are their sums.
    shifted = [replace(f, t_s=f.t_s + shift_s) for f in TRAFFIC.frames]
    assert payloads(replace(TRAFFIC, frames=tuple(shifted))) == payloads(TRAFFIC)


ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=32)
NUMBER = st.one_of(ANY_FLOAT, st.floats(0.0, 1300.0, width=32))


@st.composite
def any_detection(draw: st.DrawFn) -> Detection:
    box = tuple(draw(NUMBER) for _ in range(4))
    corners = draw(st.lists(NUMBER, min_size=8, max_size=8))
    quad = draw(st.sampled_from([None, np.array(corners, np.float32).reshape(4, 2)]))
    if draw(st.booleans()):
        quad = make_plate(draw(st.floats(0, 1280)), draw(st.floats(0, 720))).quad
    label = draw(st.sampled_from(["plate", "plate", "plate", "car", ""]))
    score = draw(st.one_of(ANY_FLOAT, st.floats(0.3, 1.0)))
    return Detection(label=label, score=score, box=box, quad=quad)


@st.composite
def any_read(draw: st.DrawFn) -> PlateRead:
    text = draw(st.sampled_from(["", "LS15EBC", "LS15EBD", "34A36837", "ab-12", "A" * 12]))
    read = make_read("LS15EBC", quality=draw(st.one_of(st.none(), ANY_FLOAT)))
    probs = draw(st.sampled_from([read.char_probs, read.char_probs * np.nan, np.zeros((0, 37))]))
    return replace(
        read,
        text=text,
        char_probs=np.asarray(probs, np.float32),
        score=draw(ANY_FLOAT),
        sharpness=draw(ANY_FLOAT),
        regions=(("GB", draw(ANY_FLOAT)),),
    )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(ANY_FLOAT, st.floats(0.0, 20.0)), st.lists(any_detection(), max_size=4)
        ),
        max_size=6,
    ),
    st.data(),
)
def test_no_input_raises_and_every_event_obeys_the_schema(
    frames: list[tuple[float, list[Detection]]], data: st.DataObject
) -> None:
    line = pipeline(Rules(min_reads=1, min_confidence=0.0))
    events: list[PlateEvent] = []
    for t_s, detections in frames:
        frame = make_frame(t_s)
        selected = line.select(frame, detections)
        reads = [data.draw(any_read()) for _ in selected]
        events += line.step(frame, [*detections, *detections], reads)
        events += line.tick(t_s)
    events += line.finish()
    assert [problem for event in events for problem in problems_of(event)] == []


def test_a_parked_cars_track_stays_small_for_hours() -> None:
    line = pipeline()
    for i in range(3000):
        show(line, i / 2, standing())
    (track,) = line.tracks
    assert len(track.path) < 200
    assert len(track.reads) < 50


def test_replaying_a_recording_twice_gives_the_same_events() -> None:
    assert payloads(TRAFFIC) == payloads(TRAFFIC)
    line = make_pipeline(TRAFFIC)
    frame = to_frame(TRAFFIC, TRAFFIC.frames[8], 8)
    pairs = [to_detection(o, frame.t_s) for o in TRAFFIC.frames[8].objects]
    assert line.select(frame, [d for d, _ in pairs])
