"""Faces for rendered plates: font files found in a list of folders, and a parametric stroke
alphabet.

A plate's real alphabet is seldom free to use, so a face is varied (stretch, weight, corner
radius, glyph variants) until the net cannot depend on any one of them. Every glyph is a float
mask on a canvas of the same height: capital height ``CAP_PX`` with ``PAD_TOP``/``PAD_BOTTOM`` of
room above and below for tails and accents.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tomllib
from PIL import Image, ImageDraw, ImageFont

from engines.training.stroke_font import (
    BROAD_ZERO,
    CANVAS_PX,
    CAP_PX,
    DESIGNS,
    NARROW_ZEROS,
    PAD_TOP,
    PLAIN_I,
    PLAIN_ONE,
    SLASHED_ZERO,
    Mask,
    alphabet,
    stroke_glyph,
)

FALLBACK = "strokes"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSpec:
    """One entry of a family in fonts.toml."""

    file: str
    stretch: tuple[float, float]
    weight: tuple[float, float]
    serif_i: float = 0.15  # how often a font file's I gets bars at top and bottom
    glyphs: tuple[tuple[str, tuple[int, ...]], ...] = ()  # strokes: variants to choose from


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face with every choice made, so that one plate is set in one alphabet."""

    file: str
    stretch: float
    weight: float  # strokes: stroke width / cap height; font file: change of it
    radius: float  # corner radius of strokes, parts of the narrower side
    flat: bool  # strokes: ends cut flat instead of round
    variants: tuple[tuple[str, int], ...]  # strokes: glyph variant by character
    slash_zero: bool
    serif_i: float = 0.0  # font file: width of the bars on I, parts of the cap height


def font_dirs() -> list[Path]:
    """Folders searched for font files, from ALPRD_FONT_DIRS (colon separated) or the usual
    places.
    """
    given = os.environ.get("ALPRD_FONT_DIRS")
    if given:
        return [Path(entry) for entry in given.split(os.pathsep) if entry]
    shared = DESIGNS.parents[2].parent / "shared" / "data" / "fonts"
    return [Path("/usr/share/fonts"), shared]


