"""How fast a vehicle drove, from its plate's path, with the standard error of that.

The plate's places are mapped to the road, and fitted over the frames' own times (`core.steady`). A
plate above the road looks farther away than it is; seen from a height H a plate at height h moves
on the road's plane by H / (H - h) too fast, wherever it is, so the speed is corrected by that.

The standard error adds up what the residuals tell, what the clicks and metres of the calibration
leave open, and that plates hang at different heights. This is no certified instrument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from alprd.core.calibration import Calibration, Measure, measure_of
from alprd.core.crossing import crossing
from alprd.core.lens import undistorted
from alprd.core.planes import Floats, Plane, metres_per_px, to_depth, to_metres
from alprd.core.steady import Flags, SteadyFit, fit_steady, theil_sen
from alprd.core.tracking import PathPoint
from alprd.core.types import Speed

KMH: Final = 3.6
KMH_PER_MPH: Final = 1.609344
MAX_KMH: Final = 400.0
MIN_POINTS: Final = 4
MIN_SLOW_KMH: Final = 2.0
"""A slower vehicle is waiting rather than driving."""

MARGIN: Final = 0.35
"""A plate may be outside the calibrated points by this share of their extent, on either side."""

MAX_MISFIT: Final = 40.0
MAX_CHANGE: Final = 0.5
"""Share of the speed that may be gained or lost on the way; beyond it there is no one speed."""

MAX_BEND: Final = 0.06
"""Share of the way by which a bend may rise above its chord, which is 1 % shorter then."""

SURE: Final = 2.0
"""Standard errors by which the speed must exceed a limit to be called speeding."""

SAME_SHAPE: Final = 0.01
FAR_PX: Final = 1e5
FAR_S: Final = 1e12
STEP: Final = 1e-2
"""Standard errors; the step of the numerical derivatives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRules:
    """What is measured, and what is refused.

    Attributes:
        unit: what people get to see; "kmh" or "mph".
        limit: in that unit; None for none.
        min_path_m: a shorter way tells no speed.
        max_error_share: a standard error above this share of the speed is refused.
    """

    unit: Literal["kmh", "mph"] = "kmh"
    limit: float | None = None
    min_path_m: float = 3.0
    max_error_share: float = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean speed with its standard error, m/s, and the stretch that it was measured over."""

    speed_m_s: float
    stderr_m_s: float
    first_t_s: float
    last_t_s: float


class Refused(Exception):  # noqa: N818 - the usual end of many measurements, not an error
    """No speed can be told; the message says why."""


class SpeedMeter:
    """Measures with one camera's calibration.

    Args:
        calibration: the camera's.
        rules: what is refused.
        on_refused: told why a pass has no speed.

    Raises:
        CalibrationError: the calibration cannot be used.
    """

    def __init__(
        self,
        calibration: Calibration,
        rules: SpeedRules,
        *,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._measure = measure_of(calibration)
        self._rules = rules
        self._on_refused = on_refused

    def speed_of(self, path: Sequence[PathPoint], frame_size: tuple[int, int]) -> Speed | None:
        """The mean speed over the calibrated part of the path; None when it cannot be told.

        Args:
            path: oldest first.
            frame_size: (width, height), pixels.
        """
        try:
            found = self.measured(path, frame_size)
        except Refused as reason:
            self._on_refused(str(reason))
            return None
        return _speed(found, self._measure.name, self._rules)

    def measured(self, path: Sequence[PathPoint], frame_size: tuple[int, int]) -> Measured:
        """As `speed_of`, with the stretch. Raises Refused."""
        path = [p for p in path if _is_sane(p)]
        points_px, scale = _in_calibrated_pixels(path, frame_size, self._measure.calibration)
        seen = _Seen(
            t_s=np.array([p.t_s for p in path], dtype=float), points_px=points_px, scale=scale
        )
        # Of two at one time the first counts; after that lens, some may be nowhere.
        seen = seen.only(np.isfinite(points_px).all(axis=1) & _rising(seen.t_s))
        if self._measure.plane is None:
            found = _over_lines(self._measure, seen)
        else:
            found = _over_plane(self._measure, self._measure.plane, seen, self._rules)
        kmh, stderr_kmh = KMH * found.speed_m_s, KMH * found.stderr_m_s
        if not (math.isfinite(kmh) and math.isfinite(stderr_kmh)) or kmh > MAX_KMH:
            raise Refused(f"{kmh:.0f} km/h is no vehicle's speed")
        if kmh < MIN_SLOW_KMH:
            raise Refused("it hardly moved")
        if stderr_kmh > self._rules.max_error_share * kmh:
            raise Refused(f"too unsure: {kmh:.1f} +- {stderr_kmh:.1f} km/h")
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """A path in the pixels of the calibration's picture, undistorted.

    Attributes:
        t_s: (n,) rising.
        points_px: (n, 2).
        scale: of those pixels to the frame's.
    """

    t_s: Floats
    points_px: Floats
    scale: float

    def only(self, chosen: Flags) -> _Seen:
        """The chosen points."""
        return _Seen(t_s=self.t_s[chosen], points_px=self.points_px[chosen], scale=self.scale)


def _speed(found: Measured, name: str, rules: SpeedRules) -> Speed:
    kmh, stderr_kmh = KMH * found.speed_m_s, KMH * found.stderr_m_s
    limit_kmh = None if rules.limit is None else rules.limit * kmh_of(rules.unit)
    return Speed(
        kmh=kmh,
        stderr_kmh=stderr_kmh,
        calibration=name,
        unit=rules.unit,
        limit_kmh=limit_kmh,
        speeding=None if limit_kmh is None else kmh - SURE * stderr_kmh > limit_kmh,
    )


def kmh_of(unit: str) -> float:
    """One of the unit in km/h."""
    return KMH_PER_MPH if unit == "mph" else 1.0


def _in_calibrated_pixels(
    path: Sequence[PathPoint], frame_size: tuple[int, int], calibration: Calibration
) -> tuple[Floats, float]:
    """The path in the pixels of the calibration's picture, undistorted, and their scale."""
    width, height = calibration.frame_size
    scale = width / frame_size[0]
    if abs(scale * frame_size[1] / height - 1.0) > SAME_SHAPE:
        raise Refused(
            f"the picture is {frame_size[0]} x {frame_size[1]}, which is of another shape than the "
            f"calibrated {width} x {height}"
        )
    points_px = np.array([(p.x_px, p.y_px) for p in path], dtype=float).reshape(-1, 2) * scale
    if calibration.lens is not None:
        points_px = undistorted(calibration.lens, points_px)
    return points_px, scale


