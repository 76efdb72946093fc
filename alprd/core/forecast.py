"""Where a plate or vehicle is expected, from the newest points of its path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from alprd.core.tracking import PathPoint, Track

VELOCITY_WINDOW_S: Final = 0.6
VELOCITY_POINTS: Final = 10


class Forecast(NamedTuple):
    """Where a track's plate is expected.

    Attributes:
        x_px, y_px: its centre.
        last: where it was last.
        dt_s: time since then.
        vx_px_s, vy_px_s, speed_px_s: its velocity in the picture.
        growth_per_s: change of the width's logarithm.
        trend: change of the size's logarithm over the whole path; above 0 for one that came near.
        known: False for a track whose velocity is not known yet; it is expected to stay.
    """

    x_px: float
    y_px: float
    last: PathPoint
    dt_s: float
    vx_px_s: float
    vy_px_s: float
    speed_px_s: float
    growth_per_s: float
    trend: float
    known: bool


def forecast(track: Track, t_s: float) -> Forecast:
    """Where the plate is at `t_s` if it keeps the velocity of its newest points (least squares)."""
    first, newest = track.path[0], track.path[-1]
    dt_s = max(0.0, t_s - newest.t_s)
    known = slopes(track.path)
    vx, vy, growth = known or (0.0, 0.0, 0.0)
    grown = newest.width_px * newest.height_px / (first.width_px * first.height_px)
    return Forecast(
        x_px=newest.x_px + vx * dt_s,
        y_px=newest.y_px + vy * dt_s,
        last=newest,
        dt_s=dt_s,
        vx_px_s=vx,
        vy_px_s=vy,
        speed_px_s=math.hypot(vx, vy),
        growth_per_s=growth,
        # Challengers may be another car, whose size says nothing of this one's.
        trend=0.0 if track.challengers else math.log(grown) / 2,
        known=known is not None,
    )


def slopes(path: Sequence[PathPoint]) -> tuple[float, float, float] | None:
    """x, y and the width's logarithm per second, of the newest points by least squares.

    None for a single point, and for several of one time.
    """
    points = newest_of(path)
    mean = sum([p.t_s for p in points]) / len(points)
    times = [p.t_s - mean for p in points]
    spread = sum([t * t for t in times])
    if spread <= 1e-9:
        return None
    x = y = growth = 0.0
    for t, p in zip(times, points, strict=True):
        x += t * p.x_px
        y += t * p.y_px
        growth += t * math.log(p.width_px)
    return x / spread, y / spread, growth / spread


def newest_of(path: Sequence[PathPoint]) -> Sequence[PathPoint]:
    """The newest points, which tell how it moves now; both of the last two if they lie apart."""
    newest = path[-1]
    points = [p for p in path[-VELOCITY_POINTS:] if newest.t_s - p.t_s <= VELOCITY_WINDOW_S]
    return points if len(points) >= 2 else path[-2:]
