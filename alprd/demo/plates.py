"""Plates to scale: a coloured board with a border, a country band and stroke-drawn characters."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.demo.glyphs import render_text

ColourBGR = tuple[int, int, int]

PX_PER_MM = 2.0
_BORDER_MM = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateStyle:
    """What a plate looks like apart from its text; lengths in millimetres."""

    width_mm: float = 520.0
    height_mm: float = 110.0
    letter_mm: float = 75.0
    ground: ColourBGR = (245, 245, 245)
    ink: ColourBGR = (25, 20, 20)
    band: ColourBGR | None = None


WHITE_EU = PlateStyle(band=(153, 51, 0))
WHITE_UK = PlateStyle()
YELLOW_UK = PlateStyle(ground=(0, 205, 250))
SQUARE = PlateStyle(width_mm=305.0, height_mm=152.0, letter_mm=72.0, ground=(235, 240, 240))


def render_plate(text: str, style: PlateStyle) -> NDArray[np.uint8]:
    """Draw a plate.

    Args:
        text: A-Z, 0-9 and spaces; what is too wide for the board is condensed.
        style: size and colours.

    Returns:
        (height_mm * PX_PER_MM, width_mm * PX_PER_MM, 3) uint8 BGR.

    Raises:
        ValueError: `text` has a character that cannot be drawn.
    """
    width, height = round(style.width_mm * PX_PER_MM), round(style.height_mm * PX_PER_MM)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = style.ground
    border = round(_BORDER_MM * PX_PER_MM)
    cv2.rectangle(
        image, (border, border), (width - border, height - border), style.ink, border // 2
    )
    left = border * 2
    if style.band is not None:
        left = round(45 * PX_PER_MM)
        cv2.rectangle(image, (border, border), (left, height - border), style.band, cv2.FILLED)
        centre = ((border + left) // 2, round(height * 0.36))
        cv2.circle(image, centre, round(12 * PX_PER_MM), (0, 204, 255), max(1, round(PX_PER_MM)))
    letters = render_text(text, round(style.letter_mm * PX_PER_MM))
    room = width - left - border * 4
    if letters.shape[1] > room:
        size = (room, letters.shape[0])
        letters = cv2.resize(letters, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    y0 = (height - letters.shape[0]) // 2
    x0 = left + border + (width - left - border * 2 - letters.shape[1]) // 2
    patch = image[y0 : y0 + letters.shape[0], x0 : x0 + letters.shape[1]].astype(np.float32)
    mixed = patch + (np.array(style.ink, np.float32) - patch) * letters[..., None]
    image[y0 : y0 + letters.shape[0], x0 : x0 + letters.shape[1]] = np.round(mixed).astype(np.uint8)
    return image
