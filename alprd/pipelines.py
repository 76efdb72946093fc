"""Builds cameras' pipelines from the configuration, and tunes those that run to a new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime

import structlog

from alprd.config import CameraSettings, Settings
from alprd.core.counting import Places
from alprd.core.events import RANDOM_BYTES, uuid7
from alprd.core.speed import SpeedMeter
from alprd.pipeline import CameraPipeline, NamePass

log = structlog.get_logger(__name__)


def new_event_id(at: datetime) -> str:
    """The id of a pass that was first read then."""
    return uuid7(at, os.urandom(RANDOM_BYTES))


def new_pipeline(
    settings: Settings, camera: CameraSettings, *, name_pass: NamePass | None = None
) -> CameraPipeline:
    """The camera's pipeline; `name_pass` is for whoever tells of a pass before it is an event."""
    return CameraPipeline(
        camera.id,
        settings.tracking_of(camera),
        camera.roi,
        new_event_id=new_event_id,
        speed=_speed_meter(camera),
        places=Places(lines=camera.lines, zones=camera.zones),
        name_pass=name_pass,
    )


def retuning(
    pipeline: CameraPipeline, settings: Settings, camera: CameraSettings
) -> Callable[[], None]:
    """Gives a pipeline its new settings; to be called by the thread that it belongs to."""
    rules, meter = settings.tracking_of(camera), _speed_meter(camera)
    places = Places(lines=camera.lines, zones=camera.zones)
    return lambda: pipeline.retune(rules, camera.roi, speed=meter, places=places)


def _speed_meter(camera: CameraSettings) -> SpeedMeter | None:
    speed = camera.speed
    if speed is None:
        return None
    refusals = log.bind(camera=camera.id)
    return SpeedMeter(
        speed.calibration(),
        speed.rules(),
        on_refused=lambda reason: refusals.debug("speed.refused", reason=reason),
    )
