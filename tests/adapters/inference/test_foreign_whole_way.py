"""Two foreign models and nothing but their manifests: from frames to events.

The detector has YOLO v9's end-to-end form at 384x384 (duplicates suppressed inside, rows of batch
x1 y1 x2 y2 class score) and knows plates only; it finds yellow ones. The reader is the trained,
LPRNet-like CTC net.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.cameras.mux import FrameMux
from alprd.config import InferenceSettings, TrackingSettings
from alprd.core.types import EndOfStream, Frame, PlateEvent
from alprd.demo.plates import YELLOW_UK, render_plate
from alprd.inference.models import Models, load_models
from alprd.inference.thread import InferenceThread
from alprd.pipeline import CameraPipeline
from support.foreign_models import write_lprnet, write_yellow_detector
from support.inference import AT

SIZE = (640, 480)


def street(text: str, x: int, y: int, width: int = 170) -> NDArray[np.uint8]:
    """(480, 640, 3) BGR with a yellow plate."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    height = round(width * YELLOW_UK.height_mm / YELLOW_UK.width_mm)
    plate = cv2.resize(render_plate(text, YELLOW_UK), (width, height), interpolation=cv2.INTER_AREA)
    image[y : y + height, x : x + width] = plate
    image.setflags(write=False)
    return image


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    quad = [[200, 220], [370, 220], [370, 256], [200, 256]]
    write_yellow_detector(folder / "yolo-v9-t", street("LS15EBC", 200, 220), quad)
    write_lprnet(folder / "lprnet", street("LS15EBC", 200, 220)[220:256, 200:370], "LS15EBC")
    return load_models(
        InferenceSettings(models_dir=folder, detector="yolo-v9-t", reader="lprnet", threads=1)
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
                        image=street(text, 40 + 20 * seq, 250 + 6 * seq),
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
    empty = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)

    found = models.detector.detect([empty, street("AB12CDE", 100, 100), empty])

    assert [len(each) for each in found] == [0, 1, 0]
    assert models.detector.detect([empty]) == [[]]
