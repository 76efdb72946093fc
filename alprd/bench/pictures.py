"""What the benchmark looks at: pictures with a plate and pictures without, rendered or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alprd.cameras.images import load_image
from alprd.demo.clip import render_frames
from alprd.demo.plates import WHITE_UK
from alprd.demo.scene import Car
from alprd.ports import ImageU8

POOL = 8
"""Pictures of each kind, in memory of their own: the next one is not in the processor's cache."""

_STEPS_FPS = 15.0
_CAR = Car(plate="KA67 RVE", style=WHITE_UK, x_m=-1.0, start_z_m=15.0, speed_mps=-7.0)
"""Comes nearer from picture to picture; its plate is 50 to 65 pixels wide and clear."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """(H, W, 3) uint8 BGR, read-only, all of one size.

    Attributes:
        positive: with a plate.
        negative: without one.
        origin: where they come from, for people.
    """

    positive: Sequence[ImageU8]
    negative: Sequence[ImageU8]
    origin: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        height, width = self.positive[0].shape[:2]
        return int(width), int(height)

    @property
    def frame_bytes(self) -> int:
        """Of one picture."""
        return int(self.positive[0].nbytes)

    @property
    def all_bytes(self) -> int:
        """Of all of them, which the benchmark's own memory is charged with."""
        return sum(picture.nbytes for picture in (*self.positive, *self.negative))


def load_pictures(positive: Path | None, negative: Path | None) -> Pictures:
    """The pictures given, or rendered ones of 1280x720 where none is.

    Raises:
        CameraError: a picture cannot be read, or the two differ in size.
    """
    if positive is None or negative is None:
        seconds = POOL / _STEPS_FPS
        car = list(render_frames([_CAR], seconds=seconds, fps=_STEPS_FPS))
        street = list(render_frames([], seconds=seconds, fps=_STEPS_FPS))
    if positive is not None:
        car = _copies(load_image(positive))
    if negative is not None:
        street = _copies(load_image(negative))
    for picture in (*car, *street):
        picture.setflags(write=False)
    names = [str(path) if path else "rendered" for path in (positive, negative)]
    return Pictures(positive=car, negative=street, origin=" and ".join(dict.fromkeys(names)))


def _copies(picture: ImageU8) -> list[ImageU8]:
    return [np.array(picture) for _ in range(POOL)]
