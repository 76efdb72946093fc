"""The whole way inside the process: real mux, real models, real pipelines, one inference thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest

from alprd.cameras.mux import FrameMux
from alprd.config import InferenceSettings, TrackingSettings
from alprd.core.types import EndOfStream, Frame, PlateEvent
from alprd.inference.models import Models, load_models
from alprd.inference.thread import InferenceThread
from alprd.pipeline import CameraPipeline
from support import tiny_models
from support.inference import AT
from support.tiny_models import blank_picture, box_quad, draw_plate

pytestmark = pytest.mark.everywhere


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tiny_models.write_models(tmp_path_factory.mktemp("models"))
    return load_models(InferenceSettings(models_dir=folder, threads=1))


class Events:
    def __init__(self) -> None:
        self.stored: list[PlateEvent] = []

    def add(self, events: Sequence[PlateEvent]) -> None:
        self.stored += events


def pipeline(camera_id: str) -> CameraPipeline:
    def new_event_id(at: datetime) -> str:
        return f"{camera_id} {at.isoformat()}"

    return CameraPipeline(camera_id, TrackingSettings(), None, new_event_id=new_event_id)


def passing(camera_id: str, text: str, seq: int) -> Frame:
    """Frame `seq` of a car that comes from the left at 10 frames a second."""
    image = blank_picture((640, 384))
    x = 60 + 15 * seq
    draw_plate(image, text, box_quad(x, 200, x + 150, 250))
    image.setflags(write=False)
    t_s = seq / 10
    return Frame(
        camera_id=camera_id,
        seq=seq,
        captured_at=AT + timedelta(seconds=t_s),
        t_s=t_s,
        image=image,
    )


def test_two_cameras_with_a_corrupt_frame_between_give_one_event_per_pass(models: Models) -> None:
    mux, sink = FrameMux(["gate", "ramp"]), Events()
    pipelines = {camera_id: pipeline(camera_id) for camera_id in ("gate", "ramp")}
    corrupt = passing("gate", "AB12CDE", 5)
    corrupt = Frame(
        camera_id="gate",
        seq=5,
        captured_at=corrupt.captured_at,
        t_s=corrupt.t_s,
        image=np.zeros((0, 0, 3), np.uint8),
    )

    with InferenceThread(
        models, mux, pipelines, sink, lambda: None, max_batch=8, live=()
    ) as inference:
        for seq in range(12):
            mux.put(corrupt if seq == 5 else passing("gate", "AB12CDE", seq))
            mux.put(passing("ramp", "XY34ZZ", seq))
        mux.put(EndOfStream(camera_id="gate"))
        mux.put(EndOfStream(camera_id="ramp"))

    assert inference.failed is None
    assert {event.camera_id: event.plate for event in sink.stored} == {
        "gate": "AB12CDE",
        "ramp": "XY34ZZ",
    }
    assert len(sink.stored) == 2
    reads = {event.camera_id: event.reads_count for event in sink.stored}
    assert reads == {"gate": 11, "ramp": 12}
    assert inference.figures()["bad_frames"] == 1
