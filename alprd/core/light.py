"""By what light a camera sees: day, night, or infrared, whose pictures have no colours.

The limits were set on real street photographs and clips: the palest of them, concrete from above,
has six times the chroma of a grey picture after a video codec.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Light = Literal["day", "night", "infrared"]
PictureU8 = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""

SIDE_PX: Final = 160
"""Pictures are sampled down to about so many pixels a side."""

COLOURLESS: Final = 0.012
"""Chroma of grey and of evenly tinted pictures, at most."""

NIGHT_BELOW: Final = 42.0
DAY_ABOVE: Final = 58.0
"""Median brightness, 0..255; between the two it stays what it was."""

SAME_LOOKS: Final = 2
"""Looks in a row that must say so before another light is believed: lorries fill pictures, too."""

_DARK, _BURNT = 16, 250
_FEWEST = 16


def sample(picture: PictureU8) -> PictureU8:
    """Every so manieth pixel of a picture of any size."""
    step = max(1, max(picture.shape[:2]) // SIDE_PX)
    return picture[::step, ::step]


def chroma(picture: PictureU8) -> float:
    """How far apart the channels are, each by its own mean: 0 in grey and in tinted pictures.

    Dark and burnt-out pixels tell nothing and are left out; where nothing else is there, it is 0.
    """
    pixels = picture.reshape(-1, 3).astype(np.float32)
    brightest = pixels.max(axis=1)
    pixels = pixels[(brightest >= _DARK) & (brightest <= _BURNT)]
    if len(pixels) < _FEWEST:
        return 0.0
    mean = pixels.mean(axis=0)
    if mean.min() < 1.0:  # a lamp of one colour: nothing else can be told
        return 0.0
    even = pixels / mean
    apart = even.max(axis=1) - even.min(axis=1)
    # Noise in the shadows may not look like colour.
    return float(np.average(apart, weights=pixels.mean(axis=1)))


def brightness(picture: PictureU8) -> float:
    """The median, 0..255."""
    return float(np.median(picture.mean(axis=2)))


class LightWatch:
    """One camera's light, one picture after the other."""

    def __init__(self) -> None:
        self.light: Light | None = None
        """None before the first picture."""
        self._other: Light | None = None
        self._looks = 0

    def see(self, picture: PictureU8) -> Light:
        """Judge the next picture."""
        seen = self._judge(sample(picture))
        if self.light is None or seen == self.light:
            self.light, self._looks = seen, 0
            return seen
        self._looks = self._looks + 1 if seen == self._other else 1
        self._other = seen
        if self._looks >= SAME_LOOKS:
            self.light, self._looks = seen, 0
        return self.light

    def _judge(self, picture: PictureU8) -> Light:
        median = brightness(picture)
        was_dark = self.light == "night"
        dark = median < (DAY_ABOVE if was_dark else NIGHT_BELOW)
        # A black picture has no colours either, but no light at all.
        if chroma(picture) < COLOURLESS and picture.max(initial=0) > _DARK:
            return "infrared"
        return "night" if dark else "day"
