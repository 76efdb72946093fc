"""A page of the crops that the reader does worst on, rendered: no real plate is on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engines.training.accuracy_data import Image
from engines.training.accuracy_models import Eyes, Published, publish
from engines.training.accuracy_render import Crop, crop

SEED, CROPS, HARM = 24, 4000, 1.7
ACROSS, DOWN = 4, 6
_TILE = (240, 120)
_CAPTION_PX = 40
_GREY, _INK, _RED = (246, 246, 246), (30, 30, 30), (40, 40, 190)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A rendered crop and what was read of it."""

    crop: Crop
    said: Published


def write_worst_page(path: Path, eyes: Eyes, count: int = CROPS) -> None:
    """Half the most confident errors, half the least confident right reads."""
    examples = []
    for number in range(count):
        each = crop(np.random.default_rng((SEED, number)), None, harm=HARM)
        examples.append(Example(crop=each, said=publish(eyes.read(each.image, [each.place])[0])))
    half = ACROSS * DOWN // 2
    wrong = [e for e in examples if e.said.text != e.crop.text]
    right = [e for e in examples if e.said.text == e.crop.text]
    wrong.sort(key=lambda e: (-e.said.confidence, e.crop.text))
    right.sort(key=lambda e: (e.said.confidence, e.crop.text))
    tiles = [_tile(e) for e in (*wrong[:half], *right[:half])]
    blank = np.full_like(tiles[0], _GREY)
    tiles += [blank] * (ACROSS * DOWN - len(tiles))
    rows = [np.hstack(tiles[k : k + ACROSS]) for k in range(0, ACROSS * DOWN, ACROSS)]
    cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _tile(example: Example) -> Image:
    width, height = _TILE
    tile = np.full((height + _CAPTION_PX, width, 3), _GREY, np.uint8)
    image = example.crop.image
    scale = min((width - 8) / image.shape[1], (height - 8) / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = shown
    right = example.said.text == example.crop.text
    lines = (
        (f"is    {example.crop.text}", _INK),
        (
            f"read {example.said.text or '(nothing)'}  {example.said.confidence:.0%}",
            _INK if right else _RED,
        ),
    )
    for number, (text, colour) in enumerate(lines):
        where = (8, height + 14 + 18 * number)
        cv2.putText(tile, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return tile
