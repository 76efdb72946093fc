"""Classifiers of one's own: dropped in by manifest, told in events, left out when they fail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray

from alprd.cameras.mux import FrameMux
from alprd.cli import main
from alprd.config import InferenceSettings, TrackingSettings
from alprd.core.events import uuid7
from alprd.core.types import Attribute, EndOfStream, Frame, PlateEvent
from alprd.doctor.models import ModelCheck
from alprd.inference.attribute_manifest import AttributeManifest
from alprd.inference.attribute_models import load_attributes
from alprd.inference.engine_check import check_engine, fp32_network
from alprd.inference.engines import CLASSIFIER_BATCH, engine
from alprd.inference.models import Models, load_models
from alprd.inference.network import Network, Outputs
from alprd.inference.thread import InferenceThread
from alprd.pipeline import CameraPipeline
from alprd.ports import EngineError
from support import tiny_models
from support.inference import AT, FakeClock
from support.payloads import payload_of, schema_problems
from support.shape_classifier import draw_shape, write_shape_classifier
from support.tiny_models import blank_picture, box_quad, draw_plate, draw_vehicle

pytestmark = pytest.mark.everywhere


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_models.write_models(tmp_path)


def settings(folder: Path, *names: str, **changes: object) -> InferenceSettings:
    return InferenceSettings(models_dir=folder, threads=1, attributes=names, **changes)


def passing(camera_id: str, shape: str, seq: int) -> Frame:
    """Frame `seq` of a car with a shape on its side and a plate, at 10 frames a second."""
    image = blank_picture((640, 384))
    x = 40 + 12 * seq
    box = (x, 60, x + 240, 250)
    draw_vehicle(image, "car", box)
    draw_shape(image, shape, box)
    draw_plate(image, "AB12", box_quad(x + 60, 205, x + 180, 240))
    image.setflags(write=False)
    t_s = seq / 10
    at = AT + timedelta(seconds=t_s)
    return Frame(camera_id=camera_id, seq=seq, captured_at=at, t_s=t_s, image=image)


class Events:
    def __init__(self) -> None:
        self.stored: list[PlateEvent] = []

    def add(self, events: Sequence[PlateEvent]) -> None:
        self.stored += events

    def add_lost(self, count: int) -> None:
        raise AssertionError(f"{count} events were given up")


def events_of(models: Models, shapes: dict[str, str], frames: int = 12) -> dict[str, PlateEvent]:
    """The event of each camera's only vehicle."""

    def new_event_id(at: datetime) -> str:
        return uuid7(at, bytes(10))

    mux, sink = FrameMux(list(shapes)), Events()
    pipelines = {
        camera: CameraPipeline(camera, TrackingSettings(), None, new_event_id=new_event_id)
        for camera in shapes
    }
    with InferenceThread(
        models, mux, pipelines, sink, lambda: None, max_batch=8, live=()
    ) as inference:
        for seq in range(frames):
            for camera, shape in shapes.items():
                mux.put(passing(camera, shape, seq))
        for camera in shapes:
            mux.put(EndOfStream(camera_id=camera))
    assert inference.failed is None
    assert len(sink.stored) == len(shapes)
    return {event.camera_id: event for event in sink.stored}


def attribute(event: PlateEvent, name: str) -> Attribute:
    assert event.vehicle is not None
    return next(a for a in event.vehicle.attributes if a.name == name)


@pytest.mark.parametrize("asked", ["events", "tracks"])
def test_somebody_elses_classifier_appears_in_events_without_code(folder: Path, asked: str) -> None:
    write_shape_classifier(folder / "shapes")
    models = load_models(settings(folder, "shapes", attributes_for=asked))
    found = events_of(models, {"gate": "disc", "ramp": "cross"})
    assert attribute(found["gate"], "make_model").value == "disc"
    assert attribute(found["ramp"], "make_model").value == "cross"
    payload = payload_of(found["ramp"])
    assert payload["vehicle"]["make_model"] == "cross"
    assert payload["vehicle"]["confidences"]["make_model"] > 0.6
    assert payload["vehicle"]["type"] == "car"
    assert schema_problems(payload) == []
    assert set(models.hashes) == {"plate-detector", "plate-reader", "shapes"}


