"""A calibrated camera's events carry speeds, as its settings say; others carry none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from alprd.config import Settings
from alprd.core.types import PlateEvent
from alprd.pipeline import CameraPipeline
from alprd.pipelines import new_pipeline, retuning
from support.payloads import payload_of, schema_problems
from support.replay import Recording, to_detection, to_frame
from support.simulator import PinholeCamera, SimVehicle, Trip
from support.simulator_scene import Flaws, Scene, SimFrame, observe
from support.simulator_traffic import make_camera
from support.speed_traffic import trials

CAMERA = PinholeCamera(position_m=(0.0, 0.0, 5.0), tilt_deg=14.0)
PLACES = [(x, y) for y in (12.0, 18.0, 26.0) for x in (-3.0, 3.0)]
KMH = 45.0


def speed_table(**changes: object) -> dict[str, Any]:
    px = CAMERA.project_ground(PLACES)
    return {
        "frame_size": list(CAMERA.size),
        "points": [[float(x), float(y)] for x, y in px],
        "metres": [list(place) for place in PLACES],
        "camera_height_m": 5.0,
        **changes,
    }


def settings(speed: dict[str, Any] | None) -> Settings:
    camera = {"id": "gate", "source": "/clip.mp4"}
    if speed is not None:
        camera["speed"] = speed  # type: ignore[assignment]
    return Settings.model_validate({"device_id": "test", "cameras": [camera]})


def pipeline_of(speed: dict[str, Any] | None) -> CameraPipeline:
    made = settings(speed)
    return new_pipeline(made, made.cameras[0])


def car(*, end_s: float = 6.0) -> list[SimFrame]:
    trip = Trip(start_m=(0.0, 8.0), heading_deg=0.0, speeds=((0.0, KMH / 3.6), (end_s, KMH / 3.6)))
    scene = Scene(
        camera=CAMERA,
        vehicles=(SimVehicle(id=1, plate="AB12CDE", trip=trip),),
        fps=20.0,
        begin_s=0.0,
        end_s=end_s,
        flaws=Flaws(noise_px=0.7, missed=0.0, misreads=0.0),
        seed=1,
    )
    return list(observe(scene))


def drive(
    pipeline: CameraPipeline,
    frames: list[SimFrame],
    *,
    halfway: Callable[[], None] = lambda: None,
) -> list[PlateEvent]:
    recording = Recording(camera_id="gate", frame_size=CAMERA.size)
    events = []
    for seq, frame in enumerate(frames):
        if seq == len(frames) // 2:
            halfway()
        shown = to_frame(recording, frame.recorded, seq)
        pairs = [to_detection(o, frame.recorded.t_s) for o in frame.recorded.objects]
        selected = pipeline.select(shown, [detection for detection, _ in pairs])
        reads = [next(read for d, read in pairs if d is plate) for plate in selected]
        events += pipeline.step(shown, [detection for detection, _ in pairs], reads)
    return [*events, *pipeline.finish()]


def test_a_calibrated_camera_publishes_the_speed_with_its_standard_error() -> None:
    (event,) = drive(pipeline_of(speed_table()), car())
    assert event.speed is not None
    assert abs(event.speed.kmh - KMH) < 3.0 * event.speed.stderr_kmh
    assert event.speed.kmh == pytest.approx(KMH, rel=0.03)
    payload = payload_of(event)
    assert schema_problems(payload) == []
    assert payload["speed"]["limit_kmh"] is None
    assert payload["speed"]["speeding"] is None
    assert payload["speed"]["mph"] is None


def test_miles_and_a_limit_are_told_where_they_are_configured() -> None:
    (event,) = drive(pipeline_of(speed_table(unit="mph", limit=20.0)), car())
    payload = payload_of(event)
    assert schema_problems(payload) == []
    assert payload["speed"]["mph"] == pytest.approx(KMH / 1.609344, rel=0.03)
    assert payload["speed"]["limit_kmh"] == 32.2
    assert payload["speed"]["speeding"] is True


def test_without_a_calibration_there_is_no_speed() -> None:
    (event,) = drive(pipeline_of(None), car())
    assert event.speed is None


def test_why_a_speed_was_refused_is_logged_for_those_who_look() -> None:
    with capture_logs() as logs:
        (event,) = drive(pipeline_of(speed_table(min_path_m=150.0)), car())
    assert event.speed is None
    (entry,) = [log for log in logs if log["event"] == "speed.refused"]
    assert entry["log_level"] == "debug"
    assert entry["camera"] == "gate"
    assert "shorter than 150 m" in entry["reason"]


def test_a_new_calibration_measures_also_the_vehicle_that_is_passing() -> None:
    pipeline = pipeline_of(None)
    new = settings(speed_table())
    retune = retuning(pipeline, new, new.cameras[0])
    (event,) = drive(pipeline, car(), halfway=retune)
    assert event.speed is not None
    assert event.speed.kmh == pytest.approx(KMH, rel=0.03)


def test_traffic_past_a_camera_has_the_speeds_that_it_drove() -> None:
    found = trials(make_camera(2, vehicles=12), seed=2)
    told = [t for t in found if t.told_kmh is not None]
    assert len(told) >= 0.9 * len(found) > 8
    errors = [abs(t.told_kmh / t.true_kmh - 1.0) for t in told if t.told_kmh is not None]
    assert np.median(errors) <= 0.015
    assert max(errors) <= 0.05
