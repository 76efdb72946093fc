"""How wide plates get in a calibrated picture."""

from __future__ import annotations

from typing import Final

import numpy as np

from alprd.core.calibration import Measure
from alprd.core.planes import to_metres

COMMON_WIDTH_M: Final = 0.52
"""Europe's one-line plates; most others are narrower."""


def widest_plate_px(measure: Measure, plate_width_m: float = COMMON_WIDTH_M) -> float | None:
    """The width of a plate across the picture at the calibrated point nearest to the camera.

    None for two lines, which tell no width. In pixels of the calibration's `frame_size`.
    """
    if measure.plane is None or not len(measure.points_px):
        return None
    step = np.array([1.0, 0.0])
    right = to_metres(measure.plane.matrix, measure.points_px + step)
    left = to_metres(measure.plane.matrix, measure.points_px - step)
    metres_per_px = np.hypot(*(right - left).T) / 2.0
    return float(plate_width_m / metres_per_px.min())
