"""How far something went in how long on the calibrated road."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from alprd.core.calibration import Calibration, Measure
from alprd.core.lens import undistorted
from alprd.core.parallax import by_width
from alprd.core.planes import Floats, Plane, metres_per_px, to_depth, to_metres
from alprd.core.steady import Flags, SteadyFit, fit_steady, theil_sen
from alprd.core.tracking import PathPoint

MIN_POINTS: Final = 4
MARGIN: Final = 0.35
"""A plate may be outside the calibrated points by this share of their extent, on either side."""

MAX_MISFIT: Final = 40.0
MAX_CHANGE: Final = 0.5
"""Share of the speed that may be gained or lost on the way; beyond it there is no one speed."""

MAX_BEND: Final = 0.06
"""Share of the way by which a bend may rise above its chord, which is 1 % shorter then."""

SAME_SHAPE: Final = 0.01
FAR_PX: Final = 1e5
FAR_S: Final = 1e12
STEP: Final = 1e-2
"""Standard errors; the step of the numerical derivatives."""


class Refused(Exception):  # noqa: N818 - the usual end of many measurements, not an error
    """No speed can be told; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean speed with its standard error, m/s, and the stretch that it was measured over."""

    speed_m_s: float
    stderr_m_s: float
    first_t_s: float
    last_t_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A path in the pixels of the calibration's picture, undistorted.

    Attributes:
        t_s: (n,) rising.
        points_px: (n, 2).
        widths_px: (n,) of the plate along its text, as the lens shows it.
        scale: of those pixels to the frame's.
    """

    t_s: Floats
    points_px: Floats
    widths_px: Floats
    scale: float

    def only(self, chosen: Flags) -> Seen:
        """The chosen points."""
        return Seen(
            t_s=self.t_s[chosen],
            points_px=self.points_px[chosen],
            widths_px=self.widths_px[chosen],
            scale=self.scale,
        )


def seen_on(
    path: Sequence[PathPoint], frame_size: tuple[int, int], calibration: Calibration
) -> Seen:
    """The usable points of a path. Raises Refused when the picture is not the calibrated one."""
    width, height = calibration.frame_size
    scale = width / frame_size[0]
    if abs(scale * frame_size[1] / height - 1.0) > SAME_SHAPE:
        raise Refused(
            f"the picture is {frame_size[0]} x {frame_size[1]}, which is of another shape than the "
            f"calibrated {width} x {height}"
        )
    path = [p for p in path if _is_sane(p)]
    points_px = np.array([(p.x_px, p.y_px) for p in path], dtype=float).reshape(-1, 2) * scale
    # The rows of a rolling shutter are exposed one after the other; t_s is that of the middle.
    late_s = calibration.readout_s * (points_px[:, 1] / height - 0.5)
    t_s = np.array([p.t_s for p in path], dtype=float) + late_s
    if calibration.lens is not None:
        points_px = undistorted(calibration.lens, points_px)
    seen = Seen(
        t_s=t_s,
        points_px=points_px,
        widths_px=np.array([p.width_px for p in path], dtype=float) * scale,
        scale=scale,
    )
    # Of two at one time the first counts; after a lens, some may be nowhere.
    return seen.only(np.isfinite(points_px).all(axis=1) & _rising(t_s))


def over_plane(
    measure: Measure, plane: Plane, seen: Seen, *, min_path_m: float, widths_m: Sequence[float]
) -> Measured:
    """The speed over the calibrated area. Raises Refused.

    Args:
        measure: the calibration.
        plane: its plane.
        seen: the path.
        min_path_m: a shorter one is refused.
        widths_m: those that the plate may have; none where that is not known.
    """
    inside = seen.only(_inside(measure, plane, seen.points_px))
    t_s, points_px = inside.t_s, inside.points_px
    if len(t_s) < MIN_POINTS:
        raise Refused(f"only {len(t_s)} of {len(seen.t_s)} points lie in the calibrated area")
    places = to_metres(plane.matrix, points_px)
    by_px = metres_per_px(plane.matrix, points_px) * inside.scale
    along = _along(t_s, places, by_px)
    aside = np.array([-along[1], along[0]])
    way_m = float(np.ptp(places @ along))
    if way_m < min_path_m:
        raise Refused(f"the path of {way_m:.1f} m is shorter than {min_path_m:g} m")
    fit = fit_steady(t_s, places @ along, np.linalg.norm(along @ by_px, axis=1))
    if fit is None or fit.used.sum() < MIN_POINTS:
        raise Refused("the points do not agree on one vehicle's way")
    _refuse_unsteady(fit, t_s, places @ aside, np.linalg.norm(aside @ by_px, axis=1))
    parallax = by_width(measure, plane, points_px, inside.widths_px, along, known_m=widths_m)
    speed = fit.speed * parallax.factor

    def speed_by(matrix: Floats) -> float:
        moved = float(fit.weights @ (to_metres(matrix, points_px) @ along))
        return moved * parallax.factor_by(matrix)

    variance = (fit.stderr * parallax.factor) ** 2 + (parallax.relative_error * speed) ** 2
    variance += _calibration_variance(plane, speed_by)
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