def _over_plane(measure: Measure, plane: Plane, seen: _Seen, rules: SpeedRules) -> Measured:
    """The speed over the calibrated area."""
    inside = seen.only(_inside(measure, plane, seen.points_px))
    t_s, points_px = inside.t_s, inside.points_px
    if len(t_s) < MIN_POINTS:
        raise Refused(f"only {len(t_s)} of {len(seen.t_s)} points lie in the calibrated area")
    places = to_metres(plane.matrix, points_px)
    by_px = metres_per_px(plane.matrix, points_px) * inside.scale
    along = _along(t_s, places, by_px)
    aside = np.array([-along[1], along[0]])
    way_m = float(np.ptp(places @ along))
    if way_m < rules.min_path_m:
        raise Refused(f"the path of {way_m:.1f} m is shorter than {rules.min_path_m:g} m")
    fit = fit_steady(t_s, places @ along, np.linalg.norm(along @ by_px, axis=1))
    if fit is None or fit.used.sum() < MIN_POINTS:
        raise Refused("the points do not agree on one vehicle's way")
    _refuse_unsteady(fit, t_s, places @ aside, np.linalg.norm(aside @ by_px, axis=1))
    factor, height_error = _height_factor(measure, plane.matrix)
    speed = fit.speed * factor

    def speed_by(matrix: Floats) -> float:
        moved, _ = _height_factor(measure, matrix)
        return float(fit.weights @ (to_metres(matrix, points_px) @ along)) * moved

    calibrated = _calibration_variance(plane, speed_by)
    variance = (fit.stderr * factor) ** 2 + calibrated + (height_error * speed) ** 2
    used_s = t_s[fit.used]
    return Measured(
        speed_m_s=speed,
        stderr_m_s=math.sqrt(variance),
        first_t_s=float(used_s[0]),
        last_t_s=float(used_s[-1]),
    )


def _inside(measure: Measure, plane: Plane, points_px: Floats) -> Flags:
    """(n,) whether a point is in front of the camera and in or near the calibrated area."""
    metres = np.array(measure.calibration.metres, dtype=float)
    spread = np.ptp(metres, axis=0)
    low, high = metres.min(axis=0) - MARGIN * spread, metres.max(axis=0) + MARGIN * spread
    places = to_metres(plane.matrix, points_px)
    # Behind the horizon the plane is seen from below, mirrored.
    front = to_depth(plane.matrix, points_px) > 0.0
    return np.asarray(front & (places >= low).all(axis=1) & (places <= high).all(axis=1))


