"""What every table of the configuration has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from alprd.core.secrets import mask_credentials

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A table of the configuration file; unknown keys are errors, credentials never show."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        for name, value in super().__repr_args__():
            yield name, _masked(value)


def _masked(value: object) -> object:
    """Text with its credentials masked, also inside tuples; everything else as it is."""
    if isinstance(value, str):
        return mask_credentials(value)
    if isinstance(value, tuple):
        return tuple(_masked(item) for item in value)
    return value
