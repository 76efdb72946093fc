"""A second look at plates that the reader is not sure of, or whose corners it corrects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.ports import PendingReads, PlateReader, SubmittingReader

Quad = NDArray[np.float32]
"""(4, 2)."""
Quads = NDArray[np.float32]
"""(..., 4, 2), as many as there are."""


def upright(quads: Quads) -> Quads:
    """(..., 4, 2) plates with vertical sides: what a level camera sees of a plate from one side.

    The middles of the sides and their vertical extent stay.
    """
    a, b, c, d = np.moveaxis(quads, -2, 0)
    left, right = (a + d) / 2, (b + c) / 2
    half = ((d - a) + (c - b)) / 2 * np.array([0.0, 0.5], np.float32)
    return np.stack([left - half, right - half, right + half, left + half], axis=-2)


def resized(quads: Quads, wide: float, tall: float) -> Quads:
    """(..., 4, 2) quads as parallelograms about their centres, `wide` and `tall` times as large."""
    a, b, c, d = np.moveaxis(quads, -2, 0)
    centre = quads.mean(axis=-2)
    along = ((b - a) + (c - d)) / 4 * wide
    down = ((d - a) + (c - b)) / 4 * tall
    corners = (-along - down, along - down, along + down, -along + down)
    return np.stack([centre + corner for corner in corners], axis=-2)


LOOKS: Final[tuple[Callable[[Quads], Quads], ...]] = (
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


Plate = tuple[FrameImage, Detection, float]


class Looks:
    """Plates that are looked at, and again where it is needed; is a PendingReads.

    Args:
        reader: that looks.
        plates: the plates.
        cuts: of the first reads, the quads by which plates are cut out again, each with the index
            of its read.
    """

    def __init__(
        self,
        reader: SubmittingReader,
        plates: Sequence[Plate],
        cuts: Callable[[Sequence[PlateRead]], list[tuple[int, Quad]]],
    ) -> None:
        self._reader = reader
        self._plates = plates
        self._cuts = cuts
        self._first = reader.submit(plates)
        self._firsts: list[PlateRead] | None = None
        self._owners: list[int] = []
        self._again: PendingReads | None = None

    def _look_again(self) -> list[PlateRead]:
        """Begin the further looks, once; the first reads."""
        if self._firsts is None:
            firsts = self._first.result()
            cuts = self._cuts(firsts)
            if cuts:
                self._owners = [index for index, _ in cuts]
                self._again = self._reader.submit(_cut_plates(self._plates, cuts))
            self._firsts = firsts
        return self._firsts

    def known(self) -> list[PlateRead | None]:
        """Those that are looked at no more; waits for the first look, and begins the others."""
        firsts = self._look_again()
        undecided = {*self._owners}
        return [
            None if index in undecided else _chosen(read, ()) for index, read in enumerate(firsts)
        ]

    def result(self) -> list[PlateRead]:
        """All of them."""
        firsts = self._look_again()
        return _decided(firsts, self._owners, [] if self._again is None else self._again.result())


class SecondLook:
    """Implements PlateReader over another reader.

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

    def read(self, plates: Sequence[Plate]) -> list[PlateRead]:
        """One read per (full frame image, plate detection, t_s), with the plate's own corners."""
        firsts = self._reader.read(plates)
        cuts = self._cuts(firsts)
        looks = self._reader.read(_cut_plates(plates, cuts)) if cuts else ()
        return _decided(firsts, [index for index, _ in cuts], looks)

    def _cuts(self, reads: Sequence[PlateRead]) -> list[tuple[int, Quad]]:
        """The quads by which plates are cut out again, each with the index of its read."""
        if self._below <= 0.0:
            return []
        cuts = [
            (index, read.refined)
            for index, read in enumerate(reads)
            if read.quality is not None and read.refined is not None and _is_moved(read)
        ]
        unsure = [
            index
            for index, read in enumerate(reads)
            if read.quality is not None and read.quality < self._below
        ]
        if unsure:
            quads = np.array([reads[index].quad for index in unsure], np.float32)
            for look in LOOKS:
                cuts += zip(unsure, look(quads), strict=True)
        # Those of one read together, the correction first.
        return sorted(cuts, key=lambda cut: cut[0])


class SubmittingSecondLook(SecondLook):
    """Implements SubmittingReader over another one: neither look is waited for where it begins."""

    def __init__(self, reader: SubmittingReader, below: float) -> None:
        super().__init__(reader, below)
        self._submitting = reader

    def submit(self, plates: Sequence[Plate]) -> Looks:
        """Begin to look once; `known` begins to look again where it is needed."""
        return Looks(self._submitting, plates, self._cuts)


def looking_twice(reader: PlateReader, below: float) -> SecondLook:
    """A reader that looks again, and works by itself if that one does."""
    if isinstance(reader, SubmittingReader):
        return SubmittingSecondLook(reader, below)
    return SecondLook(reader, below)


def _is_moved(read: PlateRead) -> bool:
    """Whether some corner that the reader sees is far from where the plate was cut out."""
    if read.refined is None:
        return False
    cut, seen = read.quad.tolist(), read.refined.tolist()
    return max(map(math.dist, seen, cut)) > MOVED * math.dist(cut[0], cut[1])


def _decided(
    firsts: Sequence[PlateRead], owners: Sequence[int], looks: Sequence[PlateRead]
) -> list[PlateRead]:
    """Of each plate the read that counts.

    Args:
        firsts: of each plate the first read.
        owners: of each further look the index of its plate.
        looks: the further reads.
    """
    others: list[list[PlateRead]] = [[] for _ in firsts]
    for index, look in zip(owners, looks, strict=True):
        others[index].append(look)
    return [*map(_chosen, firsts, others)]


def _chosen(first: PlateRead, looks: Sequence[PlateRead]) -> PlateRead:
    """The read that counts, with the corners of the plate."""
    text = first
    if looks:
        best = max(looks, key=_quality)
        text = best if _quality(best) >= _quality(first) + MARGIN else first
    # Corners are seen best in the cut that was corrected by them already.
    seen = first.refined
    corrected = [look for look in looks if seen is not None and np.array_equal(look.quad, seen)]
    for read in (*corrected, text):
        if read.refined is not None and (read.quality is None or read.quality >= TRUSTED):
            return _with_quad(text, read.refined)
    return _with_quad(text, first.quad)


def _cut_plates(plates: Sequence[Plate], cuts: Sequence[tuple[int, Quad]]) -> list[Plate]:
    """The plates as they are cut out again, one per cut."""
    return [
        (image, _cut_by(quad, plate), t_s)
        for index, quad in cuts
        for image, plate, t_s in (plates[index],)
    ]


def _cut_by(quad: Quad, plate: Detection) -> Detection:
    # Written out, for dataclasses.replace takes several times as long; below as well.
    return Detection(label=plate.label, score=plate.score, box=plate.box, quad=quad)


def _with_quad(read: PlateRead, quad: Quad) -> PlateRead:
    """The read of a plate whose corners are these."""
    if quad is read.quad:
        return read
    return PlateRead(
        text=read.text,
        char_probs=read.char_probs,
        quad=quad,
        t_s=read.t_s,
        score=read.score,
        quality=read.quality,
        regions=read.regions,
        sharpness=read.sharpness,
        refined=read.refined,
    )


def _quality(read: PlateRead) -> float:
    return 0.0 if read.quality is None else read.quality
