"""Flat licence plates, drawn from designs held as data.

`render_plate` is what both trainings and the demonstration use. It is deterministic in its
generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.training import fonts, plate_decor, plate_marks, plate_scenery
from engines.training.plate_designs import (
    Design,
    choose_design,
    draw_text,
    load_designs,
    plain,
)
from engines.training.plate_words import without_twins

__all__ = ["Design", "FlatPlate", "load_designs", "render_plate"]

PX_PER_MM = 0.95
SEPARATORS = {"-": "-", ".": ".", "+": "\N{MIDDLE DOT}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPlate:
    """A plate seen straight on: image (h, w, 4) uint8 RGBA; text without separators, top line
    first.
    """

    image: NDArray[np.uint8]
    text: str
    lines: int
    design: str
    region: str


def _items(line: str, gap: float) -> tuple[list[str], list[int]]:
    """Layout items of a line, and the indices of items that are seals."""
    items: list[str] = []
    seals: list[int] = []
    for char in line:
        if char == " ":
            items.append(f"_{gap:.3f}")
        elif char == "~":
            items.append(f"_{gap * 0.4:.3f}")
        elif char == "*":
            seals.append(len(items))
            items.append("_0.450")
        else:
            items.append(SEPARATORS.get(char, char))
    return items, seals


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the text: its place in px and the room it has."""

    text: str
    cap: float
    top: float
    middle_x: float
    room: float


def _rows(
    rng: np.random.Generator, design: Design, text: str, h: int, left: int, right: int
) -> list[_Row]:
    """The lines of a text between two x, placed."""
    width = right - left
    room = width * (design.text_x[1] - design.text_x[0])
    x_mid = left + width * (design.text_x[0] + design.text_x[1]) / 2
    block = float(rng.uniform(*design.text_height)) * h
    y = design.text_y * h - block / 2
    if "^" in text:  # two short lines, and the number large beside them
        first, second, beside = text.split("^")
        part, cap = float(rng.uniform(0.3, 0.45)) * room, block * float(rng.uniform(0.36, 0.44))
        start = x_mid - room / 2
        return [
            _Row(first, cap, y, start + part / 2, part),
            _Row(second, cap, y + block - cap, start + part / 2, part),
            _Row(
                beside,
                block * 0.92,
                y + block * 0.04,
                start + part + (room - part) * 0.53,
                (room - part) * float(rng.uniform(0.8, 0.94)),
            ),
        ]
    lines = text.split("|")
    if len(lines) == 1:
        return [_Row(text, block, y, x_mid, room)]
    share = design.line_heights
    caps = [block * part / sum(share) * 0.86 for part in share]
    return [
        _Row(lines[0], caps[0], y, x_mid, room),
        _Row(lines[1], caps[1], y + block - caps[1], x_mid, room),
    ]


