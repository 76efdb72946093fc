"""Which plates need not be read in every frame: those that stand and have had their event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from alprd.core.observe import Observation, Plate
from alprd.core.tracking import Track

REST_S: Final = 0.5
"""A standing plate with a verdict is read again after this long, for another car may be there."""

REST_WIDTHS: Final = 0.1
REST_GROWTH: Final = 0.1
"""A plate that moved or grew by more than this since it was read is read again at once."""


def rests(tracks: Sequence[Track], plate: Plate, t_s: float) -> bool:
    """Whether a plate is that of a standing vehicle with a verdict, read a moment ago."""
    there = [t for t in tracks if _is_near(t.last, plate)]
    return any(_was_read_there(t, plate, t_s) for t in there) and all(
        t.verdict is not None and not t.challengers for t in there
    )


def _was_read_there(track: Track, plate: Plate, t_s: float) -> bool:
    tried = track.tried
    return tried is not None and 0.0 <= t_s - tried.t_s < REST_S and _is_near(tried, plate)


def _is_near(seen: Observation, plate: Plate) -> bool:
    moved_px = math.dist((seen.x_px, seen.y_px), plate.centre)
    grown = abs(math.log(plate.width_px / seen.width_px))
    return moved_px <= REST_WIDTHS * seen.width_px and grown <= REST_GROWTH
