"""What happens to cameras, done to good pictures: black, covered, defocused; a street by night."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.demo.clip import render_frames
from alprd.demo.scene import Car

Picture = NDArray[np.uint8]


def _noisy(values: NDArray[np.floating], rng: np.random.Generator, grain: float) -> Picture:
    return np.clip(values + rng.normal(0.0, grain, values.shape), 0, 255).astype(np.uint8)


def capped(picture: Picture, rng: np.random.Generator) -> Picture:
    """A cap on the lens: the black level and noise."""
    return _noisy(np.full(picture.shape, 9.0), rng, 2.0)


def covered(picture: Picture, rng: np.random.Generator) -> Picture:
    """A hand, a sticker or snow: a little light, and nothing of the street."""
    glow = cv2.GaussianBlur(picture, (0, 0), picture.shape[1] / 16).astype(np.float32)
    return _noisy(0.15 * glow + 40.0, rng, 3.0)


def defocused(picture: Picture, rng: np.random.Generator) -> Picture:
    """A lens out of focus: every point is a disc of 2 % of the picture's width, then noise."""
    radius = max(round(picture.shape[1] * 0.01), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    kernel = disc.astype(np.float32) / disc.sum()
    return _noisy(cv2.filter2D(picture, cv2.CV_32F, kernel), rng, 1.0)


def night(width: int, height: int, rng: np.random.Generator, shift: int) -> Picture:
    """An unlit road on which one car comes: two headlights with their glow, and their light."""
    dark = np.full((height, width, 3), 7.0, np.float32)
    left, right = width // 2 - 60 + shift, width // 2 + 60 + shift
    for x in (left, right):
        cv2.circle(dark, (x, height // 2), 11, (255.0, 255.0, 255.0), -1)
    glow = cv2.GaussianBlur(dark, (0, 0), 18.0)
    return _noisy(np.maximum(dark, 1.6 * glow), rng, 3.0)


def rendered_streets(frames: int) -> Iterator[Picture]:
    """The demonstration's street by day, with a car."""
    car = Car(plate="AB12 CDE")
    yield from map(reduced, render_frames((car,), seconds=frames / 2.0, fps=2.0))


def reduced(picture: Picture) -> Picture:
    """As small as pictures are judged: what is done to them then takes no time."""
    return np.asarray(cv2.resize(picture, (640, 360), interpolation=cv2.INTER_AREA), np.uint8)


Damage = Callable[[Picture, np.random.Generator], Picture]

TROUBLES: Mapping[str, Damage] = {"black": capped, "covered": covered, "blurred": defocused}
"""What the watch calls it -> what was done."""
