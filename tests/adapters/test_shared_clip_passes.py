"""Counts and directions on the real clips, beside what a person counted in them beforehand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import pytest

from alprd.config.counting import LineSettings
from alprd.config.models import InferenceSettings
from alprd.core.counting import LineCount, Places
from alprd.core.events import uuid7
from alprd.core.types import Frame, PlateEvent
from alprd.inference.models import Models, load_models
from alprd.pipeline import CameraPipeline
from support.replay import Rules

CLIPS = Path(__file__).parents[2].parent / "shared" / "data" / "video"
START = datetime(2026, 11, 21, tzinfo=timezone.utc)
ACROSS = LineSettings(name="middle", points=((0.0, 0.5), (1.0, 0.5)), inwards="down")

pytestmark = [
    pytest.mark.once,
    pytest.mark.timeout(600),  # for a core that many others use
    pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips (shared/data) are not here"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(InferenceSettings(threads=2))


def watch(models: Models, clip: str) -> tuple[list[PlateEvent], CameraPipeline]:
    pipeline = CameraPipeline(
        "clip",
        Rules(publish_unread=True),
        None,
        new_event_id=lambda at: uuid7(at, bytes(10)),
        places=Places(lines=(ACROSS,)),
    )
    video = cv2.VideoCapture(str(CLIPS / clip))
    fps, events, seq = video.get(cv2.CAP_PROP_FPS), [], 0
    while (read := video.read())[0]:
        t_s = seq / fps
        at = START + timedelta(seconds=t_s)
        frame = Frame(camera_id="clip", seq=seq, captured_at=at, t_s=t_s, image=read[1])
        (found,) = models.detector.detect([frame.image])
        chosen = pipeline.select(frame, found)
        reads = models.reader.read([(frame.image, plate, t_s) for plate in chosen])
        events += pipeline.step(frame, found, reads)
        seq += 1
    return [*events, *pipeline.finish()], pipeline


def seconds(event: PlateEvent) -> tuple[float, float]:
    return tuple((at - START).total_seconds() for at in (event.first_seen, event.last_seen))


def test_four_cars_from_above_are_four_passes_two_each_way(models: Models) -> None:
    events, pipeline = watch(models, "overhead.mp4")
    told = sorted((*seconds(e), e.direction and e.direction.label) for e in events)
    # By eye: white up 4.6 to 8.4 s, teal down 14.8 to 18.2, red up 15.3 to 18.9, white down 25.3
    # to 27.7.
    by_eye = [
        (4.6, 8.4, "receding"),
        (14.8, 18.2, "approaching"),
        (15.3, 18.9, "receding"),
        (25.3, 27.7, "approaching"),
    ]
    assert [label for _, _, label in told] == [label for _, _, label in by_eye]
    for (first, last, _), (came, left, _) in zip(told, by_eye, strict=True):
        assert came - 0.5 <= first <= last <= left + 0.5
    assert all(event.plate is None for event in events)
    assert pipeline.line_counts() == {"middle": LineCount(inward=2, outward=2)}


def test_a_car_that_drives_up_is_one_pass_that_approaches(models: Models) -> None:
    events, pipeline = watch(models, "uk-approach.mp4")
    # By eye: one car drives up from the left, 0 to 4.7 s; the camera turns with it. Two cars far
    # behind it stand, their plates 20 pixels wide.
    assert [label_of(e) for e in events if e.plate == "LS15EBC"] == ["approaching"]
    assert len([e for e in events if e.plate is not None]) <= 3
    assert pipeline.line_counts()["middle"].outward == 0


def test_of_four_vehicles_at_a_toll_gate_three_drive_up_and_one_stands(models: Models) -> None:
    events, _ = watch(models, "toll-gate.mp4")
    # By eye: a white car stands before the gate and drives on, 0 to 6.3 s; a red one follows it,
    # 3.2 to 8.4 s; after a cut a green truck stands on the left and starts at 13.0 s, and a blue
    # one comes from far away, 9 to 18.7 s.
    assert sorted((e.plate, label_of(e)) for e in events if e.plate) == [
        ("15C17174", None),
        ("34A23126", "approaching"),
        ("34A36837", "approaching"),
        ("89C20339", "approaching"),
    ]
    (truck,) = [e for e in events if e.plate == "15C17174"]
    assert seconds(truck)[0] > 8.4
    assert seconds(truck)[1] < 13.6


def label_of(event: PlateEvent) -> str | None:
    return None if event.direction is None else event.direction.label
