"""Where to look again, closer, in a picture that is much larger than the network's input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from alprd.core.decode import suppress
from alprd.core.types import Detection

FINEST_SCALE = 0.5
"""Input pixels per picture pixel of the closest look: there a plate of 40 px is 20 px wide."""

OVERLAP = 0.25
"""Of a tile with its neighbour, so that a plate on a border lies whole in one of them."""

CUT_PX = 2.0
"""A detection that comes this near to a tile's inner border may be cut off there."""

SAME_IOU = 0.5

Tile = tuple[int, int, int, int]
"""x1, y1, x2, y2 in picture pixels, half-open."""


def tiles(picture_size: tuple[int, int], input_size: tuple[int, int]) -> list[Tile]:
    """The parts of a picture to look at besides the whole; none when it is not much larger.

    Each level halves the scale of the one before, from FINEST_SCALE down to the scale at which the
    whole picture is seen, so that plates of every size meet a network that likes their size.

    Args:
        picture_size: (width, height), pixels.
        input_size: (width, height) of the network's input.
    """
    whole = min(input_size[0] / picture_size[0], input_size[1] / picture_size[1])
    found: list[Tile] = []
    scale = FINEST_SCALE
    while scale > whole:
        across = _spans(picture_size[0], math.ceil(input_size[0] / scale))
        down = _spans(picture_size[1], math.ceil(input_size[1] / scale))
        if len(across) * len(down) > 1:
            found += [(x1, y1, x2, y2) for y1, y2 in down for x1, x2 in across]
        scale /= 2.0
    return found


def in_picture(
    detections: Iterable[Detection], tile: Tile, picture_size: tuple[int, int]
) -> list[Detection]:
    """A tile's detections in the picture's pixels, without those that its border may have cut."""
    left, top, right, bottom = tile
    width, height = picture_size
    kept = []
    for found in detections:
        x1, y1, x2, y2 = (
            found.box[0] + left,
            found.box[1] + top,
            found.box[2] + left,
            found.box[3] + top,
        )
        cut = (
            (left > 0 and x1 < left + CUT_PX)
            or (top > 0 and y1 < top + CUT_PX)
            or (right < width and x2 > right - CUT_PX)
            or (bottom < height and y2 > bottom - CUT_PX)
        )
        if not cut:
            quad = found.quad
            moved = None if quad is None else quad + np.array([left, top], np.float32)
            kept.append(replace(found, box=(x1, y1, x2, y2), quad=moved))
    return kept


def merge(detections: Sequence[Detection]) -> list[Detection]:
    """The detections of all looks at one picture, each object once, best score first."""
    best_first = sorted(detections, key=lambda found: -found.score)
    kept = suppress(
        [found.box for found in best_first], [found.label for found in best_first], SAME_IOU
    )
    return [best_first[index] for index in kept]


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Evenly spread, overlapping spans of `tile` that cover `length`."""
    if tile >= length:
        return [(0, length)]
    count = math.ceil((length - tile * OVERLAP) / (tile * (1.0 - OVERLAP)))
    starts = [round(index * (length - tile) / (count - 1)) for index in range(count)]
    return [(start, start + tile) for start in starts]
