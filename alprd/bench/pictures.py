"""What the benchmark looks at: pictures with a plate and pictures without, rendered or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from alprd.cameras.images import load_image
from alprd.demo.clip import render_frames
from alprd.demo.plates import WHITE_UK
from alprd.demo.scene import Car
from alprd.ports import CameraError, ImageU8

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
    """The pictures given; where none is, a rendered one of the other's size, else of 1280x720.

    Raises:
        CameraError: a picture cannot be read, or the two differ in size.
    """
    given = [None if path is None else load_image(path) for path in (positive, negative)]
    sizes = list(dict.fromkeys((p.shape[1], p.shape[0]) for p in given if p is not None))
    if len(sizes) > 1:
        (width, height), (other_width, other_height) = sizes
        raise CameraError(
            f"{positive} has {width}x{height} pixels, {negative} {other_width}x{other_height}; "
            "give two pictures of one size"
        )
    size = sizes[0] if sizes else None
    car, street = (
        _rendered(cars, size) if picture is None else _copies(picture)
        for picture, cars in zip(given, ([_CAR], []), strict=True)
    )
    for picture in (*car, *street):
        picture.setflags(write=False)
    names = [str(path) if path else "rendered" for path in (positive, negative)]
    return Pictures(positive=car, negative=street, origin=" and ".join(dict.fromkeys(names)))


def _rendered(cars: Sequence[Car], size: tuple[int, int] | None) -> list[ImageU8]:
    found = list(render_frames(cars, seconds=POOL / _STEPS_FPS, fps=_STEPS_FPS))
    if size is None:
        return found
    return [np.asarray(cv2.resize(each, size), np.uint8) for each in found]


def _copies(picture: ImageU8) -> list[ImageU8]:
    return [np.array(picture) for _ in range(POOL)]
