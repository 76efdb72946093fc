"""Plates' widths told from a calibration."""

from __future__ import annotations

import pytest

from alprd.config import SpeedSettings
from alprd.core.calibration import measure_of
from alprd.core.plate_size import widest_plate_px

ROAD = SpeedSettings(
    frame_size=(1280, 720),
    points=((240.0, 700.0), (1040.0, 700.0), (740.0, 300.0), (540.0, 300.0)),
    metres=((0.0, 0.0), (4.0, 0.0), (4.0, 20.0), (0.0, 20.0)),
)


def test_a_plate_is_widest_at_the_nearest_point() -> None:
    # There 4 m are 800 px wide.
    assert widest_plate_px(measure_of(ROAD.calibration())) == pytest.approx(104.0, rel=0.01)
    narrow = widest_plate_px(measure_of(ROAD.calibration()), 0.21)
    assert narrow == pytest.approx(42.0, rel=0.01)


def test_two_lines_tell_no_width() -> None:
    lines = SpeedSettings(
        frame_size=(1280, 720),
        lines=(((240, 700), (1040, 700)), ((540, 300), (740, 300))),
        distance_m=20.0,
        camera_height_m=5.0,
    )
    assert widest_plate_px(measure_of(lines.calibration())) is None
