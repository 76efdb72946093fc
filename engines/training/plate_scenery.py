"""The pictures that a state prints behind its plates, drawn from data: skies that fade, ridges,
strips, suns, arches, rainbows, trees.

A design's `scenery` is a list of tables: `kind`, one `colour` or several, places in parts of the
plate's width (x) and height (y), `chance`. Everything is moved and thinned a little, so that no
plate looks like another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from engines.training.plate_decor import Image, blend, colour_of, random_colour
from engines.training.plate_designs import Design

STROKES = 24
"""Points along a ridge."""


def _faded(
    rng: np.random.Generator, item: Mapping[str, Any], h: int, w: int, strength: float
) -> Image:
    """Full colour at `start`, none at `end`; along y, or along x where `along` says so."""
    sideways = item.get("along", "y") == "x"
    start, end = float(item["start"]), float(item["end"])
    end += float(rng.uniform(-0.06, 0.06))
    at = np.linspace(0, 1, w if sideways else h, dtype=np.float32)
    line = np.clip((end - at) / (end - start if abs(end - start) > 1e-3 else 1e-3), 0, 1)
    line = np.where((at - start) * (end - start) < 0, 1.0, line) * strength
    return np.repeat(line[None, :], h, 0) if sideways else np.repeat(line[:, None], w, 1)


def _ridge(
    rng: np.random.Generator, item: Mapping[str, Any], h: int, w: int, strength: float
) -> Image:
    """What lies below a mountain line at `y`, or above it (`side` = "above"), down to `until`."""
    y, rough = float(item["y"]) + float(rng.uniform(-0.04, 0.04)), float(item.get("rough", 0.06))
    above = item.get("side", "below") == "above"
    until = float(item.get("until", 0.0 if above else 1.0))
    peaks = rng.uniform(-1, 1, STROKES) * rough
    peaks[::2] *= 0.3  # valleys between peaks
    line = [(w * k / (STROKES - 1), h * (y + peaks[k])) for k in range(STROKES)]
    points = np.array([*line, (w, until * h), (0, until * h)], np.float32)
    mask = np.zeros((h, w), np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], strength, cv2.LINE_AA)
    return mask


def paint_scenery(rng: np.random.Generator, image: Image, item: Mapping[str, Any]) -> None:
    """One table of a design's scenery: fade, ridge, bar, disc, arch, rainbow or tree."""
    if rng.random() > float(item.get("chance", 1.0)):
        return
    h, w = image.shape[:2]
    kind = str(item["kind"])
    colours = item["colour"]
    names = [colours] if isinstance(colours, str) else list(colours)
    strength = float(rng.uniform(0.7, 1.0)) * float(item.get("strength", 1.0))
    dx, dy = rng.uniform(-0.02, 0.02, 2)
    x, y = float(item.get("x", 0.5)) + dx, float(item.get("y", 0.5)) + dy
    size = float(item.get("size", 0.3)) * h * float(rng.uniform(0.85, 1.15))
    centre = (round(x * w), round(y * h))
    if kind == "rainbow":
        for k, name in enumerate(names):
            mask = np.zeros((h, w), np.float32)
            radius = max(round(size - k * size * 0.07), 2)
            cv2.circle(mask, centre, radius, strength, max(round(size * 0.07), 1), cv2.LINE_AA)
            blend(image, mask, colour_of(name), 0, 0)
        return
    colour = colour_of(names[int(rng.integers(len(names)))])
    if kind == "fade":
        mask = _faded(rng, item, h, w, strength)
    elif kind == "ridge":
        mask = _ridge(rng, item, h, w, strength)
    else:
        mask = np.zeros((h, w), np.float32)
        if kind == "bar":
            low = (round(float(item.get("x0", 0.0)) * w), round((float(item["y0"]) + dy / 2) * h))
            high = (round(float(item.get("x1", 1.0)) * w), round((float(item["y1"]) + dy / 2) * h))
            cv2.rectangle(mask, low, high, strength, -1)
        elif kind == "disc":
            cv2.circle(mask, centre, max(round(size), 1), strength, -1, cv2.LINE_AA)
        elif kind == "arch":
            axes = (max(round(size * 0.55), 2), max(round(size), 2))
            thick = max(round(size * 0.32), 2)
            cv2.ellipse(mask, centre, axes, 0, 180, 360, strength, thick, cv2.LINE_AA)
        elif kind == "tree":
            spread = size * 0.45
            for step in range(4):
                top = centre[1] - size * (1 - step * 0.42)
                reach, low_y = spread * (0.4 + 0.2 * step), top + size * 0.62
                points = [(centre[0], top), (centre[0] + reach, low_y), (centre[0] - reach, low_y)]
                cv2.fillPoly(mask, [np.round(points).astype(np.int32)], strength, cv2.LINE_AA)
        else:
            raise ValueError(
                f"scenery of kind {kind!r}: known are fade ridge bar disc arch rainbow tree"
            )
    blend(image, mask, colour, 0, 0)


def special(rng: np.random.Generator, design: Design) -> Design:
    """An optional plate of the same state: any ground, any picture; only the state's name stays."""
    name = dict(design.captions[0])
    for key in ("strip", "colour", "font"):
        name.pop(key, None)
    name["font"] = ("caption", "caption", "sans", "highway", "script")[int(rng.integers(5))]
    name["height"] = float(rng.uniform(0.09, 0.15))
    name["chance"] = 1.0
    below = rng.random() < 0.15
    name["y"] = float(rng.uniform(0.88, 0.91)) if below else float(rng.uniform(0.11, 0.15))
    name["width"] = 0.66
    captions = [name]
    if rng.random() < 0.35:
        shade = tuple(round(v) for v in random_colour(rng, 0, 255))
        name["colour"] = "#{:02x}{:02x}{:02x}".format(*shade)
    if design.special_words and not below and rng.random() < 0.75:
        captions.append({"at": "bottom", "text": design.special_words, "height": 0.08, "y": 0.91})
    grounds = design.special_colours or design.colours
    return dataclasses.replace(
        design,
        colours=grounds,
        captions=tuple(captions),
        scenery=(),
        graphics=(("fade", "hills", "blotch", "sun", "slope", "stripes")[int(rng.integers(6))],),
        picture=0.55,
        vanity=0.6,
        pale=0.08,
    )