def _is_sane(point: PathPoint) -> bool:
    near = abs(point.x_px) <= FAR_PX and abs(point.y_px) <= FAR_PX
    return near and abs(point.t_s) <= FAR_S


def _rising(t_s: Floats) -> Flags:
    """(n,) whether a time is later than all before it."""
    before = np.concatenate([[-np.inf], np.maximum.accumulate(t_s)[:-1]])
    return np.asarray(t_s > before)


def _along(t_s: Floats, places: Floats, by_px: Floats) -> Floats:
    """(2,) unit vector of where the vehicle drove."""
    variance = (by_px**2).sum(axis=(1, 2))
    velocity = np.array([theil_sen(t_s, places[:, axis], variance) for axis in (0, 1)])
    length = float(np.linalg.norm(velocity))
    if not length > 0.0:
        raise Refused("it did not move")
    return velocity / length


def _refuse_unsteady(fit: SteadyFit, t_s: Floats, aside: Floats, aside_px: Floats) -> None:
    if fit.misfit > MAX_MISFIT:
        raise Refused(f"the fit is too poor: {math.sqrt(fit.misfit):.0f} times the expected noise")
    took_s = float(np.ptp(t_s[fit.used]))
    if abs(fit.acceleration) * took_s > MAX_CHANGE * abs(fit.speed):
        raise Refused("it braked or sped up too much on the way to have one speed")
    share = (t_s[fit.used] - t_s[fit.used].mean()) / took_s
    bend = abs(float(np.polyfit(share, aside[fit.used], 2, w=1.0 / aside_px[fit.used])[0])) / 4.0
    noise = 3.0 * float(np.median(aside_px[fit.used]))
    if bend > MAX_BEND * abs(fit.speed) * took_s + noise:
        raise Refused("it turned")


def _height_factor(measure: Measure, matrix: Floats | None) -> tuple[float, float]:
    """What to multiply a speed by for the plates' height, and its relative standard error."""
    calibration = measure.calibration
    plate_m, plate_error_m = calibration.plate_height_m, calibration.plate_height_error_m
    if measure.camera_height_m is None:
        return 1.0, 0.0
    given = calibration.camera_height_m is not None
    camera_m = measure.camera_height_m
    if not given and matrix is not None:
        camera_m = measure.height_from(matrix) or camera_m
    above_m = max(camera_m - plate_m, 0.2)
    camera_error_m = calibration.camera_height_error_m if given else 0.0
    relative = math.hypot(plate_error_m / above_m, camera_error_m * plate_m / (camera_m * above_m))
    return above_m / camera_m, relative


def _calibration_variance(plane: Plane, speed_by: Callable[[Floats], float]) -> float:
    """Variance of the speed by what the calibration leaves open, to first order."""
    slopes = np.zeros(9)
    for i in range(9):
        step = np.zeros(9)
        # In proportion to how well the entry is known, for the entries differ by many orders.
        step[i] = math.sqrt(plane.covariance[i, i]) * STEP or 1e-12
        up = speed_by(plane.matrix + step.reshape(3, 3))
        down = speed_by(plane.matrix - step.reshape(3, 3))
        slopes[i] = (up - down) / (2.0 * step[i])
    return max(0.0, float(slopes @ plane.covariance @ slopes))


def _over_lines(measure: Measure, seen: _Seen) -> Measured:
    """The speed from the times at which both lines were crossed."""
    calibration = measure.calibration
    passed = []
    for line in calibration.lines:
        ends = np.array(line, dtype=float)
        if calibration.lens is not None:
            ends = undistorted(calibration.lens, ends)
        found = crossing(
            seen.t_s, seen.points_px, ends, noise_px=seen.scale, click_px=calibration.error_px
        )
        if found is None:
            raise Refused("it was not followed across both lines")
        passed.append(found)
    (first_s, first_error_s), (last_s, last_error_s) = sorted(passed)
    took_s, distance_m = last_s - first_s, calibration.distance_m or 0.0
    if not took_s > 0.0:
        raise Refused("it crossed both lines at once")
    factor, height_error = _height_factor(measure, None)
    relative = math.hypot(
        math.hypot(first_error_s, last_error_s) / took_s,
        calibration.error_m / distance_m,
        height_error,
    )
    speed = distance_m / took_s * factor
    return Measured(
        speed_m_s=speed, stderr_m_s=speed * relative, first_t_s=first_s, last_t_s=last_s
    )
