"""What a plate above the road makes of its speed, and how to take it out.

From a height H, a plate at height h is seen in front of a place on the road that is H / (H - h)
times as far from the camera's foot, wherever it is; so everything about it is that much larger on
the road's plane: its speed, and its width too. Where the widths of plates are known, the plate
itself tells the factor; where not, or where it fits none of them, heights as they usually are do.
Both are weighed by their errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from alprd.core.calibration import Measure
from alprd.core.lens import distorted
from alprd.core.planes import Floats, Plane, metres_per_px

USUAL_PX: Final = 0.7
USUAL_PICTURES: Final = 4
"""The standard error that a plate's width has in one picture as a rule, and how many pictures the
rule weighs against those of this plate."""

UNKNOWN_SHARE: Final = 0.02
"""How many plates are of none of the known widths."""

UNKNOWN_SPREAD: Final = 0.5
"""Standard deviation of the logarithm of their widths."""

LEAST_ABOVE_M: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallax:
    """What to multiply a speed on the road's plane by.

    Attributes:
        factor: 1 for a plate in the plane, less for one above it.
        relative_error: its standard error, as a share of it.
        factor_by: the factor had the plane another homography.
    """

    factor: float
    relative_error: float
    factor_by: Callable[[Floats], float]


def by_height(measure: Measure) -> Parallax:
    """From the heights of camera and plates."""
    calibration = measure.calibration
    plate_m, plate_error_m = calibration.plate_height_m, calibration.plate_height_error_m
    if measure.camera_height_m is None:
        return Parallax(factor=1.0, relative_error=0.0, factor_by=lambda _: 1.0)
    given = calibration.camera_height_m is not None
    camera_m = measure.camera_height_m
    above_m = max(camera_m - plate_m, LEAST_ABOVE_M)
    camera_error_m = calibration.camera_height_error_m if given else 0.0

    def factor_by(matrix: Floats) -> float:
        other_m = measure.height_from(matrix) or camera_m
        return max(other_m - plate_m, LEAST_ABOVE_M) / other_m

    return Parallax(
        factor=above_m / camera_m,
        relative_error=math.hypot(
            plate_error_m / above_m, camera_error_m * plate_m / (camera_m * above_m)
        ),
        factor_by=factor_by,
    )


def by_width(
    measure: Measure,
    plane: Plane,
    points_px: Floats,
    widths_px: Floats,
    along: Floats,
    *,
    known_m: Sequence[float],
) -> Parallax:
    """From the plate's width where that is known, and from the heights.

    Args:
        measure: the calibration.
        plane: its plane.
        points_px: (n, 2) the plate's centres, undistorted.
        widths_px: (n,) its widths, as the lens shows them.
        along: (2,) unit vector of where it drove.
        known_m: the widths that it may have, metres; none for the heights alone.
    """
    usual = by_height(measure)
    fine = np.isfinite(widths_px) & (widths_px > 0.0)
    if not known_m or usual.relative_error == 0.0 or not fine.any():
        return usual
    points_px, widths_px = points_px[fine], _straightened(measure, points_px, widths_px)[fine]
    across = np.array([-along[1], along[0]])
    width_log, noise = _width_log(plane.matrix, points_px, widths_px, across)
    each = math.hypot(noise, measure.calibration.plate_width_error)
    usual_log = math.log(usual.factor)
    shares, gain, centre, error = _weighed(
        usual_log, usual.relative_error, [math.log(m) - width_log for m in known_m], each
    )
    meant_log = float(shares @ np.log(np.array(known_m))) / max(float(shares.sum()), 1e-12)

    def factor_by(matrix: Floats) -> float:
        other, _ = _width_log(matrix, points_px, widths_px, across)
        own = gain * (meant_log - other)
        return math.exp((1.0 - gain) * math.log(usual.factor_by(matrix)) + own)

    base = factor_by(plane.matrix)
    factor = math.exp(centre)
    return Parallax(
        factor=factor,
        relative_error=error,
        factor_by=lambda matrix: factor * factor_by(matrix) / base,
    )


def _weighed(
    usual_log: float, usual_error: float, logs: list[float], each: float
) -> tuple[Floats, float, float, float]:
    """Shares of the known widths, weight of the width, and mean and error of the logarithm.

    A mixture of normal distributions: for every known width what it and the usual height say
    together, and for a plate of unknown width the usual height alone.
    """
    apart = np.array(logs) - usual_log
    variance = usual_error**2 + each**2
    spread = variance + UNKNOWN_SPREAD**2
    fits = np.exp(-0.5 * apart**2 / variance) / math.sqrt(variance)
    fits *= (1.0 - UNKNOWN_SHARE) / len(logs)
    # Of unknown width: as likely to look like any of the known ones.
    nearest = float(np.min(np.abs(apart)))
    unknown = UNKNOWN_SHARE * math.exp(-0.5 * nearest**2 / spread) / math.sqrt(spread)
    total = float(fits.sum()) + unknown
    shares = fits / total
    gain_each = usual_error**2 / variance
    means = usual_log + gain_each * apart
    inner = usual_error**2 * each**2 / variance
    alone = unknown / total
    centre = float(shares @ means) + alone * usual_log
    second = float(shares @ (inner + (means - centre) ** 2))
    second += alone * (usual_error**2 + (usual_log - centre) ** 2)
    return shares, gain_each * float(shares.sum()), centre, math.sqrt(second)


def _width_log(
    matrix: Floats, points_px: Floats, widths_px: Floats, across: Floats
) -> tuple[float, float]:
    """The logarithm of the plate's width on the road's plane, and its standard error."""
    by_px = metres_per_px(matrix, points_px)
    px_per_metre = np.linalg.norm(np.linalg.inv(by_px) @ across, axis=-1)
    logs = np.log(widths_px / px_per_metre)
    weights = widths_px**2
    order = np.argsort(logs)
    reached = np.cumsum(weights[order])
    middle = float(logs[order][int(np.searchsorted(reached, reached[-1] / 2.0))])
    count = float(weights.sum()) ** 2 / float((weights**2).sum())
    usual = USUAL_PX / math.sqrt(float((widths_px**2).mean()))
    seen = 1.4826 * float(np.median(np.abs(logs - middle)))
    variance = USUAL_PICTURES * usual**2 + count * seen**2
    each = math.sqrt(variance / (USUAL_PICTURES + count))
    # A median of n is a quarter less sure than their mean.
    return middle, 1.25 * each / math.sqrt(count)


def _straightened(measure: Measure, points_px: Floats, widths_px: Floats) -> Floats:
    """(n,) the widths without the lens's distortion, for plates that lie level in the picture."""
    lens = measure.calibration.lens
    if lens is None:
        return widths_px
    half = np.column_stack([widths_px / 2.0, np.zeros(len(widths_px))])
    ends = distorted(lens, points_px + half) - distorted(lens, points_px - half)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(widths_px**2 / np.linalg.norm(ends, axis=1), dtype=np.float64)