def _draw_text(
    rng: np.random.Generator,
    design: Design,
    image: NDArray[np.float32],
    ink: plate_decor.Colour,
    rows: list[_Row],
    face: fonts.Face,
) -> tuple[float, float, float, float]:
    """Draw the main text; returns its box in parts of the plate (x0, y0, x1, y1)."""
    h, w = image.shape[:2]
    tracking = float(rng.uniform(*design.tracking))
    wear = float(rng.uniform(0, 0.3)) if rng.random() < 0.3 else 0.0
    full = np.zeros((h, w), np.float32)
    box = [1.0, 1.0, 0.0, 0.0]
    for row in rows:
        cap, room = row.cap, row.room
        items, seals = _items(row.text, design.gap * float(rng.uniform(0.8, 1.2)))
        mask, spans = fonts.set_line(face, items, cap, room, tracking, cell=design.cell)
        if mask.shape[1] < room * 0.9 and design.fill and len(items) > 2:
            extra = (
                (room * 0.9 - mask.shape[1])
                / (len(items) - 1)
                / cap
                * design.fill
                * float(rng.uniform(0.0, 1.0))
            )
            mask, spans = fonts.set_line(
                face, items, cap, room, min(tracking + extra, 0.45), cell=design.cell
            )
        x0, y0 = round(row.middle_x - mask.shape[1] / 2), round(row.top - cap * fonts.PAD_TOP)
        plane = np.zeros((h, w, 1), np.float32)
        plate_decor.blend(plane, mask, (1.0, 1.0, 1.0)[:1], x0, y0)  # type: ignore[arg-type]
        np.maximum(full, plane[..., 0], out=full)
        for item in seals:
            centre = x0 + sum(spans[item]) / 2
            plate_marks.paint_seal(rng, image, centre, row.top + cap / 2, cap, design.seal)
        box = [
            min(box[0], x0 / w),
            min(box[1], row.top / h),
            max(box[2], (x0 + mask.shape[1]) / w),
            max(box[3], (row.top + cap) / h),
        ]
    if wear and rng.random() < 0.5:
        full *= 1 - wear * np.clip(plate_decor.soft_noise(rng, h, w, 12) + 0.3, 0, 1)
    elif wear:
        full *= 1 - wear
    image += full[..., None] * (np.array(ink, np.float32) - image)
    if rng.random() < design.emboss:
        shift = float(rng.choice([1.0, 1.5, 2.0]))
        lit = cv2.warpAffine(full, np.array([[1, 0, -shift], [0, 1, -shift]], np.float32), (w, h))
        dark = cv2.warpAffine(full, np.array([[1, 0, shift], [0, 1, shift]], np.float32), (w, h))
        image += (lit - dark)[..., None] * float(rng.uniform(-55, 75))
    return box[0], box[1], box[2], box[3]


def _border(
    rng: np.random.Generator, design: Design, image: NDArray[np.float32], colour: plate_decor.Colour
) -> None:
    h, w = image.shape[:2]
    thick = max(round(float(rng.uniform(*design.border_mm)) * PX_PER_MM), 1)
    inset = int(rng.integers(1, 4))
    radius = max(int(design.radius_mm * PX_PER_MM) - inset, 1)
    mask = np.zeros((h, w), np.float32)
    for shrink, value in ((inset, 1.0), (inset + thick, 0.0)):
        r = max(radius - (shrink - inset), 1)
        x0, y0, x1, y1 = shrink, shrink, w - 1 - shrink, h - 1 - shrink
        cv2.rectangle(mask, (x0 + r, y0), (x1 - r, y1), value, -1)
        cv2.rectangle(mask, (x0, y0 + r), (x1, y1 - r), value, -1)
        for cx, cy in ((x0 + r, y0 + r), (x1 - r, y0 + r), (x0 + r, y1 - r), (x1 - r, y1 - r)):
            cv2.circle(mask, (cx, cy), r, value, -1, cv2.LINE_AA)
    plate_decor.blend(image, mask, colour, 0, 0)


