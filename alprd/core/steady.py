"""The speed of something that was measured at uneven times, robustly, with its standard error.

A weighted Theil-Sen line (Theil 1950, Sen 1968; the weights as Sievers 1978) comes first, and tells
which points are outliers whatever their number up to nearly a third. The rest is fitted by
generalised least squares, with a change of speed that is expected to be small. How noisy the
pixels and the time stamps are is not known, so every combination of a grid is tried, and the
answers are averaged by how well each explains the residuals (restricted maximum likelihood:
Patterson and Thompson 1971). With few points the noise stays uncertain, and the standard error
grows by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.planes import Floats

Flags = NDArray[np.bool_]
PIXEL_NOISE: Final = tuple(0.35 * 2.0 ** (i / 2.0) for i in range(9))
"""Standard errors of a plate's centre that are tried, in pixels: 0.35 to 5.6."""

LIKELY_PIXEL_NOISE: Final = 1.2
PIXEL_SPREAD: Final = 0.6
"""What is expected before the residuals are seen, and how strongly, in natural logarithms."""

TIME_NOISE_S: Final = (0.0003, *(0.001 * 2.0 ** (i / 1.0) for i in range(6)))
"""Standard errors of a time stamp that are tried: 0.3 to 32 ms."""

LIKELY_TIME_NOISE_S: Final = 0.003
TIME_SPREAD: Final = 1.2

LIKELY_ACCELERATION: Final = 0.8
"""Standard deviation of the acceleration that is expected, m/s2."""

OUTLIER: Final = 4.0
"""Standard errors."""

ROUNDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SteadyFit:
    """What was found.

    Attributes:
        speed: per second, mean over the stretch of the points used.
        stderr: of it, from the residuals and what is expected of pixels and time stamps.
        acceleration: per second squared.
        weights: (n,) the speed is the sum of `weights * places`; 0 for outliers.
        used: (n,) false for outliers.
        misfit: mean square of the residuals in units of what the pixels and time stamps explain;
            about 1 for a vehicle that drives as expected.
    """

    speed: float
    stderr: float
    acceleration: float
    weights: Floats
    used: Flags
    misfit: float


def fit_steady(t_s: Floats, places_m: Floats, per_px_m: Floats) -> SteadyFit | None:
    """The mean speed along a line; None when two thirds of the points do not agree.

    Args:
        t_s: (n,) times, rising, n >= 3.
        places_m: (n,) places along the line.
        per_px_m: (n,) standard error of each place for one pixel of noise.
    """
    slope = theil_sen(t_s, places_m, per_px_m**2)
    likely = _likely_spread(t_s, per_px_m, slope)
    off = places_m - slope * t_s
    off = off - _weighted_median(off, 1.0 / likely)
    used = np.abs(off) <= OUTLIER * np.maximum(likely, _robust_scale(off, likely) * likely)
    fit = None
    for _ in range(ROUNDS):
        if used.sum() < max(3, 2 * len(t_s) / 3):
            return None
        fit, residuals = _averaged(t_s, places_m, per_px_m, slope, used)
        scale = max(1.0, _robust_scale(residuals[used], likely[used]))
        now = np.abs(residuals) <= OUTLIER * scale * likely
        if bool((now == used).all()):
            break
        used = now
    return fit


def theil_sen(t: Floats, y: Floats, variance: Floats) -> float:
    """The weighted median of the slopes of all pairs.

    A pair counts by the distance of its times over the variance of its difference.
    """
    first, second = np.triu_indices(len(t), 1)
    apart = t[second] - t[first]
    real = apart > 0.0
    first, second, apart = first[real], second[real], apart[real]
    slopes = (y[second] - y[first]) / apart
    return _weighted_median(slopes, apart / np.sqrt(variance[first] + variance[second]))


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(reached, reached[-1] / 2.0))])


