"""What surrounds a plate's text: backgrounds, bands, captions, stickers, bolts, dealer frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.training import fonts

Image = NDArray[np.float32]  # (h, w, 3) RGB 0..255
Colour = tuple[float, float, float]


def colour_of(value: str) -> Colour:
    """ "#rrggbb" -> RGB."""
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def blend(image: Image, mask: NDArray[np.float32], colour: Colour, x: int, y: int) -> None:
    """Paint a colour through a mask placed at (x, y), clipped to the image."""
    h, w = mask.shape
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, image.shape[1]), min(y + h, image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    part = mask[y0 - y : y1 - y, x0 - x : x1 - x, None]
    view = image[y0:y1, x0:x1]
    view += part * (np.array(colour, np.float32) - view)


def soft_noise(
    rng: np.random.Generator, height: int, width: int, cells: int
) -> NDArray[np.float32]:
    """Smooth noise in -1..1 with about `cells` bumps across."""
    coarse = rng.uniform(-1, 1, (max(2, cells * height // max(width, 1) + 2), cells + 1)).astype(
        np.float32
    )
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def random_colour(rng: np.random.Generator, low: float = 60, high: float = 255) -> Colour:
    return tuple(float(v) for v in rng.uniform(low, high, 3))  # type: ignore[return-value]


def paint_graphic(rng: np.random.Generator, image: Image, kind: str) -> None:
    """A background picture: gradient, hills, sun, blotches or stripes, weak enough for text to
    stand on.
    """
    h, w = image.shape[:2]
    ys = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    tint = np.array(random_colour(rng, 90, 255), np.float32)
    strength = float(rng.uniform(0.25, 0.8))
    if kind == "fade":  # colour at top and bottom, pale in the middle
        amount = np.clip(np.abs(ys - rng.uniform(0.35, 0.6)) * 2 - rng.uniform(0.1, 0.5), 0, 1)
        mask = np.repeat(amount * strength, w, axis=1)
    elif kind == "slope":
        mask = np.repeat((ys if rng.random() < 0.5 else 1 - ys) * strength, w, axis=1)
    elif kind == "hills":
        xs = np.linspace(0, float(rng.uniform(4, 12)), w, dtype=np.float32)
        ridge = (
            rng.uniform(0.35, 0.75)
            + 0.08 * np.sin(xs + rng.uniform(0, 6))
            + 0.05 * np.sin(2.7 * xs)
        )
        mask = (ys > ridge[None, :]).astype(np.float32) * strength
    elif kind == "sun":
        cx, cy, r = rng.uniform(0.2, 0.8) * w, rng.uniform(0.2, 1.0) * h, rng.uniform(0.2, 0.6) * h
        mask = np.zeros((h, w), np.float32)
        cv2.circle(mask, (int(cx), int(cy)), int(r), strength, -1, cv2.LINE_AA)
    elif kind == "blotch":
        mask = np.clip(soft_noise(rng, h, w, int(rng.integers(3, 9))) * 1.5, 0, 1) * strength
    else:  # "stripes"
        period = float(rng.uniform(0.1, 0.5)) * h
        slant = float(rng.uniform(-1, 1))
        phase = (
            np.arange(w, dtype=np.float32)[None, :]
            + slant * np.arange(h, dtype=np.float32)[:, None]
        ) / period
        mask = (np.sin(phase * 2 * np.pi) > 0.3).astype(np.float32) * strength * 0.6
    image += mask[..., None] * (tint - image)


def small_text(
    rng: np.random.Generator,
    image: Image,
    text: str,
    family: str,
    colour: Colour,
    centre: tuple[float, float],
    cap_px: float,
    max_width_px: float,
) -> None:
    """An inscription of any kind, centred."""
    face = fonts.choose_face(rng, family)
    items = ["_0.35" if char == " " else char for char in text]
    mask, _ = fonts.set_line(
        face, items, max(cap_px, 3.0), max_width_px, float(rng.uniform(0.0, 0.12))
    )
    blend(
        image,
        mask,
        colour,
        round(centre[0] - mask.shape[1] / 2),
        round(centre[1] - cap_px / 2 - cap_px * fonts.PAD_TOP),
    )


def paint_band(
    rng: np.random.Generator, image: Image, band: Mapping[str, Any], x0: int, x1: int
) -> None:
    """A vertical band: EU stars or a flag above the country letters."""
    h = image.shape[0]
    inset = int(h * 0.03)
    if band.get("colour") != "none":
        background = colour_of(band.get("colour", "#003399"))
        image[inset : h - inset, x0:x1] = np.array(background, np.float32) + rng.uniform(-12, 12)
    cx, width = (x0 + x1) / 2, x1 - x0
    ink = colour_of(band.get("ink", "#ffffff"))
    if band.get("stars", False):
        for k in range(12):
            a = k * np.pi / 6
            centre = (
                round(cx + np.cos(a) * width * 0.28),
                round(h * 0.3 + np.sin(a) * width * 0.28),
            )
            cv2.circle(
                image, centre, max(round(width * 0.045), 1), (250.0, 210.0, 20.0), -1, cv2.LINE_AA
            )
    for stripe, value in enumerate(band.get("flag", [])):
        y0 = h * (0.18 + 0.09 * stripe)
        cv2.rectangle(
            image,
            (round(cx - width * 0.3), round(y0)),
            (round(cx + width * 0.3), round(y0 + h * 0.09)),
            colour_of(value),
            -1,
        )
    if band.get("text"):
        choices = band["text"] if isinstance(band["text"], tuple | list) else [band["text"]]
        text = choices[int(rng.integers(len(choices)))]
        y, cap = h * float(band.get("text_y", 0.76)), h * float(band.get("text_height", 0.17))
        if band.get("stack", False):  # one letter under another
            for place, char in enumerate(text):
                at = y + (place - (len(text) - 1) / 2) * cap * 1.35
                small_text(rng, image, char, "sans", ink, (cx, at), cap, width * 0.8)
        else:
            small_text(rng, image, text, "sans", ink, (cx, y), cap, width * 0.8)


def paint_caption(
    rng: np.random.Generator, image: Image, caption: Mapping[str, Any], default: Colour
) -> None:
    """State name, slogan or dealer line above or below the text."""
    if rng.random() > caption.get("chance", 1.0):
        return
    h, w = image.shape[:2]
    choices = caption["text"]
    text = choices[int(rng.integers(len(choices)))]
    colour = colour_of(caption["colour"]) if "colour" in caption else default
    height = float(caption.get("height", 0.12)) * float(rng.uniform(0.9, 1.15))
    y = float(caption.get("y", 0.12 if caption["at"] == "top" else 0.9)) + float(
        rng.uniform(-0.01, 0.01)
    )
    if "strip" in caption:
        y0, y1 = round((y - height) * h), round((y + height) * h)
        image[max(y0, 0) : max(y1, 0)] = np.array(colour_of(caption["strip"]), np.float32)
    small_text(
        rng,
        image,
        text,
        caption.get("font", "caption"),
        colour,
        (w * (float(caption.get("x", 0.5)) + float(rng.uniform(-0.02, 0.02))), y * h),
        height * h,
        w * float(caption.get("width", 0.6)),
    )


def paint_bolts(rng: np.random.Generator, image: Image, clear: tuple[float, float]) -> None:
    """Screw heads near the edges, mirrored; `clear` = y range (parts) taken by the text where
    they may also sit.
    """
    h, w = image.shape[:2]
    radius = max(int(h * rng.uniform(0.025, 0.055)), 2)
    dx = w * rng.uniform(0.03, 0.3)
    y = h * (rng.uniform(0.07, max(clear[0], 0.1)) if rng.random() < 0.7 else rng.uniform(0.3, 0.7))
    if 0.25 < y / h < 0.75:
        dx = w * rng.uniform(0.015, 0.03)
    colour = (
        random_colour(rng, 20, 220) if rng.random() < 0.3 else (float(rng.uniform(20, 230)),) * 3
    )
    rows = [y] if rng.random() < 0.6 else [y, h - y]
    for row in rows:
        for x in (dx, w - dx):
            cv2.circle(image, (round(x), round(row)), radius, colour, -1, cv2.LINE_AA)
            cv2.circle(
                image,
                (round(x + 1), round(row + 1)),
                max(radius - 2, 1),
                tuple(c * 0.7 for c in colour),
                1,
                cv2.LINE_AA,
            )
