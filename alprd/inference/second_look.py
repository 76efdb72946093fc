"""A second look at plates that the reader is not sure of, or whose corners it corrects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.ports import PlateReader

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
"""A look that is surer by less than this does not outweigh the first one's text."""

TRUSTED: Final = 0.1
"""From this quality on the corners that the reader sees are better than the detector's."""

MOVED: Final = 0.03
"""Corners that the reader moves by less, in plate widths, need no cut of their own."""


class SecondLook:
    """Implements the PlateReader port over another reader.

    Corners that are a little off cost more characters than anything else. Where the reader's own
    quality stays below `below`, the plate is cut out with each of `LOOKS` too, all in one call, and
    the read of the best quality counts, if it is surer than the first one by `MARGIN`.

    A reader that says where it sees the corners is taken at its word: where they are off by more
    than `MOVED`, one more cut goes by them. Reads carry the reader's corners from the quality
    `TRUSTED` on, or where there is no quality, else the detector's.
    """

    def __init__(self, reader: PlateReader, below: float) -> None:
        self._reader = reader
        self._below = below

    def read(self, plates: Sequence[tuple[FrameImage, Detection, float]]) -> list[PlateRead]:
        """One read per (full frame image, plate detection, t_s), with the plate's own corners."""
        reads = self._reader.read(plates)
        cuts = [(index, quad) for index, read in enumerate(reads) for quad in self._cuts(read)]
        looks: list[list[PlateRead]] = [[] for _ in reads]
        if cuts:
            found = self._reader.read(
                [
                    (image, replace(plate, quad=quad), t_s)
                    for index, quad in cuts
                    for image, plate, t_s in (plates[index],)
                ]
            )
            for (index, _), look in zip(cuts, found, strict=True):
                looks[index].append(look)
        return [_chosen(first, others) for first, others in zip(reads, looks, strict=True)]

    def _cuts(self, read: PlateRead) -> list[Quad]:
        """The quads by which a plate is cut out again."""
        if self._below <= 0.0 or read.quality is None:
            return []
        corrected = [read.refined] if read.refined is not None and _is_moved(read) else []
        if read.quality >= self._below:
            return corrected
        return [*corrected, *(look(read.quad) for look in LOOKS)]


def _is_moved(read: PlateRead) -> bool:
    """Whether some corner that the reader sees is far from where the plate was cut out."""
    if read.refined is None:
        return False
    width_px = float(np.linalg.norm(read.quad[1] - read.quad[0]))
    farthest_px = float(np.linalg.norm(read.refined - read.quad, axis=1).max())
    return farthest_px > MOVED * width_px


def _chosen(first: PlateRead, looks: Sequence[PlateRead]) -> PlateRead:
    """The read that counts, with the corners of the plate."""
    best = max(looks, key=_quality, default=first)
    text = best if _quality(best) >= _quality(first) + MARGIN else first
    # Corners are seen best in the cut that was corrected by them already.
    seen = first.refined
    corrected = [look for look in looks if seen is not None and np.array_equal(look.quad, seen)]
    for read in (*corrected, text):
        if read.refined is not None and (read.quality is None or read.quality >= TRUSTED):
            return replace(text, quad=read.refined)
    return replace(text, quad=first.quad)


def _quality(read: PlateRead) -> float:
    return 0.0 if read.quality is None else read.quality
