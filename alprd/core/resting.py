"""Which standing plates need not be read in every frame.

Those that have had their event, and those that were tried in vain for so long that one more frame
tells nothing new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from alprd.core.motion import stands_still
from alprd.core.observe import Observation, Plate
from alprd.core.tracking import Track

REST_S: Final = 0.5
"""A standing plate with a verdict is read again after this long, for another car may be there."""

REST_WIDTHS: Final = 0.1
"""A plate that moved or grew by more than this since it was read is read again at once."""

VAIN_ATTEMPTS: Final = 30
VAIN_S: Final = 5.0
"""A standing plate without a verdict after so many attempts, over so long, is read as rarely: a
sign, a shadow, a plate that is bent or dirty. An unsure plate costs several reads each time."""

VAIN_WIDTHS: Final = 0.25
"""What cannot be read trembles more."""


def rests(tracks: Sequence[Track], plate: Plate, t_s: float) -> bool:
    """Whether a plate is that of something standing that was read, or tried, a moment ago."""
    there = [t for t in tracks if _is_near(t.last, plate, _free_widths(t))]
    if not there:
        return False
    return any(_was_read_there(t, plate, t_s) for t in there) and all(
        not t.challengers and (t.verdict is not None or _is_vain(t)) for t in there
    )


def _is_vain(track: Track) -> bool:
    """Whether a plate was tried for long in its place, and is still not known."""
    return (
        track.verdict is None
        and track.attempts >= VAIN_ATTEMPTS
        and track.last.t_s - track.first.t_s >= VAIN_S
        and stands_still(track.path)
    )


def _free_widths(track: Track) -> float:
    return VAIN_WIDTHS if _is_vain(track) else REST_WIDTHS


def _was_read_there(track: Track, plate: Plate, t_s: float) -> bool:
    tried = track.tried
    return tried is not None and (
        0.0 <= t_s - tried.t_s < REST_S and _is_near(tried, plate, _free_widths(track))
    )


def _is_near(seen: Observation, plate: Plate, free_widths: float) -> bool:
    moved_px = math.dist((seen.x_px, seen.y_px), plate.centre)
    return (
        moved_px <= free_widths * seen.width_px
        and abs(math.log(plate.width_px / seen.width_px)) <= free_widths
    )
