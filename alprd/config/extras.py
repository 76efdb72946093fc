"""[tracks] and [images]: what is told beside the events, only where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from alprd.config.section import Section

Crop = Literal["frame", "vehicle", "plate"]
ShownPlates = Literal["shown", "own", "covered"]


class TracksSettings(Section):
    """[tracks]: live reads while a vehicle is in view."""

    enabled: bool = Field(
        default=False, description="true: what is read is also told while the vehicle is in view"
    )
    interval_s: float = Field(
        default=1.0,
        ge=0.1,
        le=60.0,
        description="a vehicle's track is updated at most this often, seconds",
    )


class ImagesSettings(Section):
    """[images]: a picture of every event."""

    enabled: bool = Field(default=False, description="true: every event has a picture")
    path: Path | None = Field(
        default=None, description="folder of the pictures; default: images beside the outbox"
    )
    crop: Crop = Field(
        default="vehicle", description="what a picture shows: the whole frame, vehicle or plate"
    )
    max_width_px: int = Field(
        default=1280, ge=32, le=16384, description="wider pictures are scaled down to this, pixels"
    )
    quality: int = Field(default=80, ge=10, le=100, description="of the JPEG")
    plates: ShownPlates = Field(
        default="shown",
        description="shown: as they are; own: those of other vehicles are covered; covered: all",
    )
    show_hidden_plates: bool = Field(
        default=False,
        description='true: pictures may show the plates that privacy.plates = "hmac" hides',
    )
    max_files: int = Field(
        default=100_000,
        ge=10,
        le=1_000_000,
        description="pictures that are kept; the oldest make room",
    )
    max_bytes: int = Field(
        default=1024**3,
        ge=100_000,
        le=1024**4,
        description="bytes that they may take; the oldest make room",
    )
    max_age_s: float = Field(
        default=7 * 86400.0,
        ge=1.0,
        le=10 * 365 * 86400.0,
        description="older pictures are deleted, seconds",
    )
    min_free_bytes: int = Field(
        default=256 * 1024**2,
        ge=0,
        le=1024**4,
        description="bytes of the disk that pictures leave free, for the outbox",
    )
    publish: bool = Field(
        default=False, description="true: pictures are also sent on <prefix>/<camera>/snapshot"
    )

    @model_validator(mode="after")
    def _something_to_see(self) -> ImagesSettings:
        if self.crop == "plate" and self.plates == "covered":
            raise ValueError(
                'a picture of a covered plate shows nothing; set crop = "vehicle", or '
                'plates = "own"'
            )
        return self
