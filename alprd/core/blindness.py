"""Whether a camera's picture shows anything: black, covered, blurred or frozen pictures do not.

The limits were set on real clips and photographs, day and night, and on the same ones darkened,
covered and defocused; the test beside this module holds the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

LONG_SIDE_PX: Final = 640
"""Pictures are judged at this size: make them so wide (or high), averaging over pixels."""

Picture = Literal["clear", "black", "covered", "blurred", "frozen"]
GreyU8 = NDArray[np.uint8]
"""(H, W) uint8, brightness."""

# No pixel to speak of is brighter than this: a lens cap, a dead sensor, a night without any lamp.
_BLACK_BELOW = 32
# Streets, also dim and far ones, have edges of more than 4 (mean squared steps); a hand, a sticker
# or snow on the lens leaves what noise leaves, less than 1.
_COVERED_BELOW = 1.0
_COVERED_RANGE = 80
# The share of its edges that a picture keeps when it is smoothed: up to 0.36 in sharp ones, 0.45
# and more once a point has become a disc of 2 % of the picture's width, which no plate survives.
_BLURRED_ABOVE = 0.45
_SHARP_BELOW = 0.40
_FINE_PX, _COARSE_PX = 3, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A picture's measures.

    Attributes:
        brightest: brightness that almost no pixel exceeds, 0..255.
        spread: between what almost all pixels exceed and what almost none do.
        edges: mean squared step between neighbours, after a little smoothing.
        softness: share of `edges` that is left after more smoothing, 0..1.
    """

    brightest: float
    spread: float
    edges: float
    softness: float


def look(grey: GreyU8) -> Look:
    """Measure a picture of about LONG_SIDE_PX, at least 16 x 16."""
    darker = np.cumsum(np.bincount(grey.ravel(), minlength=256)) / grey.size
    darkest, brightest = np.searchsorted(darker, (0.005, 0.995))
    fine = _smoothed(grey.astype(np.float32), _FINE_PX)
    edges = _edges(fine)
    softness = _edges(_smoothed(fine, _COARSE_PX)) / edges if edges > 0.0 else 1.0
    return Look(
        brightest=float(brightest),
        spread=float(brightest - darkest),
        edges=edges,
        softness=min(softness, 1.0),
    )


def judge(seen: Look, before: Picture | None = None) -> Picture:
    """What one picture looks like, apart from frozen.

    Args:
        seen: its measures.
        before: the verdict so far: what was blurred must become clearly sharper to be clear.
    """
    if seen.brightest < _BLACK_BELOW:
        return "black"
    if seen.edges < _COVERED_BELOW and seen.spread < _COVERED_RANGE:
        return "covered"
    if seen.softness > (_SHARP_BELOW if before == "blurred" else _BLURRED_ABOVE):
        return "blurred"
    return "clear"


class Watch:
    """One camera's pictures, one after the other.

    Args:
        frozen_s: pictures that go on coming without any change for this long are frozen.
    """

    def __init__(self, frozen_s: float) -> None:
        self._frozen_s = frozen_s
        self._last: GreyU8 | None = None
        self._changed_s = 0.0
        self.verdict: Picture | None = None
        """The newest one; None before the first picture."""

    def see(self, t_s: float, grey: GreyU8) -> Picture:
        """Judge the next picture.

        Args:
            t_s: when it was seen, monotonic seconds.
            grey: (H, W) brightness, of about LONG_SIDE_PX; not changed afterwards.
        """
        if self._last is None or _differ(self._last, grey):
            self._changed_s = t_s
        self._last = grey
        verdict = judge(look(grey), self.verdict)
        if verdict == "clear" and t_s - self._changed_s >= self._frozen_s:
            verdict = "frozen"
        self.verdict = verdict
        return verdict


def _differ(one: GreyU8, other: GreyU8) -> bool:
    """Whether anything moved, or any noise of a living sensor changed a pixel."""
    return not np.array_equal(one, other)


def _edges(values: NDArray[np.float32]) -> float:
    """Mean squared step to the right and downwards."""
    across, down = np.diff(values, axis=1).ravel(), np.diff(values, axis=0).ravel()
    return float(np.dot(across, across) / across.size + np.dot(down, down) / down.size)


def _smoothed(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Means over squares of `width` (odd) pixels, only where a whole square fits."""
    height, wide = values.shape[0] - width + 1, values.shape[1] - width + 1
    across = values[:, :wide].copy()
    for shift in range(1, width):
        across += values[:, shift : shift + wide]
    total = across[:height].copy()
    for shift in range(1, width):
        total += across[shift : shift + height]
    mean: NDArray[np.float32] = total / np.float32(width * width)
    return mean