@functools.cache
def _font_files(dirs: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in dirs:
        for path in sorted(Path(entry).rglob("*")):
            if path.suffix.lower() in (".ttf", ".otf"):
                found.setdefault(path.name, path)
    return found


def find_font(name: str) -> Path | None:
    """The file of that name in the font folders, or None."""
    return _font_files(tuple(str(entry) for entry in font_dirs())).get(name)


@functools.cache
def _warn_missing(name: str) -> None:
    warnings.warn(
        f"font {name} not found in {[str(d) for d in font_dirs()]}: "
        "using the stroke alphabet instead; "
        "install the Debian packages named in engines/training/README.md or set ALPRD_FONT_DIRS",
        stacklevel=3,
    )


@functools.cache
def families() -> dict[str, tuple[FaceSpec, ...]]:
    """Families of fonts.toml by name, with "any" holding every face of every text family."""
    data = tomllib.loads((DESIGNS / "fonts.toml").read_text(encoding="utf-8"))["family"]
    table = {
        name: tuple(
            FaceSpec(
                file=e["file"],
                stretch=tuple(e["stretch"]),
                weight=tuple(e["weight"]),
                serif_i=e.get("serif_i", 0.15),
                glyphs=tuple((char, tuple(few)) for char, few in e.get("glyphs", {}).items()),
            )
            for e in entries
        )
        for name, entries in data.items()
    }
    text = [
        spec for name, specs in table.items() if name not in ("caption", "script") for spec in specs
    ]
    table["any"] = tuple(text)
    return table


def twins(face: Face) -> bool:
    """Whether 1 and I, or 0 and O, are one glyph: then only a format tells them apart."""
    if face.file != FALLBACK:
        return False
    chosen = dict(face.variants)
    bars = chosen["1"] == PLAIN_ONE and chosen["I"] == PLAIN_I
    return bars or chosen["0"] == BROAD_ZERO


def _variants(
    rng: np.random.Generator, spec: FaceSpec, *, slash: bool, distinct: bool
) -> tuple[tuple[str, int], ...]:
    few = dict(spec.glyphs)
    chosen = {}
    for char, options in alphabet()[0].items():
        allowed = few.get(char, tuple(range(len(options))))
        chosen[char] = allowed[int(rng.integers(len(allowed)))]
    narrow = NARROW_ZEROS[int(rng.integers(len(NARROW_ZEROS)))]
    if slash:
        chosen["0"] = SLASHED_ZERO
    elif distinct or chosen["0"] == SLASHED_ZERO:
        chosen["0"] = narrow
    if distinct and chosen["1"] == PLAIN_ONE and chosen["I"] == PLAIN_I:
        chosen["I"] = 1 + int(rng.integers(2))
    return tuple(chosen.items())


ARABIC = 0xFB50
"""From here on are letters as they are shaped inside Arabic words."""


def choose_face(rng: np.random.Generator, family: str, *, distinct: bool = True) -> Face:
    """Draw one face of a family. One plate in seven borrows the stroke alphabet whatever the
    family. `distinct` = 1 and I, 0 and O must differ, for no format tells them apart.
    """
    specs = families()[family]
    spec = specs[int(rng.integers(len(specs)))]
    name = spec.file
    stretch = float(rng.uniform(*spec.stretch))
    weight = float(rng.uniform(*spec.weight))
    borrowed = family not in ("caption", "script", "fe") and rng.random() < 1 / 7
    if name != FALLBACK and (borrowed or find_font(name) is None):
        if find_font(name) is None:
            _warn_missing(name)
        name, stretch, weight = (
            FALLBACK,
            float(rng.uniform(0.42, 0.7)),
            float(rng.uniform(0.1, 0.17)),
        )
    slash = bool(rng.random() < 0.06)
    return Face(
        file=name,
        stretch=stretch,
        weight=weight,
        radius=float(rng.uniform(0.22, 0.5)),
        flat=bool(rng.random() < 0.6),
        variants=_variants(rng, spec, slash=slash, distinct=distinct),
        slash_zero=slash,
        serif_i=float(rng.uniform(0.28, 0.5)) if rng.random() < spec.serif_i else 0.0,
    )


@functools.lru_cache(maxsize=256)
def _sized_font(path: Path) -> tuple[ImageFont.FreeTypeFont, float]:
    """The font at the size where a capital H is CAP_PX high, and that H's top in font
    coordinates.
    """
    probe = ImageFont.truetype(str(path), 200)
    left, top, right, bottom = probe.getbbox("H", anchor="ls")
    del left, right
    font = ImageFont.truetype(str(path), round(200 * CAP_PX / max(bottom - top, 1)))
    return font, float(font.getbbox("H", anchor="ls")[1])


@functools.lru_cache(maxsize=8192)
def _file_glyph(path: Path, char: str) -> Mask:
    font, _ = _sized_font(path)
    left, _, right, _ = font.getbbox(char, anchor="ls")
    advance = font.getlength(char)
    x0, x1 = min(left, 0.0), max(right, advance)
    image = Image.new("L", (max(int(np.ceil(x1 - x0)), 1), CANVAS_PX), 0)
    ImageDraw.Draw(image).text(
        (-x0, CAP_PX * (1 + PAD_TOP)), char, fill=255, font=font, anchor="ls"
    )
    return np.asarray(image, np.float32) / 255


def _with_bars(bar: Mask, width: int) -> Mask:
    """An upright I given bars at its top and bottom."""
    ink = np.flatnonzero(bar.max(axis=0) > 0.5)
    if ink.size == 0 or ink.size > CAP_PX * 0.3:  # has bars already
        return bar
    out = np.zeros((CANVAS_PX, width + 12), np.float32)
    stem = bar[:, ink[0] : ink[-1] + 1]
    left = (out.shape[1] - stem.shape[1]) // 2
    out[:, left : left + stem.shape[1]] = stem
    thick = max(round(stem.shape[1] * 0.85), 4)
    top, base = round(CAP_PX * PAD_TOP), round(CAP_PX * (1 + PAD_TOP))
    out[top : top + thick, 6:-6] = 1.0
    out[base - thick : base, 6:-6] = 1.0
    return out


def glyph(face: Face, char: str) -> Mask:
    """Mask of one character, natural width times the face's stretch, on the common canvas
    height.
    """
    if face.file == FALLBACK:
        known, _ = alphabet()
        if char in known:
            return stroke_glyph(
                char,
                dict(face.variants)[char],
                round(face.stretch * 100),
                round(face.weight * 100),
                round(face.radius * 20) * 5,
                face.flat,
            )
    if char == "\N{MIDDLE DOT}":  # many files have none
        dot = np.zeros((CANVAS_PX, CAP_PX // 3), np.float32)
        centre = (CAP_PX // 6, int(CAP_PX * (PAD_TOP + 0.5)))
        cv2.circle(dot, centre, CAP_PX // 12, 1.0, -1, cv2.LINE_AA)
        return dot
    if ord(char) > 0xFF:
        path = find_font(
            "DroidSansFallbackFull.ttf" if 0x2E80 <= ord(char) < ARABIC else "DejaVuSans-Bold.ttf"
        )
        if path is None:
            return np.zeros((CANVAS_PX, CAP_PX // 2), np.float32)
        return _file_glyph(path, char)
    path = (
        find_font(face.file)
        or find_font("LiberationSans-Bold.ttf")
        or find_font("DejaVuSans-Bold.ttf")
    )
    if path is None:
        return np.zeros((CANVAS_PX, CAP_PX // 2), np.float32)
    mask = _file_glyph(path, char)
    stretch = face.stretch if face.file != FALLBACK else 0.7
    out = cv2.resize(
        mask, (max(round(mask.shape[1] * stretch), 2), CANVAS_PX), interpolation=cv2.INTER_AREA
    )
    if face.serif_i and char == "I":
        out = _with_bars(out, max(round(face.serif_i * CAP_PX), 6))
    if face.slash_zero and char == "0":
        xs = np.flatnonzero(out.max(axis=0) > 0.5)
        if xs.size:
            top, base = int(CAP_PX * PAD_TOP), int(CAP_PX * (1 + PAD_TOP))
            cv2.line(
                out,
                (int(xs[0]) + 5, base - 14),
                (int(xs[-1]) - 5, top + 14),
                1.0,
                CAP_PX // 11,
                cv2.LINE_AA,
            )
    return out


def embolden(mask: Mask, change: float, cap_px: float) -> Mask:
    """Grow (or shrink) strokes by `change` of the cap height: blur, then move the threshold."""
    if abs(change) < 0.003:
        return mask
    sigma = max(abs(change) * cap_px * 0.9, 0.6)
    soft = cv2.GaussianBlur(mask, (0, 0), sigma)
    level = 0.22 if change > 0 else 0.78
    return np.clip((soft - level) * max(1.6 * sigma, 2.6) + 0.5, 0, 1)


def set_line(
    face: Face,
    items: Sequence[str],
    cap_px: float,
    max_width_px: float,
    tracking: float,
    *,
    cell: float = 0.0,
) -> tuple[Mask, list[tuple[float, float]]]:
    """Set a line: characters and gaps ("_0.3" = 0.3 cap heights) -> mask (h, w), and each item's
    x range in px.

    Too wide a line is squeezed horizontally; `cell` > 0 centres each glyph in a cell of that
    many cap heights.
    """
    scale = cap_px / CAP_PX
    glyphs: list[Mask | None] = []
    widths: list[float] = []
    for item in items:
        if item.startswith("_"):
            glyphs.append(None)
            widths.append(float(item[1:]) * cap_px)
        else:
            mask = glyph(face, item)
            glyphs.append(mask)
            widths.append(max(mask.shape[1] * scale, cell * cap_px if item.isalnum() else 0.0))
    space = tracking * cap_px
    total = sum(widths) + space * max(len(items) - 1, 0)
    squeeze = min(1.0, max_width_px / max(total, 1e-6))
    height = max(round(CANVAS_PX * scale), 2)
    out = np.zeros((height, max(round(total * squeeze) + 2, 2)), np.float32)
    spans: list[tuple[float, float]] = []
    x = 0.0
    for mask, width in zip(glyphs, widths, strict=True):
        spans.append((x, x + width * squeeze))
        if mask is not None:
            ink = max(round(mask.shape[1] * scale * squeeze), 1)
            left = max(round(x + (width * squeeze - ink) / 2), 0)
            small = cv2.resize(mask, (ink, height), interpolation=cv2.INTER_AREA)
            right = min(left + ink, out.shape[1])
            np.maximum(out[:, left:right], small[:, : right - left], out=out[:, left:right])
        x += (width + space) * squeeze
    if face.file != FALLBACK:
        out = embolden(out, face.weight, cap_px)
    return out, spans
