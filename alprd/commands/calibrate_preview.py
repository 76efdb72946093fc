"""What a calibration makes of the picture: a metre grid, the road from above, its errors."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from pydantic import ValidationError

from alprd.config import SpeedSettings
from alprd.core.calibration import Measure, measure_of, point_errors_px
from alprd.core.lens import distorted
from alprd.core.parallax import by_height
from alprd.core.planes import Floats, to_depth, to_pixels
from alprd.core.speed import KMH, Refused, SpeedMeter
from alprd.core.tracking import PathPoint
from alprd.ports import ImageU8

VIEW_PX = (240, 520)
"""Largest width and height of the road from above."""

GRID_STEPS_M = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
MAX_GRID_LINES = 30
SAMPLES = 24
AROUND = 0.15
"""The view from above shows this share of the points' extent beyond them."""

TYPICAL_KMH = 50.0
TYPICAL_FPS = 15.0
USUAL_WIDTH_M = 0.5


def preview(speed: Mapping[str, Any], image: ImageU8) -> dict[str, Any]:
    """What the page shows of a calibration; {} for one that is not usable, or of two lines."""
    try:
        settings = SpeedSettings.model_validate(dict(speed))
    except ValidationError:  # the problems are the configuration's to tell
        return {}
    measure = measure_of(settings.calibration())
    if measure.plane is None:
        return {}
    step_m = _grid_step(measure)
    return {
        "grid": [line.round(1).tolist() for line in _grid(measure, step_m)],
        "step_m": step_m,
        "errors_px": [round(error, 1) for error in point_errors_px(measure)],
        "height": height_text(measure.camera_height_m),
        "typical": _typical(measure, settings),
        "above": _picture(_from_above(measure, image, step_m)),
    }


def height_text(height_m: float | None) -> str:
    """How high the camera hangs, in words; "" where that does not matter."""
    return "" if height_m is None else f"The camera hangs {height_m:.2f} m above the points."


def _extent(measure: Measure) -> tuple[Floats, Floats]:
    """The lowest and highest metres that are shown."""
    metres = np.array(measure.calibration.metres, dtype=float)
    around = AROUND * np.maximum(np.ptp(metres, axis=0), 1.0)
    return metres.min(axis=0) - around, metres.max(axis=0) + around


def _grid_step(measure: Measure) -> float:
    low, high = _extent(measure)
    longest = float((high - low).max())
    return next((s for s in GRID_STEPS_M if longest / s <= MAX_GRID_LINES), GRID_STEPS_M[-1])


def _ticks(low: float, high: float, step: float) -> Floats:
    ticks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    return np.asarray(ticks, dtype=np.float64)


def _grid(measure: Measure, step_m: float) -> list[Floats]:
    """Lines of the grid in the picture, as far as they are in front of the camera."""
    low, high = _extent(measure)
    lines = []
    for axis in (0, 1):
        along = np.linspace(low[1 - axis], high[1 - axis], SAMPLES)
        for tick in _ticks(low[axis], high[axis], step_m):
            metres = np.empty((SAMPLES, 2))
            metres[:, axis], metres[:, 1 - axis] = tick, along
            lines.append(_in_picture(measure, metres))
    return [line for line in lines if len(line) > 1]


def _in_picture(measure: Measure, metres: Floats) -> Floats:
    """(n, 2) pixels of the picture as the lens shows it; what is behind the camera is left out."""
    plane, lens = measure.plane, measure.calibration.lens
    if plane is None:
        return np.zeros((0, 2))
    px = to_pixels(plane.matrix, metres)
    px = px[np.isfinite(px).all(axis=1)]
    px = px[to_depth(plane.matrix, px) > 0.0]
    return px if lens is None else distorted(lens, px)


def _from_above(measure: Measure, image: ImageU8, step_m: float) -> ImageU8:
    """The road as a map: x to the right, y upwards, with the grid."""
    low, high = _extent(measure)
    size_m = high - low
    scale = float(min(VIEW_PX[0] / size_m[0], VIEW_PX[1] / size_m[1]))
    width, height = (max(2, round(float(side) * scale)) for side in size_m)
    xs = low[0] + (np.arange(width) + 0.5) / scale
    ys = high[1] - (np.arange(height) + 0.5) / scale
    metres = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    plane, lens = measure.plane, measure.calibration.lens
    if plane is None:
        return np.zeros((height, width, 3), dtype=np.uint8)
    px = to_pixels(plane.matrix, metres)
    px[~(to_depth(plane.matrix, px) > 0.0)] = -1e4
    if lens is not None:
        px = distorted(lens, px)
    px = np.nan_to_num(px, nan=-1e4, posinf=1e4, neginf=-1e4).clip(-1e4, 1e5)
    at = px.reshape(height, width, 2).astype(np.float32)
    view = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    for x in _ticks(low[0], high[0], step_m):
        column = int((x - low[0]) * scale)
        cv2.line(view, (column, 0), (column, height), (80, 220, 80), 1)
    for y in _ticks(low[1], high[1], step_m):
        row = int((high[1] - y) * scale)
        cv2.line(view, (0, row), (width, row), (80, 220, 80), 1)
    for x, y in measure.calibration.metres:
        centre = (int((x - low[0]) * scale), int((high[1] - y) * scale))
        cv2.circle(view, centre, 4, (40, 40, 255), -1)
    return view.astype(np.uint8, copy=False)


def _picture(image: ImageU8) -> str:
    fine, data = cv2.imencode(".jpg", image)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode() if fine else ""


def _plate_widths(measure: Measure, places: Floats, axis: int) -> list[float]:
    """How wide a plate across the way is seen at each place; of a known width if there is one."""
    width_m = next(iter(measure.calibration.plate_widths_m or ()), USUAL_WIDTH_M)
    # On the road's plane it seems as much larger as its speed does.
    width_m /= by_height(measure).factor
    half = np.zeros(2)
    half[1 - axis] = width_m / 2.0
    ends = [_in_picture(measure, places + side * half) for side in (-1.0, 1.0)]
    return [float(math.dist(a, b)) for a, b in zip(*ends, strict=False)]


def _typical(measure: Measure, settings: SpeedSettings) -> str:
    """How well a car would be measured that drives along the longer side, in words."""
    metres = np.array(measure.calibration.metres, dtype=float)
    low, high = metres.min(axis=0), metres.max(axis=0)
    axis = int(np.argmax(high - low))
    length = float(high[axis] - low[axis])
    t_s = np.arange(0.0, length / (TYPICAL_KMH / KMH), 1.0 / TYPICAL_FPS)
    places = np.tile((low + high) / 2.0, (len(t_s), 1))
    places[:, axis] = low[axis] + t_s * TYPICAL_KMH / KMH
    path = [
        PathPoint(t_s=float(t), x_px=float(x), y_px=float(y), width_px=width_px, height_px=12.0)
        for t, (x, y), width_px in zip(
            t_s, _in_picture(measure, places), _plate_widths(measure, places, axis), strict=False
        )
    ]
    try:
        found = SpeedMeter(settings.calibration(), settings.rules()).measured(
            path, settings.frame_size
        )
    except Refused as reason:
        return f"A car at {TYPICAL_KMH:.0f} km/h would not be measured: {reason}."
    share = found.stderr_m_s / found.speed_m_s
    return (
        f"A car at {TYPICAL_KMH:.0f} km/h would be measured to about "
        f"\u00b1 {share * TYPICAL_KMH:.1f} km/h (one standard error)."
    )
