"""What a calibration says, its name, and the mistakes that it may hold.

The same checks serve the configuration and the page on which a calibration is drawn.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Final

import numpy as np

from alprd.core.geometry import is_clockwise_convex
from alprd.core.lens import Lens, undistorted
from alprd.core.planes import (
    Floats,
    Plane,
    PlaneError,
    camera_height_m,
    fit_plane,
    odd_one_out,
    to_pixels,
)
from alprd.core.types import PointPx

Place = tuple[float, float]
"""x, y in metres."""

MIN_POINTS: Final = 4
MAX_POINTS: Final = 50
MIN_APART_PX: Final = 3.0
MIN_APART_M: Final = 0.05
IN_LINE: Final = 0.01
"""Three points are in line whose triangle is this flat: height over longest side."""

LEAST_CLICK_PX: Final = 1.0
WORST_OFF: Final = 6.0
"""A point that misses the place which all points together give it by more standard errors is
typed or clicked wrongly."""


class CalibrationError(ValueError):
    """The calibration cannot be used; the message is `problem; remedy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Points with known places, or two lines a known distance apart.

    Attributes:
        frame_size: (width, height) of the picture in which they were clicked, pixels.
        points: in the picture, pixels.
        metres: the same points on the road.
        lines: two lines across the road, each by two points, pixels; instead of the points.
        distance_m: how far the lines are apart.
        lens: known lens; None for one without distortion.
        plate_height_m: how high plates are above the plane that was measured.
        plate_height_error_m: how much that differs from vehicle to vehicle (standard deviation).
        plate_widths_m: how wide plates are, where that is known; None to go by their country.
        plate_width_error: how much a plate differs from that, or is seen wider or narrower, as a
            share of it (standard deviation).
        readout_s: rolling shutter: time between the exposures of the first and the last row.
        camera_height_m: how high the camera is above the plane; None to tell it from the points.
        camera_height_error_m: its standard error when it is given.
        error_px: standard error of a click.
        error_m: standard error of a measured place, or of `distance_m`.
    """

    frame_size: tuple[int, int]
    points: tuple[PointPx, ...] = ()
    metres: tuple[Place, ...] = ()
    lines: tuple[tuple[PointPx, PointPx], ...] = ()
    distance_m: float | None = None
    lens: Lens | None = None
    plate_height_m: float = 0.5
    plate_height_error_m: float = 0.1
    plate_widths_m: tuple[float, ...] | None = None
    plate_width_error: float = 0.02
    readout_s: float = 0.0
    camera_height_m: float | None = None
    camera_height_error_m: float = 0.1
    error_px: float = 1.0
    error_m: float = 0.02

    @property
    def name(self) -> str:
        """sha256:... of everything that the speed rests on."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """A calibration worked out.

    Attributes:
        calibration: what it was made from.
        name: the calibration's.
        plane: None for two lines.
        points_px: (N, 2) the points, undistorted; empty for two lines.
        lines_px: (2, 2, 2) the ends of two lines, undistorted, those of the second in the order in
            which they lie opposite those of the first; empty for points.
        strip: (3, 3) from undistorted pixels to the strip between two lines: 0 to 1 along the first
            one, and from the first to the second; None for points.
        camera_height_m: given or told by the points; None when plates lie in the plane.
    """

    calibration: Calibration
    name: str
    plane: Plane | None
    points_px: Floats = field(repr=False)
    camera_height_m: float | None
    lines_px: Floats = field(default_factory=lambda: np.zeros((0, 2, 2)), repr=False)
    strip: Floats | None = field(default=None, repr=False)

    def height_from(self, matrix: Floats) -> float | None:
        """The camera's height by another homography than the plane's."""
        given = self.calibration.camera_height_m
        return given if given is not None else _height(self.calibration, matrix)


def rectangle_metres(width_m: float, length_m: float) -> tuple[Place, Place, Place, Place]:
    """The corners of a rectangle on the road: near left, near right, far right, far left."""
    return (0.0, 0.0), (width_m, 0.0), (width_m, length_m), (0.0, length_m)


def check_rectangle(points: Sequence[PointPx], width_m: float, length_m: float) -> None:
    """Four corners in order around a rectangle with sides. Raises CalibrationError."""
    if len(points) != MIN_POINTS:
        raise CalibrationError(
            f"a rectangle has 4 corners, these are {len(points)} points; give near left, near "
            "right, far right, far left"
        )
    if not (width_m > 0.0 and length_m > 0.0):
        raise CalibrationError("a side of the rectangle is 0 m long; give both in metres")
    a, b, c, d = points
    if not is_clockwise_convex((a, b, c, d)) and not is_clockwise_convex((d, c, b, a)):
        raise CalibrationError(
            "the corners cross each other or bend inwards; give them in order around the "
            "rectangle: near left, near right, far right, far left"
        )


def measure_of(calibration: Calibration) -> Measure:
    """The calibration worked out.

    Raises:
        CalibrationError: what is wrong with it, and the remedy.
    """
    _check_inside(calibration)
    if calibration.lines:
        return _of_lines(calibration)
    return _of_points(calibration)


def point_errors_px(measure: Measure) -> list[float]:
    """How far each point is from where all points together put it, pixels."""
    if measure.plane is None:
        return []
    placed = to_pixels(measure.plane.matrix, np.array(measure.calibration.metres, dtype=float))
    return [float(d) for d in np.hypot(*(placed - measure.points_px).T)]


def _of_points(calibration: Calibration) -> Measure:
    points, metres = calibration.points, calibration.metres
    if len(points) < MIN_POINTS:
        raise CalibrationError(
            f"the road's plane needs at least {MIN_POINTS} points, not {len(points)}; add some"
        )
    if len(points) > MAX_POINTS:
        raise CalibrationError(f"there are more than {MAX_POINTS} points; leave some out")
    if len(points) != len(metres):
        raise CalibrationError(
            f"there are {len(points)} points and {len(metres)} places in metres; give one place "
            "for every point"
        )
    for (i, p), (j, q) in combinations(enumerate(points), 2):
        if math.dist(p, q) < MIN_APART_PX:
            raise CalibrationError(
                f"points {i + 1} and {j + 1} are the same place in the picture; click another"
            )
        if math.dist(metres[i], metres[j]) < MIN_APART_M:
            raise CalibrationError(
                f"points {i + 1} and {j + 1} are 0 m apart; correct their places in metres"
            )
    for what, places in (("in the picture", points), ("in metres", metres)):
        _check_spread(places, what)
    points_px = _straight(calibration, points)
    try:
        plane = fit_plane(
            points_px,
            np.array(metres, dtype=float),
            error_px=calibration.error_px,
            error_m=calibration.error_m,
        )
    except PlaneError as error:
        odd = odd_one_out(points_px, np.array(metres, dtype=float))
        raise CalibrationError(str(error) if odd is None else _misplaced(odd)) from None
    measure = Measure(
        calibration=calibration,
        name=calibration.name,
        plane=plane,
        points_px=points_px,
        camera_height_m=_camera_height(calibration, plane.matrix),
    )
    _check_agreement(measure)
    return measure


def _of_lines(calibration: Calibration) -> Measure:
    if calibration.points or calibration.metres:
        raise CalibrationError("points and lines are both given; keep one of the two")
    if len(calibration.lines) != 2:
        raise CalibrationError(
            f"{len(calibration.lines)} lines; give two, each as [[x, y], [x, y]]"
        )
    if calibration.distance_m is None or not calibration.distance_m > 0.0:
        raise CalibrationError("the lines are 0 m apart; give distance_m, in metres")
    for number, (p, q) in enumerate(calibration.lines, 1):
        if math.dist(p, q) < MIN_APART_PX:
            raise CalibrationError(f"line {number} has no length; click two points that differ")
    straight = _straight(
        calibration, [end for line in calibration.lines for end in line], "line end"
    )
    a, b, c, d = ((float(x), float(y)) for x, y in straight)
    if _side(a, b, c) * _side(a, b, d) <= 0.0 or _side(c, d, a) * _side(c, d, b) <= 0.0:
        raise CalibrationError(
            "the lines cross in the picture or touch; draw two that lie behind each other"
        )
    if not is_clockwise_convex((a, b, d, c)) and not is_clockwise_convex((c, d, b, a)):
        c, d = d, c
    lines_px = np.array([[a, b], [c, d]])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    try:
        strip = fit_plane(lines_px.reshape(4, 2), corners, error_px=1.0, error_m=0.0).matrix
    except PlaneError:
        raise CalibrationError(
            "the ends of the lines make no strip of road; draw both from one of its edges to the "
            "other"
        ) from None
    return Measure(
        calibration=calibration,
        name=calibration.name,
        plane=None,
        points_px=np.zeros((0, 2)),
        camera_height_m=_camera_height(calibration, None),
        lines_px=lines_px,
        strip=strip,
    )


def _check_inside(calibration: Calibration) -> None:
    width, height = calibration.frame_size
    for name, (x, y) in _named_points(calibration):
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= width and 0 <= y <= height):
            raise CalibrationError(
                f"{name} ({x:g}, {y:g}) lies outside the picture of {width} x {height} pixels; "
                "correct it, or frame_size"
            )


def _named_points(calibration: Calibration) -> list[tuple[str, PointPx]]:
    named = [(f"point {i}", point) for i, point in enumerate(calibration.points, 1)]
    for number, line in enumerate(calibration.lines, 1):
        named += [(f"an end of line {number}", end) for end in line]
    return named


def _check_spread(places: Sequence[Place], what: str) -> None:
    """Four points of which no three are in line; with more points, at least one such four."""
    for four in combinations(places, MIN_POINTS):
        if not any(_in_line(*three) for three in combinations(four, 3)):
            return
    raise CalibrationError(
        f"too many of the points lie on one line {what}; give four of which no three are in line"
    )


def _in_line(a: Place, b: Place, c: Place) -> bool:
    longest = max(math.dist(a, b), math.dist(b, c), math.dist(a, c))
    return abs(_side(a, b, c)) <= IN_LINE * longest**2


def _side(a: Place, b: Place, c: Place) -> float:
    """Positive, negative or 0: on which side of the line a-b c lies."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _straight(calibration: Calibration, points: Sequence[PointPx], what: str = "point") -> Floats:
    """(N, 2) the points without the lens's distortion."""
    points_px = np.array(points, dtype=float)
    if calibration.lens is None:
        return points_px
    found = undistorted(calibration.lens, points_px)
    lost = [i + 1 for i, point in enumerate(found) if not bool(np.isfinite(point).all())]
    if lost:
        raise CalibrationError(
            f"the lens's numbers leave no ray for {what} {lost[0]}; correct distortion and focal_px"
        )
    return found


def _camera_height(calibration: Calibration, matrix: Floats | None) -> float | None:
    plate_m = calibration.plate_height_m
    if plate_m == 0.0:
        return None
    height_m = calibration.camera_height_m
    if height_m is None:
        height_m = None if matrix is None else _height(calibration, matrix)
        if height_m is None:
            raise CalibrationError(
                "the points do not tell how high the camera hangs, which plates above the road "
                "need; give camera_height_m (or plate_height_m = 0 for points at plate height)"
            )
    if height_m <= plate_m + 0.2:
        raise CalibrationError(
            f"the camera ({height_m:.1f} m up) is hardly higher than the plates ({plate_m:g} m); "
            "give camera_height_m, or correct the points"
        )
    return height_m


def _height(calibration: Calibration, matrix: Floats) -> float | None:
    lens = calibration.lens
    width, height = calibration.frame_size
    centre = (width / 2.0, height / 2.0) if lens is None else lens.centre_px
    focal_px = None if lens is None else lens.focal_px
    return camera_height_m(matrix, np.array(centre, dtype=float), focal_px)


def _check_agreement(measure: Measure) -> None:
    """Whether no point is far from where the others put it."""
    calibration, plane = measure.calibration, measure.plane
    if plane is None or len(calibration.points) == MIN_POINTS:
        return
    off_px = point_errors_px(measure)
    worst = max(range(len(off_px)), key=lambda i: off_px[i])
    click_px = max(calibration.error_px, LEAST_CLICK_PX)
    tape_px = calibration.error_m * _px_per_metre(measure, worst)
    allowed_px = WORST_OFF * math.hypot(click_px, tape_px)
    if off_px[worst] > allowed_px:
        odd = odd_one_out(measure.points_px, np.array(calibration.metres, dtype=float))
        raise CalibrationError(_misplaced(worst if odd is None else odd))


def _misplaced(index: int) -> str:
    return (
        f"point {index + 1} is far from where the other points put it; correct it or its place in "
        "metres"
    )


def _px_per_metre(measure: Measure, index: int) -> float:
    """How long a metre along the road looks at a point, at most."""
    plane = measure.plane
    if plane is None:
        return 0.0
    at = np.array(measure.calibration.metres[index])
    around = to_pixels(plane.matrix, at + np.array([[0, 0], [0.1, 0], [0, 0.1]]))
    return float(np.hypot(*(around[1:] - around[0]).T).max()) * 10.0
