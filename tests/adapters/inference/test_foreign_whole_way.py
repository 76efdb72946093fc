"""Two foreign models and nothing but their manifests: from frames to events.

The detectors know plates only, and find yellow ones: in YOLO v9's end-to-end form at 384x384
(duplicates suppressed inside, rows of batch x1 y1 x2 y2 class score), as a raw head, and as an SSD
from TensorFlow with 8-bit NHWC input. The reader is the trained, LPRNet-like CTC net.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from alprd.cameras.mux import FrameMux
from alprd.config import InferenceSettings, TrackingSettings
from alprd.core.types import EndOfStream, Frame, PlateEvent
from alprd.inference.models import Models, load_models
from alprd.inference.thread import InferenceThread
from alprd.pipeline import CameraPipeline
from alprd.ports import EngineError
from support.foreign_models import YELLOW_FORMS, write_yellow_models, yellow_street
from support.inference import AT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yellow_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(params=YELLOW_FORMS)
def models(request: pytest.FixtureRequest, folder: Path) -> Models:
    return load_models(
        InferenceSettings(
            models_dir=folder, detector=request.param, reader="lprnet", threads=1, max_batch=4
        )
    )


class Events:
    def __init__(self) -> None:
        self.stored: list[PlateEvent] = []

    def add(self, events: Sequence[PlateEvent]) -> None:
        self.stored += events


def test_a_passing_plate_becomes_one_event_though_no_vehicle_is_ever_seen(models: Models) -> None:
    mux, sink = FrameMux(["gate", "ramp"]), Events()
    pipelines = {
        camera_id: CameraPipeline(
            camera_id,
            TrackingSettings(),
            None,
            new_event_id=lambda at, camera_id=camera_id: f"{camera_id} {at.isoformat()}",
        )
        for camera_id in ("gate", "ramp")
    }

    with InferenceThread(
        models, mux, pipelines, sink, lambda: None, max_batch=8, live=()
    ) as inference:
        for seq in range(10):
            for camera_id, text in (("gate", "MX77KQZ"), ("ramp", "B1000AA")):
                mux.put(
                    Frame(
                        camera_id=camera_id,
                        seq=seq,
                        captured_at=AT + timedelta(seconds=seq / 10),
                        t_s=seq / 10,
                        image=yellow_street(text, 40 + 20 * seq, 250 + 6 * seq),
                    )
                )
        for camera_id in pipelines:
            mux.put(EndOfStream(camera_id=camera_id))

    assert inference.failed is None
    assert {event.camera_id: event.plate for event in sink.stored} == {
        "gate": "MX77KQZ",
        "ramp": "B1000AA",
    }
    assert len(sink.stored) == 2
    for event in sink.stored:
        assert event.reads_count == 10
        assert event.confidence > 0.8
        assert event.vehicle is None


def test_an_empty_street_gives_nothing_for_every_frame_of_a_batch(models: Models) -> None:
    empty = np.full((480, 640, 3), 90, np.uint8)

    found = models.detector.detect([empty, yellow_street("AB12CDE", 100, 100), empty])

    assert [len(each) for each in found] == [0, 1, 0]
    assert models.detector.detect([empty]) == [[]]


@pytest.mark.parametrize(
    ("form", "right", "wrong", "remedy"),
    [
        ("ssd-tf", 'boxes = "yxyx"', 'boxes = "xyxy"', 'with boxes = "yxyx" it passes'),
        ("ssd-tf", 'units = "fraction"', 'units = "pixels"', 'with units = "fraction" it passes'),
        ("ssd-tf", 'colour = "RGB"', 'colour = "BGR"', 'with colour = "RGB" it passes'),
        ("yolo-v9-t", '"class", "score"', '"score", "class"', '"class", "score"] it passes'),
        ("yolo-head", 'type = "yolo"', 'type = "yolo"\nboxes = "xywh"', 'boxes = "cxcywh" it'),
    ],
)
def test_a_failing_self_test_names_the_mistake_that_explains_it(
    *, folder: Path, tmp_path: Path, form: str, right: str, wrong: str, remedy: str
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(folder / form, mine)
    text = (mine / "manifest.toml").read_text()
    assert right in text
    (mine / "manifest.toml").write_text(text.replace(right, wrong))
    shutil.copytree(folder / "lprnet", tmp_path / "lprnet")

    with pytest.raises(EngineError, match=re.escape(remedy)):
        load_models(
            InferenceSettings(models_dir=tmp_path, detector="mine", reader="lprnet", threads=1)
        )
