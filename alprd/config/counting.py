"""[[cameras.lines]] and [[cameras.zones]]: what a camera counts by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from alprd.config.checks import check_polygon
from alprd.config.section import Fraction, Section
from alprd.core.counting import INWARDS

Point = tuple[Fraction, Fraction]

_LEAST_ANGLE = 0.05
"""A line that runs almost in the direction in which it is crossed is meant otherwise."""


class LineSettings(Section):
    """[[cameras.lines]]: a counting line."""

    name: str = Field(min_length=1, max_length=100, description="its name in events and counts")
    points: tuple[Point, ...] = Field(
        description="its two ends [[x, y], [x, y]] in fractions of the (rotated) picture"
    )
    inwards: Literal["up", "down", "left", "right"] = Field(
        default="down",
        description='who crosses it that way in the picture comes "in", the others go "out"',
    )
    allowed: Literal["both", "in", "out"] = Field(
        default="both", description="who crosses it the other way is on the wrong one"
    )

    @field_validator("points")
    @classmethod
    def _two_ends(cls, value: tuple[Point, ...]) -> tuple[Point, ...]:
        if len(value) != 2:
            raise ValueError(f"a line has 2 points, this has {len(value)}; give its two ends")
        if value[0] == value[1]:
            raise ValueError("both points are the same; give the line's two ends")
        return value

    @model_validator(mode="after")
    def _crossed_by_its_direction(self) -> LineSettings:
        (x1, y1), (x2, y2) = self.points
        right, down = INWARDS[self.inwards]
        length = max(abs(x2 - x1), abs(y2 - y1))
        if abs((x2 - x1) * down - (y2 - y1) * right) < _LEAST_ANGLE * length:
            across = '"left" or "right"' if down else '"up" or "down"'
            raise ValueError(
                f'nothing that goes "{self.inwards}" crosses this line, it runs that way itself; '
                f"set inwards to {across}"
            )
        return self


class ZoneSettings(Section):
    """[[cameras.zones]]: a zone."""

    name: str = Field(min_length=1, max_length=100, description="its name in events")
    polygon: tuple[Point, ...] = Field(
        description="its corners [[x, y], ...] in fractions of the (rotated) picture"
    )

    @field_validator("polygon")
    @classmethod
    def _with_an_inside(cls, value: tuple[Point, ...]) -> tuple[Point, ...]:
        check_polygon(value)
        return value
