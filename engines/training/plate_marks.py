"""What is mistaken for text: seals and stickers between the groups, pictures beside them, small
side letters, frames.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.training.plate_decor import Colour, Image, random_colour, small_text, soft_noise
from engines.training.plate_words import LETTERS, syllables

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _dark_or_light(rng: np.random.Generator) -> Colour:
    return (255.0, 255.0, 255.0) if rng.random() < 0.5 else (10.0, 10.0, 10.0)


def _sticker(
    rng: np.random.Generator, image: Image, x0: int, y0: int, width: int, height: int
) -> None:
    """A coloured rectangle with a month, a year or a serial number."""
    x0, y0 = max(x0, 0), max(y0, 0)
    image[y0 : y0 + height, x0 : x0 + width] = np.array(random_colour(rng, 0, 255), np.float32)
    kind = rng.random()
    if kind < 0.35:
        text = MONTHS[int(rng.integers(12))]
    elif kind < 0.85:
        text = f"{int(rng.integers(1, 99)):02d}"
    else:
        text = f"{LETTERS[int(rng.integers(26))]}{int(rng.integers(10**5, 10**7))}"
    small_text(
        rng,
        image,
        text,
        "sans",
        _dark_or_light(rng),
        (x0 + width / 2, y0 + height / 2),
        height * float(rng.uniform(0.45, 0.75)),
        width * 0.92,
    )


def paint_stickers(
    rng: np.random.Generator, image: Image, text: tuple[float, float, float, float]
) -> None:
    """Month and year stickers in corners, or right beside a short text (its box in parts)."""
    h, w = image.shape[:2]
    if rng.random() < 0.5:
        width, height = int(w * rng.uniform(0.07, 0.14)), int(h * rng.uniform(0.12, 0.24))
        places = []
        if text[0] * w > width * 1.25 + 4:
            places.append(int(text[0] * w - width * rng.uniform(1.1, 1.25)))
        if (1 - text[2]) * w > width * 1.25 + 4:
            places.append(int(text[2] * w + width * rng.uniform(0.1, 0.25)))
        if places:
            y = (text[1] + (text[3] - text[1]) * float(rng.uniform(0.0, 0.7))) * h
            _sticker(rng, image, places[int(rng.integers(len(places)))], int(y), width, height)
            return
    for corner in rng.permutation(4)[: int(rng.integers(1, 3))]:
        sw, sh = int(w * rng.uniform(0.09, 0.15)), int(h * rng.uniform(0.12, 0.2))
        x0 = int(w * 0.02) if corner % 2 == 0 else w - sw - int(w * 0.02)
        y0 = int(h * 0.03) if corner < 2 else h - sh - int(h * 0.03)
        _sticker(rng, image, x0, y0, sw, sh)


def _outline(rng: np.random.Generator, size: float) -> NDArray[np.int32]:
    """A country-like polygon about the origin."""
    count = int(rng.integers(6, 12))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = size * rng.uniform(0.55, 1.0, count)
    return np.round(np.stack((np.cos(angle) * radius, np.sin(angle) * radius * 0.9), -1)).astype(
        np.int32
    )


def paint_seal(
    rng: np.random.Generator, image: Image, cx: float, cy: float, size: float, kinds: str
) -> None:
    """What stands between the groups of a plate; `kinds` are chosen from."""
    names = kinds.split() or ["single", "sticker", "oblate", "arrow", "outline", "pair", "heart"]
    kind = names[int(rng.integers(len(names)))]
    x, y = round(cx), round(cy)
    colour = random_colour(rng, 20, 235)
    if kind == "sticker":
        width = max(int(size * rng.uniform(0.18, 0.36)), 5)
        height = max(int(size * rng.uniform(0.3, 0.62)), 6)
        _sticker(
            rng,
            image,
            x - width // 2,
            round(cy - height / 2 + size * rng.uniform(-0.1, 0.1)),
            width,
            height,
        )
        return
    if kind == "oblate":
        half_w, half_h = size * float(rng.uniform(0.08, 0.13)), size * float(rng.uniform(0.2, 0.36))
        low, high = (
            (round(cx - half_w), round(cy - half_h)),
            (round(cx + half_w), round(cy + half_h)),
        )
        cv2.rectangle(image, low, high, colour, -1, cv2.LINE_AA)
        cv2.rectangle(image, low, high, random_colour(rng, 0, 160), 1, cv2.LINE_AA)
        if rng.random() < 0.6:
            mark = (x, round(cy - half_h * 0.5))
            cv2.circle(image, mark, max(round(half_w * 0.7), 1), _dark_or_light(rng), -1)
        return
    if kind == "arrow":
        length, thick = size * float(rng.uniform(0.14, 0.22)), max(round(size * 0.07), 1)
        tail, tip = (round(cx - length), y), (round(cx + length), y)
        if rng.random() < 0.5:
            tail, tip = tip, tail
        cv2.arrowedLine(image, tail, tip, colour, thick, cv2.LINE_AA, tipLength=0.6)
        return
    if kind in ("outline", "fruit"):
        reach = 0.26 if kind == "outline" else float(rng.uniform(0.4, 0.75))
        shape = _outline(rng, size * reach) + np.array([x, y], np.int32)
        cv2.fillPoly(image, [shape], colour, cv2.LINE_AA)
        if rng.random() < 0.5:
            cv2.polylines(image, [shape], True, random_colour(rng, 0, 200), 1, cv2.LINE_AA)
        return
    if kind == "heart":
        glyph = "\u2665\u2605\u2666\u263c"[int(rng.integers(4))]
        small_text(rng, image, glyph, "sans", colour, (cx, cy), size * 0.5, size)
        return
    discs = [(cy - size * 0.3, 0.23), (cy + size * 0.28, 0.19)] if kind == "pair" else [(cy, 0.2)]
    for middle, share in discs:
        radius = max(int(size * share), 2)
        at = (x, round(middle))
        cv2.circle(image, at, radius, random_colour(rng, 120, 235), -1, cv2.LINE_AA)
        cv2.circle(image, at, max(radius - 2, 1), random_colour(rng, 60, 235), 1, cv2.LINE_AA)
        if rng.random() < 0.7:
            cv2.circle(image, at, max(radius // 2, 1), random_colour(rng, 0, 200), -1, cv2.LINE_AA)


def paint_picture(rng: np.random.Generator, image: Image, x0: int, x1: int) -> None:
    """A picture of nothing in particular between two x: animals, hands, seals, badges are all
    blobs, discs, strokes and a letter or two.
    """
    h = image.shape[0]
    cx, cy = (x0 + x1) / 2, h * float(rng.uniform(0.42, 0.6))
    reach = min((x1 - x0) / 2, h * 0.32)
    if rng.random() < 0.35:  # a roundel
        at = (round(cx), round(cy))
        cv2.circle(image, at, round(reach), random_colour(rng, 0, 255), -1, cv2.LINE_AA)
        ring = max(round(reach * 0.12), 1)
        cv2.circle(image, at, round(reach * 0.85), random_colour(rng, 0, 255), ring, cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 6))):
        colour = random_colour(rng, 0, 255)
        dx, dy = rng.uniform(-0.45, 0.45, 2) * reach
        at = (round(cx + dx), round(cy + dy))
        size = reach * float(rng.uniform(0.2, 0.6))
        kind = rng.random()
        if kind < 0.35:
            axes = (max(round(size), 1), max(round(size * rng.uniform(0.3, 1.0)), 1))
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(image, at, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        elif kind < 0.7:
            cv2.fillPoly(image, [_outline(rng, size) + np.array(at, np.int32)], colour, cv2.LINE_AA)
        elif kind < 0.85:
            end = (round(cx + rng.uniform(-1, 1) * reach), round(cy + rng.uniform(-1, 1) * reach))
            cv2.line(image, at, end, colour, max(round(reach * 0.12), 1), cv2.LINE_AA)
        else:
            word = "".join(LETTERS[int(rng.integers(26))] for _ in range(int(rng.integers(1, 4))))
            small_text(rng, image, word, "caption", colour, at, size * 0.7, reach)


def _words(rng: np.random.Generator) -> str:
    words = [syllables(rng, int(rng.integers(2, 10))) for _ in range(int(rng.integers(1, 4)))]
    text = " ".join(words)
    return text if rng.random() < 0.7 else text.capitalize()


def _wire(rng: np.random.Generator, full: NDArray[np.float32], edge: int) -> None:
    """A frame of links, rope or barbs drawn along the edges."""
    h, w = full.shape[:2]
    radius = max(round(edge * float(rng.uniform(0.5, 0.9))), 2)
    step = radius * float(rng.uniform(1.2, 2.6))
    inset = radius
    across = np.arange(inset, w - inset, step)
    down = np.arange(inset, h - inset, step)
    places = [(x, y) for x in across for y in (inset, h - inset)]
    places += [(x, y) for y in down for x in (inset, w - inset)]
    bright, dark = random_colour(rng, 120, 255), random_colour(rng, 0, 100)
    picture = np.ascontiguousarray(full[..., :3])
    thick = -1 if rng.random() < 0.5 else max(radius // 3, 1)
    for index, (x, y) in enumerate(places):
        at = (round(x + rng.uniform(-1, 1)), round(y + rng.uniform(-1, 1)))
        cv2.circle(picture, at, radius, bright if index % 2 else dark, thick, cv2.LINE_AA)
    full[..., :3] = picture


def add_frame(
    rng: np.random.Generator,
    image: NDArray[np.float32],
    text_y: tuple[float, float],
    text_x: tuple[float, float],
) -> NDArray[np.float32]:
    """A dealer frame (h, w, 4 in and out): grows outwards and covers the plate's edges, one in
    eight even a sliver of the characters' lower or upper edge.
    """
    h, w = image.shape[:2]
    out_top, out_bottom, out_side = (int(h * v) for v in rng.uniform(0.02, [0.2, 0.26, 0.07]))
    grey = float(rng.choice([12, 25, 40, 150, 200]))
    colour = np.array([grey] * 3 if rng.random() < 0.8 else random_colour(rng, 0, 255), np.float32)
    sliver = (text_y[1] - text_y[0]) * float(rng.uniform(0.0, 0.07))
    deep = rng.random() < 0.12
    cover_top = int(min(max(text_y[0] - 0.02, 0.0), 0.3) * h * rng.uniform(0, 1))
    cover_bottom = int(min(max(1 - text_y[1] - 0.02, 0.0), 0.3) * h * rng.uniform(0, 1))
    if deep and rng.random() < 0.75:
        cover_bottom = int(min(max(1 - text_y[1] + sliver, 0.0), 0.4) * h)
    elif deep:
        cover_top = int(min(max(text_y[0] + sliver * 0.6, 0.0), 0.4) * h)
    cover_side = int(
        min(max(min(text_x[0], 1 - text_x[1]) - 0.01, 0.0), 0.05) * w * rng.uniform(0, 0.9)
    )
    full = np.empty((h + out_top + out_bottom, w + 2 * out_side, 4), np.float32)
    full[..., :3] = colour + soft_noise(rng, full.shape[0], full.shape[1], 4)[..., None] * 12
    full[..., 3] = 255
    top, left = out_top + cover_top, out_side + cover_side
    if rng.random() < 0.1:
        _wire(rng, full, max(out_side + cover_side, 5))
    inner = image[cover_top : h - cover_bottom, cover_side : w - cover_side]
    full[top : top + inner.shape[0], left : left + inner.shape[1], :3] = inner[..., :3]
    bright = 255.0 if colour.mean() < 110 else 20.0
    ink: Colour = (bright, bright, bright) if rng.random() < 0.7 else random_colour(rng, 0, 255)
    for y0, y1, chance in (
        (0, top, 0.5),
        (full.shape[0] - out_bottom - cover_bottom, full.shape[0], 0.8),
    ):
        if y1 - y0 >= 7 and rng.random() < chance:
            picture = np.ascontiguousarray(full[..., :3])
            small_text(
                rng,
                picture,
                _words(rng),
                "caption",
                ink,
                (full.shape[1] / 2, (y0 + y1) / 2),
                (y1 - y0) * float(rng.uniform(0.5, 0.75)),
                w * 0.85,
            )
            full[..., :3] = picture
    return full
