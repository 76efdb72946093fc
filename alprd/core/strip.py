"""How long something took from one of two lines to the other, a known distance away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from alprd.core.calibration import Measure
from alprd.core.crossing import crossing
from alprd.core.parallax import by_height
from alprd.core.planes import Floats, to_depth, to_metres
from alprd.core.travel import MAX_BEND, MAX_CHANGE, MIN_POINTS, Measured, Refused, Seen

BESIDE: Final = 0.15
"""A plate above the road is seen as far beside the ends of a line, as a share of its length."""

MAX_SLANT: Final = 0.2
"""Share of the way from line to line by which it may lead aside, which makes it 2 % longer."""

MAX_RATIO: Final = 4.0
"""Ends of lines that lie opposite each other anyhow bend the scale between them by less."""

MIN_BETWEEN: Final = 6
"""Of fewer places between the lines a chord is taken for the path, which perspective bends: the
crossings come too close together, and the speed up to 5 % too high."""

USUAL_PLATE_M: Final = 0.52
NEAREST: Final = 3
ROUGH_PX: Final = 3.0
"""What a plate's place may be off in the picture without that telling anything."""


def over_lines(
    measure: Measure, strip: Floats, seen: Seen, *, widths_m: Sequence[float]
) -> Measured:
    """The speed from the times at which both lines were crossed. Raises Refused.

    Args:
        measure: the calibration.
        strip: its lines as `Measure.strip`.
        seen: the path.
        widths_m: those that the plate may have; none where that is not known.
    """
    calibration = measure.calibration
    passed = []
    for ends in measure.lines_px:
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
    slant = _refuse_detours(
        measure,
        strip,
        seen,
        (passed[0][0], passed[1][0]),
        plate_m=max(widths_m, default=USUAL_PLATE_M),
    )
    parallax = by_height(measure)
    relative = math.hypot(
        math.hypot(first_error_s, last_error_s) / took_s,
        calibration.error_m / distance_m,
        parallax.relative_error,
        math.hypot(1.0, slant) - 1.0,
    )
    speed = distance_m / took_s * parallax.factor
    return Measured(
        speed_m_s=speed, stderr_m_s=speed * relative, first_t_s=first_s, last_t_s=last_s
    )


def _refuse_detours(
    measure: Measure,
    strip: Floats,
    seen: Seen,
    crossed_s: tuple[float, float],
    *,
    plate_m: float,
) -> float:
    """Refuse what did not drive straight and steadily from line to line, between their ends.

    The strip between the lines is a rectangle of known length; how wide it is, the plate tells.

    Returns:
        The slant of the way: its share aside of that from line to line.
    """
    ahead = seen.only(to_depth(strip, seen.points_px) > 0.0)
    if len(ahead.t_s) < MIN_POINTS:  # beyond where the lines meet, which it crossed only drawn out
        raise Refused("it passed beside the ends of a line")
    aside, along = to_metres(strip, ahead.points_px).T
    at = [float(np.interp(t_s, ahead.t_s, aside)) for t_s in crossed_s]
    if not all(-BESIDE <= place <= 1.0 + BESIDE for place in at):
        raise Refused("it passed beside the ends of a line")
    between = (ahead.t_s > min(crossed_s)) & (ahead.t_s < max(crossed_s))
    wide = _strip_width(measure, ahead, crossed_s, plate_m)
    slant = wide * (at[1] - at[0])
    if abs(slant) > MAX_SLANT:
        raise Refused("it crossed the lines aslant, or their ends do not lie opposite each other")
    if np.count_nonzero(between) < MIN_BETWEEN:
        raise Refused("too few pictures of it between the lines; draw them farther apart")
    share = (ahead.t_s[between] - crossed_s[0]) / (crossed_s[1] - crossed_s[0])
    # The longer way in the picture of one pixel of noise, as a share of the strip's length.
    noise = ROUGH_PX * seen.scale / _strip_length_px(measure)
    if _last_but_one(_unevenness(along[between], share)) > MAX_CHANGE / 8.0 + noise:
        raise Refused("it stopped, braked or sped up too much between the lines")
    bend = wide * np.abs(aside[between] - np.interp(along[between], (0.0, 1.0), at))
    if _last_but_one(bend) > MAX_BEND + wide * noise:
        raise Refused("it turned between the lines")
    return slant


def _unevenness(along: Floats, share: Floats) -> Floats:
    """(n,) how far it was from where it would have been at a steady speed, shares of the strip.

    Ends of lines that do not lie opposite each other bend the scale along the strip, by one ratio
    that is the same everywhere; it is taken from the path itself. So is a slight change of speed.
    """
    inside = (along > 0.0) & (along < 1.0) & (share > 0.0) & (share < 1.0)
    if not inside.any():
        return np.abs(along - share)
    ratios = along[inside] * (1.0 - share[inside]) / (share[inside] * (1.0 - along[inside]))
    ratio = min(MAX_RATIO, max(1.0 / MAX_RATIO, float(np.median(ratios))))
    steady = share * ratio / (share * ratio + 1.0 - share)
    return np.asarray(np.abs(along - steady), dtype=np.float64)


def _strip_width(
    measure: Measure, ahead: Seen, crossed_s: tuple[float, float], plate_m: float
) -> float:
    """How wide the strip is, as a share of its length, by the plate's width where it crossed."""
    wide_m = []
    for ends, t_s in zip(measure.lines_px, crossed_s, strict=True):
        near = np.argsort(np.abs(ahead.t_s - t_s), kind="stable")[:NEAREST]
        width_px = float(np.median(ahead.widths_px[near]))
        if width_px > 0.0:
            wide_m.append(plate_m * math.dist(ends[0], ends[1]) / width_px)
    return min(wide_m, default=0.0) / (measure.calibration.distance_m or 1.0)


def _strip_length_px(measure: Measure) -> float:
    """How long the strip is in the picture, from the middle of one line to that of the other."""
    first, second = measure.lines_px.mean(axis=1)
    return max(1.0, math.dist(first, second))


def _last_but_one(values: Floats) -> float:
    """The greatest one but one, for one point of many may be wrong; of few the greatest."""
    ordered = np.sort(values)
    return float(ordered[-2] if len(ordered) >= MIN_POINTS else ordered[-1])
