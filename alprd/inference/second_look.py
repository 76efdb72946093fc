"""A second look at plates that the reader is not sure of: cut out a little differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import Detection, PlateRead
from alprd.ports import ImageU8, PlateReader

Quad = NDArray[np.float32]


def upright(quad: Quad) -> Quad:
    """(4, 2) the plate with vertical sides: what a level camera sees of a plate from one side.

    The middles of the sides and their vertical extent stay.
    """
    left, right = (quad[0] + quad[3]) / 2, (quad[1] + quad[2]) / 2
    tall = ((quad[3] - quad[0]) + (quad[2] - quad[1])) / 2
    half = np.array([0.0, tall[1] / 2], np.float32)
    return np.stack([left - half, right - half, right + half, left + half]).astype(np.float32)


def resized(quad: Quad, wide: float, tall: float) -> Quad:
    """(4, 2) the quad as a parallelogram about its centre, `wide` and `tall` times as large."""
    centre = quad.mean(0)
    along = ((quad[1] - quad[0]) + (quad[2] - quad[3])) / 4 * wide
    down = ((quad[3] - quad[0]) + (quad[2] - quad[1])) / 4 * tall
    corners = (-along - down, along - down, along + down, -along + down)
    return np.asarray(centre + np.stack(corners), np.float32)


LOOKS: Final[tuple[Callable[[Quad], Quad], ...]] = (
    upright,
    lambda quad: resized(quad, 1.05, 1.10),
    lambda quad: resized(quad, 0.96, 0.94),
)


MARGIN: Final = 0.05
"""A look that is surer by less than this does not outweigh the detector's own corners."""


class SecondLook:
    """Implements the PlateReader port over another reader.

    Corners that are a little off cost more characters than anything else. Where the reader's own
    quality stays below `below`, the plate is cut out with each of `LOOKS` too, all in one call, and
    the read of the best quality counts, if it is surer than the first one by `MARGIN`.
    """

    def __init__(self, reader: PlateReader, below: float) -> None:
        self._reader = reader
        self._below = below

    def read(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> list[PlateRead]:
        """One read per (full frame image, plate detection, t_s), with the detection's own quad."""
        reads = self._reader.read(plates)
        unsure = [
            index
            for index, read in enumerate(reads)
            if read.quality is not None and read.quality < self._below
        ]
        if not unsure:
            return reads
        again = [
            (image, replace(plate, quad=look(reads[index].quad)), t_s)
            for index in unsure
            for image, plate, t_s in (plates[index],)
            for look in LOOKS
        ]
        found = self._reader.read(again)
        for place, index in enumerate(unsure):
            first = reads[index]
            looks = found[place * len(LOOKS) : (place + 1) * len(LOOKS)]
            best = max(looks, key=_quality)
            if _quality(best) >= _quality(first) + MARGIN:
                reads[index] = replace(best, quad=first.quad)
        return reads


def _quality(read: PlateRead) -> float:
    return 0.0 if read.quality is None else read.quality
