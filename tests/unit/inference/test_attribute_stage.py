"""The attribute stage keeps the best crops, asks in one call and forgets what is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.types import Attribute, Detection, Frame, PlateEvent, Vehicle
from alprd.core.vehicles import VehicleSeen, VehicleTrack
from alprd.inference import attributes
from alprd.inference.attribute_manifest import AttributeManifest
from alprd.inference.attributes import AttributeStage
from alprd.inference.classifier import NetworkClassifier
from alprd.inference.network import Outputs
from alprd.ports import EngineError
from support.inference import AT, event

SIZE = (640, 360)
BOX = (100.0, 100.0, 300.0, 260.0)
RED, BLUE, GREY = (30, 30, 220), (220, 40, 30), (120, 120, 120)  # BGR
MANIFEST: Mapping[str, Any] = {
    "schema": "alprd.model/1",
    "name": "paint",
    "task": "attribute",
    "version": "1",
    "file": "model.onnx",
    "sha256": "0" * 64,
    "licence": "ours",
    "input": {
        "name": "image", "layout": "NHWC", "colour": "RGB", "width": 16, "height": 16,
        "scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3,
    },
    "decoder": {
        "type": "classes",
        "crop": "square",
        "heads": {
            "color": {"output": "paint", "labels": ["red", "blue"], "needs_colour": True},
            "shade": {"output": "shade", "labels": ["dark", "light"]},
        },
    },
}  # fmt: skip


class Paint:
    """Says whether the middle of a picture is rather red or blue; how light it is."""

    max_batch = 8

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.broken = False

    def run(self, rows: NDArray[np.float32], count: int) -> Outputs:
        if self.broken:
            raise EngineError("paint/model.onnx failed")
        self.calls.append(count)
        middle = rows[:count, 6:10, 6:10].mean(axis=(1, 2))
        red = middle[:, 0] / (middle[:, 0] + middle[:, 2])
        light = np.full(count, 0.9)
        return {
            "paint": np.stack([red, 1 - red], axis=1).astype(np.float32),
            "shade": np.stack([1 - light, light], axis=1).astype(np.float32),
        }


@pytest.fixture
def paint() -> Paint:
    return Paint()


def stage_of(paint: Paint, *, only_events: bool = False, most: int = 4) -> AttributeStage:
    manifest = AttributeManifest.model_validate(MANIFEST)
    return AttributeStage([NetworkClassifier(manifest, paint)], most=most, only_events=only_events)


def picture(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    image = np.full((SIZE[1], SIZE[0], 3), (90, 120, 100), np.uint8)
    if colour == GREY:
        image[:] = 100
    x1, y1, x2, y2 = (int(v) for v in BOX)
    image[y1:y2, x1:x2] = colour
    image[y1 : y1 + 5, x1:x2] = 20 if colour == GREY else (20, 10, 15)
    return image


def frame(colour: tuple[int, int, int], *, camera: str = "gate") -> Frame:
    return Frame(camera_id=camera, seq=0, captured_at=AT, t_s=0.0, image=picture(colour))


def vehicle(number: int = 1) -> VehicleTrack:
    seen = VehicleSeen(
        t_s=0.0,
        captured_at=AT,
        frame_size=SIZE,
        detection=Detection(label="car", score=0.9, box=BOX),
    )
    return VehicleTrack(id=number, path=(), whole=(), first=seen, last=seen, shown=seen)


def passing(*vehicles: int, camera: str = "gate") -> PlateEvent:
    car = Vehicle(type="car", confidence=0.9, box=BOX)
    return replace(event("AB12", camera), vehicle=car, vehicle_ids=vehicles)


def told(stage: AttributeStage, found: PlateEvent) -> dict[str, str | None]:
    (done,) = stage.completed([found])
    assert done.vehicle is not None
    return {a.name: a.value for a in done.vehicle.attributes}


def test_the_vehicles_of_several_cameras_are_asked_about_in_one_call(paint: Paint) -> None:
    stage = stage_of(paint)
    stage.see(frame(RED), [vehicle()])
    stage.see(frame(BLUE, camera="ramp"), [vehicle()])
    stage.ask()
    assert paint.calls == [2]
    assert told(stage, passing(1)) == {"color": "red", "shade": "light"}
    assert told(stage, passing(1, camera="ramp")) == {"color": "blue", "shade": "light"}
    assert paint.calls == [2], "what was answered is not asked again"


def test_where_events_alone_are_described_nothing_is_asked_before(paint: Paint) -> None:
    stage = stage_of(paint, only_events=True)
    stage.see(frame(RED), [vehicle()])
    stage.ask()
    assert paint.calls == []
    assert told(stage, passing(1))["color"] == "red"
    assert paint.calls == [1]


def test_a_grey_picture_has_no_colour_and_all_the_rest(paint: Paint) -> None:
    stage = stage_of(paint)
    stage.see(frame(GREY), [vehicle()])
    assert told(stage, passing(1)) == {"color": None, "shade": "light"}


def test_a_plate_that_was_on_several_tracks_of_its_vehicle_goes_by_all_of_them(
    paint: Paint,
) -> None:
    stage = stage_of(paint)
    stage.see(frame(RED), [vehicle(3)])
    assert told(stage, passing(2, 3))["color"] == "red"


def test_a_vehicle_that_was_not_looked_at_is_unknown(paint: Paint) -> None:
    stage = stage_of(paint)
    assert told(stage, passing(7)) == {"color": None, "shade": None}
    assert paint.calls == []


def test_a_camera_whose_vehicles_are_counted_anew_keeps_nothing_of_the_old_ones(
    paint: Paint,
) -> None:
    stage = stage_of(paint)
    stage.see(frame(RED), [vehicle()])
    stage.see(frame(BLUE, camera="ramp"), [vehicle()])
    stage.forget("gate")
    assert told(stage, passing(1))["color"] is None
    assert told(stage, passing(1, camera="ramp"))["color"] == "blue"


def test_no_more_vehicles_are_remembered_than_there_is_room_for(
    paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "MAX_VEHICLES", 3)
    stage = stage_of(paint, only_events=True)
    for number in range(1, 6):
        stage.see(frame(RED), [vehicle(number)])
    assert [told(stage, passing(n))["color"] for n in range(1, 6)] == [None, None, *["red"] * 3]


def test_a_picture_that_cannot_be_cut_costs_nothing_else(paint: Paint) -> None:
    stage = stage_of(paint)
    broken = replace(frame(RED), image=np.zeros((SIZE[1], SIZE[0]), np.uint8))
    stage.see(broken, [vehicle()])
    stage.see(frame(RED), [vehicle()])
    assert told(stage, passing(1))["color"] == "red"


def test_a_classifier_that_fails_is_asked_no_more_and_named(paint: Paint) -> None:
    stage = stage_of(paint)
    stage.see(frame(RED), [vehicle()])
    paint.broken = True
    (found,) = stage.completed([passing(1)])
    assert found.vehicle is not None
    assert found.vehicle.attributes == ()
    assert stage.figures() == {
        "running": [],
        "problems": {"paint": "paint/model.onnx failed"},
        "looks": 1,
    }
    stage.see(frame(RED), [vehicle(2)])
    assert stage.completed([passing(2)]) == [passing(2)]


def test_what_is_known_of_a_vehicle_in_sight_is_told_and_asks_if_need_be(paint: Paint) -> None:
    stage = stage_of(paint, only_events=True)
    stage.see(frame(RED), [vehicle()])
    described = stage.described(passing(1))
    assert described.vehicle is not None
    assert described.vehicle.attributes[0] == Attribute(name="color")
    assert [a.value for a in stage.known("gate", 1)] == ["red", "light"]
