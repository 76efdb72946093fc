"""What must hold for whatever drives past: order, time and mirror images do not matter."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.config.counting import LineSettings, ZoneSettings
from alprd.core.counting import Places
from alprd.core.types import PlateEvent
from support.replay import RecordedFrame, RecordedObject, Recording, Rules, make_pipeline, replay
from support.simulator_scene import observe, recording
from support.simulator_traffic import make_camera

LINE = LineSettings(name="line", points=((0.05, 0.45), (0.9, 0.6)), inwards="down")
ZONE = ZoneSettings(name="zone", polygon=((0.1, 0.3), (0.6, 0.25), (0.7, 0.8), (0.2, 0.9)))
PLACES = Places(lines=(LINE,), zones=(ZONE,))
MIRRORED_PLACES = Places(
    lines=(LINE.model_copy(update={"points": tuple((1.0 - x, y) for x, y in LINE.points)}),),
    zones=(ZONE.model_copy(update={"polygon": tuple((1.0 - x, y) for x, y in ZONE.polygon)}),),
)
MIRRORED_LABEL = {"left": "right", "right": "left"}
SEEDS = st.integers(1, 6)
KINDS = st.sampled_from([0, 1, 4])


@cache
def traffic(number: int, seed: int) -> Recording:
    scene = make_camera(number, vehicles=6, seed=seed).scene
    frames = list(observe(scene))[:150]
    return recording(scene, frames, rules=Rules(publish_unread=True))


def events_of(recorded: Recording, places: Places = PLACES) -> list[PlateEvent]:
    return [p.event for p in replay(recorded, make_pipeline(recorded, places))]


def essence(event: PlateEvent) -> dict[str, Any]:
    """What an event says, but for pixels and names."""
    direction = event.direction
    return {
        "plate": event.plate,
        "reads": (event.reads_count, event.reads_agreeing),
        "seen": (event.first_seen, event.captured_at, event.last_seen),
        "label": direction and direction.label,
        "zone": direction and direction.zone,
        "heading": direction and direction.heading_deg and round(direction.heading_deg, 3) % 360,
        "crossings": [(c.line, c.label) for c in event.crossings],
        "zones": [(v.zone, round(v.dwell_s, 6), v.entered, v.left) for v in event.zones],
        "dwell_s": event.dwell_s and round(event.dwell_s, 6),
        "stationary": event.stationary,
        "vehicle": event.vehicle and event.vehicle.type,
    }


def with_frames(recorded: Recording, change: Any) -> Recording:
    return replace(recorded, frames=tuple(change(frame) for frame in recorded.frames))


@settings(max_examples=5, deadline=None)
@given(KINDS, SEEDS, st.integers(0, 2**32))
def test_any_order_of_simultaneous_detections_gives_the_same_events(
    number: int, seed: int, order: int
) -> None:
    rng = random.Random(order)  # noqa: S311 - only an order
    recorded = traffic(number, seed)

    def shuffled(frame: RecordedFrame) -> RecordedFrame:
        objects = list(frame.objects)
        rng.shuffle(objects)
        return replace(frame, objects=tuple(objects))

    assert events_of(with_frames(recorded, shuffled)) == events_of(recorded)


@settings(max_examples=4, deadline=None)
@given(KINDS, SEEDS, st.integers(-(10**5), 10**5))
def test_shifting_the_time_shifts_the_answer(number: int, seed: int, shift_s: int) -> None:
    recorded = traffic(number, seed)
    shift = timedelta(seconds=shift_s)
    later = with_frames(recorded, lambda f: replace(f, t_s=f.t_s + shift_s, at=f.at + shift))

    def back(event: PlateEvent) -> PlateEvent:
        return replace(
            event,
            first_seen=event.first_seen - shift,
            captured_at=event.captured_at - shift,
            last_seen=event.last_seen - shift,
        )

    assert [essence(back(e)) for e in events_of(later)] == [essence(e) for e in events_of(recorded)]


@settings(max_examples=4, deadline=None)
@given(KINDS, SEEDS)
def test_mirroring_the_picture_mirrors_the_answer(number: int, seed: int) -> None:
    recorded = traffic(number, seed)
    width = recorded.frame_size[0]

    def mirrored(o: RecordedObject) -> RecordedObject:
        if o.quad is not None:
            a, b, c, d = ((width - x, y) for x, y in o.quad)
            return replace(o, quad=(b, a, d, c))
        x1, y1, x2, y2 = o.box or (0.0, 0.0, 0.0, 0.0)
        return replace(o, box=(width - x2, y1, width - x1, y2))

    turned = with_frames(
        recorded, lambda f: replace(f, objects=tuple(mirrored(o) for o in f.objects))
    )
    expected = [essence(e) for e in events_of(recorded)]
    for event in expected:
        event["label"] = MIRRORED_LABEL.get(event["label"], event["label"])
        if event["heading"] is not None:
            event["heading"] = round(-event["heading"] % 360, 3) % 360

    def key(event: dict[str, Any]) -> tuple[Any, ...]:
        return event["seen"], str(event["plate"])

    found = [essence(e) for e in events_of(turned, MIRRORED_PLACES)]
    for got, want in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        if want["heading"] is not None:
            apart = abs(got["heading"] - want["heading"])
            assert min(apart, 360 - apart) < 0.01
        assert {**got, "heading": None} == {**want, "heading": None}