def _corner_alpha(h: int, w: int, radius: int) -> NDArray[np.float32]:
    alpha = np.zeros((h, w), np.float32)
    radius = min(radius, h // 3)
    cv2.rectangle(alpha, (radius, 0), (w - 1 - radius, h - 1), 255.0, -1)
    cv2.rectangle(alpha, (0, radius), (w - 1, h - 1 - radius), 255.0, -1)
    for cx, cy in (
        (radius, radius),
        (w - 1 - radius, radius),
        (radius, h - 1 - radius),
        (w - 1 - radius, h - 1 - radius),
    ):
        cv2.circle(alpha, (cx, cy), radius, 255.0, -1, cv2.LINE_AA)
    return alpha


def _tags(
    rng: np.random.Generator, design: Design, image: NDArray[np.float32], ink: plate_decor.Colour
) -> None:
    h, w = image.shape[:2]
    for tag in design.tags:
        if rng.random() > tag.get("chance", 1.0):
            continue
        colour = plate_decor.colour_of(tag["colour"]) if "colour" in tag else ink
        choices = tag["text"]
        plate_decor.small_text(
            rng,
            image,
            choices[int(rng.integers(len(choices)))],
            tag.get("font", "sans"),
            colour,
            (tag["x"] * w, tag["y"] * h),
            tag.get("height", 0.12) * h,
            tag.get("width", 0.3) * w,
        )


def render_plate(rng: np.random.Generator, design: Design | None = None) -> FlatPlate:
    """Draw one plate: of the given design, or of one chosen by weight."""
    design = choose_design(rng) if design is None else design
    if rng.random() < design.special:
        design = plate_scenery.special(rng, design)
    text, bound = draw_text(rng, design)
    family = design.fonts[int(rng.integers(len(design.fonts)))]
    face = fonts.choose_face(rng, family, distinct=not bound and bool(rng.random() < 0.8))
    if not bound and fonts.twins(face):
        text = without_twins(text)
    stretch = 1 + float(rng.uniform(-design.size_jitter, design.size_jitter)) * 2
    w, h = round(design.size_mm[0] * PX_PER_MM * stretch), round(design.size_mm[1] * PX_PER_MM)
    free = design.region == "unknown" and design.colours == ("random",)
    if free:
        back, ink = _random_pair(rng)
        edge = ink
    else:
        parts = design.colours[int(rng.integers(len(design.colours)))].split("/")
        back, ink = plate_decor.colour_of(parts[0]), plate_decor.colour_of(parts[1])
        edge = plate_decor.colour_of(parts[2]) if len(parts) > 2 else ink
    if rng.random() < design.pale:
        ink = _pale(rng, back, ink)
    jitter = rng.normal(0, 6, 3)
    image = np.empty((h, w, 3), np.float32)
    image[:] = np.array(back, np.float32) + jitter.astype(np.float32)
    image += plate_decor.soft_noise(rng, h, w, 4)[..., None] * float(rng.uniform(0, 8))
    for item in design.scenery:
        plate_scenery.paint_scenery(rng, image, item)
    for kind in design.graphics:
        if rng.random() < 0.75:
            plate_decor.paint_graphic(rng, image, kind)
    for caption in design.captions:
        plate_decor.paint_caption(rng, image, caption, ink)
    left, right = 0, w
    for band in design.bands:
        if rng.random() > band.get("chance", 1.0):
            continue
        width = round(band["width"] * w)
        if band.get("side", "left") == "left":
            plate_decor.paint_band(rng, image, band, left, left + width)
            left += width
        else:
            plate_decor.paint_band(rng, image, band, right - width, right)
            right -= width
    _tags(rng, design, image, ink)
    if rng.random() < design.picture:
        wide = round((right - left) * float(rng.uniform(0.16, 0.28)))
        if rng.random() < 0.75:
            plate_marks.paint_picture(rng, image, left + round(0.02 * w), left + wide)
            left += wide
        else:
            plate_marks.paint_picture(rng, image, right - wide, right - round(0.02 * w))
            right -= wide
    rows = _rows(rng, design, text, h, left, right)
    box = _draw_text(rng, design, image, ink, rows, face)
    if rng.random() < design.border:
        _border(rng, design, image, edge)
    if rng.random() < design.stickers:
        plate_marks.paint_stickers(rng, image, box)
    if rng.random() < design.bolts:
        plate_decor.paint_bolts(rng, image, (box[1] * 0.8, box[3]))
    full = np.dstack([image, _corner_alpha(h, w, int(design.radius_mm * PX_PER_MM))])
    if rng.random() < design.frame:
        full = plate_marks.add_frame(rng, full, (box[1], box[3]), (box[0], box[2]))
    return FlatPlate(
        image=np.clip(full, 0, 255).astype(np.uint8),
        text=plain(text),
        lines=2 if "|" in text or "^" in text else 1,
        design=design.id,
        region=design.region,
    )


def _pale(
    rng: np.random.Generator, back: plate_decor.Colour, ink: plate_decor.Colour
) -> plate_decor.Colour:
    """The ink moved towards the ground it stands on."""
    share = float(rng.uniform(0.25, 0.55))
    r, g, b = (low + (high - low) * share for low, high in zip(back, ink, strict=True))
    return r, g, b


def _random_pair(rng: np.random.Generator) -> tuple[plate_decor.Colour, plate_decor.Colour]:
    """Background and text colours far enough apart to read."""
    while True:
        back, ink = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
        if rng.random() < 0.5:
            ink[:] = rng.choice([10, 245])
        luma = np.array([0.3, 0.59, 0.11])
        if abs(float(back @ luma - ink @ luma)) > 70:
            return tuple(map(float, back)), tuple(map(float, ink))  # type: ignore[return-value]
