"""How fast a vehicle drove, from its plate's path, with the standard error of that.

The plate's places are mapped to the road, and fitted over the frames' own times (`core.steady`). A
plate above the road looks farther away, and faster, than it is; `core.parallax` takes that out.

The standard error adds up what the residuals tell, what the clicks and metres of the calibration
leave open, and that plates hang at different heights. This is no certified instrument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from alprd.core.calibration import Calibration, measure_of
from alprd.core.plate_sizes import widths_of
from alprd.core.strip import over_lines
from alprd.core.tracking import PathPoint
from alprd.core.travel import Measured, Refused, over_plane, seen_on
from alprd.core.types import Region, Speed

__all__ = ["KMH", "KMH_PER_MPH", "Measured", "Refused", "SpeedMeter", "SpeedRules", "kmh_of"]

KMH: Final = 3.6
KMH_PER_MPH: Final = 1.609344
MAX_KMH: Final = 400.0
MIN_SLOW_KMH: Final = 2.0
"""A slower vehicle is waiting rather than driving."""

SURE: Final = 2.0
"""Standard errors by which the speed must exceed a limit to be called speeding."""


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

    def speed_of(
        self,
        path: Sequence[PathPoint],
        frame_size: tuple[int, int],
        region: Region | None = None,
    ) -> Speed | None:
        """The mean speed over the calibrated part of the path; None when it cannot be told.

        Args:
            path: oldest first.
            frame_size: (width, height), pixels.
            region: where the plate is from, which tells how wide it is.
        """
        try:
            found = self.measured(path, frame_size, region)
        except Refused as reason:
            self._on_refused(str(reason))
            return None
        except (ValueError, ArithmeticError):
            # A pass whose numbers no solver takes (LinAlgError is a ValueError) goes without a
            # speed: it must not end the thread that serves all cameras.
            self._on_refused("its path cannot be solved for")
            return None
        return _speed(found, self._measure.name, self._rules)

    def measured(
        self,
        path: Sequence[PathPoint],
        frame_size: tuple[int, int],
        region: Region | None = None,
    ) -> Measured:
        """As `speed_of`, with the stretch. Raises Refused."""
        measure = self._measure
        given_m = measure.calibration.plate_widths_m
        widths_m = widths_of(region) if given_m is None else given_m
        seen = seen_on(path, frame_size, measure.calibration)
        if measure.strip is not None:
            found = over_lines(measure, measure.strip, seen, widths_m=widths_m)
        elif measure.plane is None:
            raise Refused("nothing was calibrated")
        else:
            found = over_plane(
                measure,
                measure.plane,
                seen,
                min_path_m=self._rules.min_path_m,
                widths_m=widths_m,
            )
        kmh, stderr_kmh = KMH * found.speed_m_s, KMH * found.stderr_m_s
        if not (math.isfinite(kmh) and math.isfinite(stderr_kmh)) or kmh > MAX_KMH:
            raise Refused(f"{kmh:.0f} km/h is no vehicle's speed")
        if kmh < MIN_SLOW_KMH:
            raise Refused("it hardly moved")
        if stderr_kmh > self._rules.max_error_share * kmh:
            raise Refused(f"too unsure: {kmh:.1f} +- {stderr_kmh:.1f} km/h")
        return found


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