def test_no_vehicle_is_looked_at_more_often_than_allowed(folder: Path) -> None:
    write_shape_classifier(folder / "shapes")
    models = load_models(settings(folder, "shapes", attributes_for="tracks", attribute_crops=2))
    events_of(models, {"gate": "disc"}, frames=20)
    assert models.attributes is not None
    assert 1 <= models.attributes.looks <= 2


def test_where_only_events_are_described_vehicles_without_one_cost_no_look(folder: Path) -> None:
    write_shape_classifier(folder / "shapes")
    models = load_models(settings(folder, "shapes"))
    stage = models.attributes
    assert stage is not None
    pipeline = CameraPipeline("gate", TrackingSettings(), None, new_event_id=str)
    for seq in range(4):
        frame = passing("gate", "disc", seq)
        cars = [found for found in models.detector.detect([frame.image])[0] if found.label == "car"]
        pipeline.step(frame, cars, [])
        stage.see(frame, pipeline.vehicles)
        stage.ask()
    assert len(pipeline.vehicles) == 1
    assert stage.looks == 0


PROBLEMS = [
    pytest.param(
        {"labels": ("disc", "cross", "star")}, r"output 'scores' .* \(\?, 3\)", id="count"
    ),
    pytest.param({"shape": (2, 1)}, r"output 'scores' has shape", id="shape"),
    pytest.param({"sha256": "0" * 64}, r"has sha256 .* the file is damaged", id="sha256"),
    pytest.param({"nan_below": 254.0}, r"'make_model' returned NaN", id="NaN"),
    pytest.param({"head": "box"}, r"heads: \['box'\] are other fields", id="taken name"),
    pytest.param({"labels": ("disc", "disc")}, r"labels holds a name twice", id="twice"),
]


@pytest.mark.parametrize(("flaw", "message"), PROBLEMS)
def test_a_classifier_that_cannot_be_used_is_named_and_the_rest_goes_on(
    folder: Path, flaw: dict[str, object], message: str
) -> None:
    write_shape_classifier(folder / "broken", **flaw)
    write_shape_classifier(folder / "shapes", head="emblem")
    with structlog.testing.capture_logs() as logs:
        models = load_models(settings(folder, "broken", "shapes"))
    assert models.attributes is not None
    assert models.attributes.running == ("shapes",)
    (problem,) = models.attributes.problems.values()
    assert re.search(message, problem.replace("\n", " ")), problem
    assert [log["model"] for log in logs if log["event"] == "attributes.unusable"] == ["broken"]
    found = events_of(models, {"gate": "cross"}, frames=4)
    assert attribute(found["gate"], "emblem").value == "cross"


def test_a_classifier_that_is_not_there_does_not_stop_the_daemon(folder: Path) -> None:
    models = load_models(settings(folder, "nowhere"))
    assert models.attributes is not None
    assert "does not exist" in models.attributes.problems["nowhere"]
    assert events_of(models, {"gate": "disc"})["gate"].plate == "AB12"


def test_the_doctor_names_a_classifier_that_cannot_be_used(folder: Path) -> None:
    check = ModelCheck(settings(folder, "nowhere"))
    levels = {finding.level: finding.text for finding in check.findings()}
    assert list(levels) == ["ok", "warning"]
    assert "without the classifier nowhere" in levels["warning"]
    assert "correct the model's name" in levels["warning"]


def test_two_classifiers_may_not_answer_the_same_question(folder: Path) -> None:
    write_shape_classifier(folder / "one")
    write_shape_classifier(folder / "other")
    models = load_models(settings(folder, "one", "other"))
    assert models.attributes is not None
    assert models.attributes.running == ("one",)
    assert "is one's already" in models.attributes.problems["other"]