def _likely_spread(t_s: Floats, per_px_m: Floats, slope: float) -> Floats:
    """(n,) what a place may be off a straight line by noise and by a usual change of speed."""
    middle = (t_s[0] + t_s[-1]) / 2.0
    bend = (t_s - middle) ** 2 / 2.0
    bend = np.abs(bend - bend.mean())
    return np.asarray(
        np.sqrt(
            (LIKELY_PIXEL_NOISE * per_px_m) ** 2
            + (LIKELY_TIME_NOISE_S * slope) ** 2
            + (LIKELY_ACCELERATION * bend) ** 2
        ),
        dtype=np.float64,
    )


def _robust_scale(off: Floats, spread: Floats) -> float:
    """The standard deviation of `off / spread` by the median of its absolute values."""
    return 1.4826 * float(np.median(np.abs(off / spread)))


def _averaged(
    t_s: Floats, places_m: Floats, per_px_m: Floats, slope: float, used: Flags
) -> tuple[SteadyFit, Floats]:
    """The fit of the points used, averaged over the noise levels, and all points' residuals."""
    t, y, per_px = t_s[used], places_m[used], per_px_m[used]
    middle = (t[0] + t[-1]) / 2.0
    design = np.column_stack([np.ones(len(t)), t - middle, (t - middle) ** 2 / 2.0])
    pixel, time, prior = _levels()
    variance = (pixel[:, None] * per_px) ** 2 + (time[:, None] * slope) ** 2  # (g, n)
    inverse = 1.0 / variance
    normal = np.einsum("gn,nj,nk->gjk", inverse, design, design)
    normal[:, 2, 2] += 1.0 / LIKELY_ACCELERATION**2
    covariance = np.linalg.inv(normal)
    gain = np.einsum("gjk,nk,gn->gjn", covariance, design, inverse)
    # About its own level, so that the sums of squares keep their digits.
    level = float(np.median(y))
    found = gain @ (y - level)  # (g, 3)
    residuals = (y - level) - found @ design.T
    squares = (residuals**2 * inverse).sum(axis=1)
    squares += (found[:, 2] / LIKELY_ACCELERATION) ** 2
    log_likelihood = -0.5 * (np.log(variance).sum(axis=1) + np.linalg.slogdet(normal)[1] + squares)
    log_weight = log_likelihood + prior
    share = np.exp(log_weight - log_weight.max())
    share /= share.sum()
    speeds = found[:, 1]
    speed = float(share @ speeds)
    spread = float(share @ (covariance[:, 1, 1] + (speeds - speed) ** 2))
    likely = _likely_levels(per_px, slope)
    weights = np.zeros(len(t_s))
    weights[used] = np.einsum("g,gn->n", share, gain[:, 1, :])
    coefficients = share @ found
    full = np.column_stack([np.ones(len(t_s)), t_s - middle, (t_s - middle) ** 2 / 2.0])
    all_residuals = places_m - level - full @ coefficients
    return (
        SteadyFit(
            speed=speed,
            stderr=float(np.sqrt(spread)),
            acceleration=float(coefficients[2]),
            weights=weights,
            used=used,
            misfit=float(((all_residuals[used] / likely) ** 2).mean()),
        ),
        np.asarray(all_residuals, dtype=np.float64),
    )


def _likely_levels(per_px_m: Floats, slope: float) -> Floats:
    return np.asarray(
        np.hypot(LIKELY_PIXEL_NOISE * per_px_m, LIKELY_TIME_NOISE_S * slope), dtype=np.float64
    )


def _levels() -> tuple[Floats, Floats, Floats]:
    """(g,) pixel noise, time noise, and the logarithm of how likely each pair is beforehand."""
    pixel, time = (grid.ravel() for grid in np.meshgrid(PIXEL_NOISE, TIME_NOISE_S, indexing="ij"))
    prior = -0.5 * (
        (np.log(pixel / LIKELY_PIXEL_NOISE) / PIXEL_SPREAD) ** 2
        + (np.log(time / LIKELY_TIME_NOISE_S) / TIME_SPREAD) ** 2
    )
    return pixel, time, prior
