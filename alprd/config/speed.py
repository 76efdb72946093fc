"""[cameras.speed]: what a camera's picture measures, and the speed limit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alprd.config.section import Fraction, Section
from alprd.core.calibration import (
    Calibration,
    CalibrationError,
    check_rectangle,
    measure_of,
    rectangle_metres,
)
from alprd.core.lens import Lens
from alprd.core.speed import SpeedRules

Pair = tuple[float, float]
Side = Annotated[int, Field(ge=16, le=65535)]


class LensSettings(Section):
    """[cameras.speed.lens]: a known lens; the numbers of an OpenCV calibration."""

    focal_px: float = Field(gt=0.0, le=1e6, description="focal length, pixels of frame_size")
    centre_px: Pair = Field(
        description="where the optical axis meets the picture, [x, y], pixels of frame_size"
    )
    distortion: tuple[float, float, float, float, float] = Field(
        default=(0.0, 0.0, 0.0, 0.0, 0.0), description="k1, k2, p1, p2, k3"
    )


class SpeedSettings(Section):
    """[cameras.speed]: points, a rectangle or two lines on the road that were measured."""

    frame_size: tuple[Side, Side] = Field(
        description="[width, height] of the (rotated) picture in which the points were clicked"
    )
    points: tuple[Pair, ...] = Field(
        default=(), description="places on the road, [[x, y], ...] in pixels of that picture"
    )
    metres: tuple[Pair, ...] = Field(
        default=(), description="the same places in metres, from any corner of the road"
    )
    rectangle_m: Pair | None = Field(
        default=None,
        description="instead of metres: [width, length] of the rectangle whose corners the four "
        "points are, near left, near right, far right, far left",
    )
    lines: tuple[tuple[Pair, Pair], ...] = Field(
        default=(),
        description="instead of points: two lines across the road, each [[x, y], [x, y]], pixels",
    )
    distance_m: float | None = Field(
        default=None, le=1000.0, description="how far the two lines are apart, metres"
    )
    error_px: float = Field(
        default=1.0, ge=0.1, le=50.0, description="how exactly points were clicked, pixels"
    )
    error_m: float = Field(
        default=0.02, ge=0.0, le=10.0, description="how exactly distances were measured, metres"
    )
    plate_height_m: float = Field(
        default=0.5,
        ge=0.0,
        le=5.0,
        description="how high plates are above the points, metres; 0: points at plate height",
    )
    plate_height_error_m: float = Field(
        default=0.1,
        ge=0.0,
        le=2.0,
        description="how much that differs from vehicle to vehicle, metres",
    )
    plate_widths_m: tuple[Annotated[float, Field(ge=0.1, le=2.0)], ...] | None = Field(
        default=None,
        max_length=8,
        description="the widths that plates have here, metres: a plate then tells its own height; "
        "default: those of the country that it is from; []: none",
    )
    plate_width_error: float = Field(
        default=0.02,
        ge=0.001,
        le=0.5,
        description="how much plates differ from that or are seen wider, as a share of it",
    )
    readout_s: float = Field(
        default=0.0,
        ge=0.0,
        le=0.1,
        description="rolling shutter: seconds between the exposures of the first and the last row",
    )
    camera_height_m: float | None = Field(
        default=None,
        gt=0.0,
        le=200.0,
        description="how high the camera hangs above the points, metres; default: told by them",
    )
    camera_height_error_m: float = Field(
        default=0.1, ge=0.0, le=10.0, description="how exactly that was measured, metres"
    )
    unit: Literal["kmh", "mph"] = Field(
        default="kmh", description="of limit, and of what events say beside km/h"
    )
    limit: float | None = Field(
        default=None, gt=0.0, le=400.0, description="speed limit, in unit; default: none"
    )
    min_path_m: float = Field(
        default=3.0, ge=0.5, le=200.0, description="no speed from a shorter way than this, metres"
    )
    max_error_share: Fraction = Field(
        default=0.15, description="no speed with a greater standard error, as a share of it"
    )
    lens: LensSettings | None = Field(
        default=None, description="[cameras.speed.lens]: a known lens; default: no distortion"
    )

    @model_validator(mode="after")
    def _usable(self) -> SpeedSettings:
        try:
            self._check_alternatives()
            measure_of(self.calibration())
        except CalibrationError as error:
            raise ValueError(str(error)) from None
        return self

    def calibration(self) -> Calibration:
        """For the core."""
        metres = self.metres
        if self.rectangle_m is not None:
            metres = rectangle_metres(*self.rectangle_m)
        lens = self.lens
        return Calibration(
            frame_size=self.frame_size,
            points=self.points,
            metres=metres,
            lines=self.lines,
            distance_m=self.distance_m,
            lens=None
            if lens is None
            else Lens(focal_px=lens.focal_px, centre_px=lens.centre_px, distortion=lens.distortion),
            plate_height_m=self.plate_height_m,
            plate_height_error_m=self.plate_height_error_m,
            plate_widths_m=self.plate_widths_m,
            plate_width_error=self.plate_width_error,
            readout_s=self.readout_s,
            camera_height_m=self.camera_height_m,
            camera_height_error_m=self.camera_height_error_m,
            error_px=self.error_px,
            error_m=self.error_m,
        )

    def rules(self) -> SpeedRules:
        """For the core."""
        return SpeedRules(
            unit=self.unit,
            limit=self.limit,
            min_path_m=self.min_path_m,
            max_error_share=self.max_error_share,
        )

    def _check_alternatives(self) -> None:
        if self.rectangle_m is not None:
            if self.metres:
                raise CalibrationError("metres and rectangle_m are both given; keep one of the two")
            check_rectangle(self.points, *self.rectangle_m)
        if self.distance_m is not None and not self.lines:
            raise CalibrationError("distance_m is given without lines; add the two lines")