def test_a_classifier_that_fails_later_is_left_out_and_its_attributes_vanish(
    folder: Path,
) -> None:
    # The blank self-test is bright enough, the street is not.
    write_shape_classifier(folder / "moody", nan_below=126.0)
    models = load_models(settings(folder, "moody"))
    assert models.attributes is not None
    assert models.attributes.running == ("moody",)
    with structlog.testing.capture_logs() as logs:
        found = events_of(models, {"gate": "cross"})
    assert found["gate"].plate == "AB12"
    assert found["gate"].vehicle is not None
    assert found["gate"].vehicle.attributes == ()
    assert models.attributes.running == ()
    assert "returned NaN" in models.attributes.problems["moody"]
    assert [log["event"] for log in logs if log["event"].startswith("attributes")] == [
        "attributes.failed"
    ]


def test_what_lies_outside_the_picture_is_padding_and_shapes_keep_their_place(
    folder: Path,
) -> None:
    write_shape_classifier(folder / "shapes")
    models = load_models(settings(folder, "shapes"))
    assert models.attributes is not None
    (classifier,) = models.attributes._classifiers
    image = np.full((100, 200, 3), 200, np.uint8)
    image[:, :50] = 10
    # Half of the box lies left of the picture; its visible half ends where the dark part does.
    crop = classifier.cut(image, (-50.0, 0.0, 50.0, 100.0))
    assert crop.shape == (24, 24, 3)
    assert (crop[:, :12] == 114).all()
    assert (crop[:, 12:] == 10).all()


def test_with_an_engine_a_classifier_runs_on_it_and_without_one_on_the_cpu(folder: Path) -> None:
    write_shape_classifier(folder / "shapes")
    wanted = engine("shapes", settings(folder, "shapes"))
    opened: list[str] = []

    def open_engine(name: str, manifest: AttributeManifest) -> Network:
        opened.append(name)
        return fp32_network(wanted)

    def no_plan(name: str, manifest: AttributeManifest) -> Network:
        raise EngineError(f"there is no plan of {name}; alprd engines build {name}")

    stage = load_attributes(settings(folder, "shapes"), open_engine)
    assert stage is not None
    assert (opened, stage.running) == (["shapes"], ("shapes",))
    with structlog.testing.capture_logs() as logs:
        stage = load_attributes(settings(folder, "shapes"), no_plan)
    assert stage is not None
    assert (stage.running, stage.problems) == (("shapes",), {})
    (warning,) = [log for log in logs if log["event"] == "attributes.on_cpu"]
    assert "alprd engines build shapes" in warning["reason"]


def test_an_engine_of_a_classifier_must_answer_as_its_model_does(folder: Path) -> None:
    write_shape_classifier(folder / "shapes")
    wanted = engine("shapes", settings(folder, "shapes"))
    same = fp32_network(wanted)
    assert wanted.settings.max_batch == CLASSIFIER_BATCH
    fine = check_engine(wanted, same, fp32_network(wanted), FakeClock())
    assert fine.problem is None
    assert fine.figures["answers"]["of"] == fine.figures["answers"]["same"] > 0

    class Backwards:
        max_batch = same.max_batch

        def run(self, rows: NDArray[np.float32], count: int) -> Outputs:
            return {name: -value for name, value in same.run(rows, count).items()}

    wrong = check_engine(wanted, Backwards(), fp32_network(wanted), FakeClock())
    assert wrong.problem is not None
    assert "answers are the same" in wrong.problem


def test_the_way_that_checks_models_checks_classifiers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shape_classifier(folder / "shapes")
    model = folder / "shapes" / "model.onnx"
    command = ["engines", "check", str(model), "--manifest", str(folder / "shapes")]
    assert main(command) == 0
    assert "task: attribute" in capsys.readouterr().out
    write_shape_classifier(folder / "shapes", labels=("disc", "cross", "star"))
    assert main(command) != 0
    assert "output 'scores'" in capsys.readouterr().err
