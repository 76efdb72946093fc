"""The parametric stroke alphabet of designs/strokes.toml, drawn on the canvas that every glyph
shares: capital height ``CAP_PX`` with ``PAD_TOP``/``PAD_BOTTOM`` of room above and below.
"""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import tomllib
from numpy.typing import NDArray

CAP_PX = 96
PAD_TOP = 0.2
PAD_BOTTOM = 0.3
CANVAS_PX = round(CAP_PX * (1 + PAD_TOP + PAD_BOTTOM))
DESIGNS = Path(__file__).resolve().parent / "designs"
PLAIN_ONE, PLAIN_I = 1, 0  # variants of strokes.toml that are one and the same bar
BROAD_ZERO, NARROW_ZEROS, SLASHED_ZERO = 0, (1, 2), 3

Mask = NDArray[np.float32]


@functools.cache
def alphabet() -> tuple[dict[str, list[str]], dict[str, float]]:
    """Glyph variants by character, and widths by character."""
    data = tomllib.loads((DESIGNS / "strokes.toml").read_text(encoding="utf-8"))
    return data["glyphs"], data["width"]


def _fillet(
    points: list[tuple[float, float, bool]], closed: bool, radius: float
) -> NDArray[np.float64]:
    """Replace each soft corner by an arc (quadratic pieces) that starts `radius` px before it."""
    out: list[tuple[float, float]] = []
    count = len(points)
    for index, (x, y, sharp) in enumerate(points):
        if sharp or (not closed and index in (0, count - 1)):
            out.append((x, y))
            continue
        before, after = points[index - 1], points[(index + 1) % count]
        arms = []
        for other in (before, after):
            dx, dy = other[0] - x, other[1] - y
            length = max(float(np.hypot(dx, dy)), 1e-6)
            ends_there = other[2] or (not closed and other in (points[0], points[-1]))
            reach = min(radius, length * (0.98 if ends_there else 0.5))
            arms.append((x + dx / length * reach, y + dy / length * reach))
        (ax, ay), (bx, by) = arms
        for t in np.linspace(0, 1, 9):
            # A circle's quarter bulges further than a parabola: pull the control point outwards
            # a little.
            cx, cy = x + (x - (ax + bx) / 2) * 0.17, y + (y - (ay + by) / 2) * 0.17
            out.append(
                (
                    (1 - t) ** 2 * ax + 2 * t * (1 - t) * cx + t * t * bx,
                    (1 - t) ** 2 * ay + 2 * t * (1 - t) * cy + t * t * by,
                )
            )
    if closed:
        out.append(out[0])
    return np.array(out)


@functools.lru_cache(maxsize=4096)
def stroke_glyph(
    char: str, variant: int, stretch_pc: int, weight_pc: int, radius_pc: int, flat: bool
) -> Mask:
    """Mask of one character of the alphabet."""
    glyphs, widths = alphabet()
    stroke = weight_pc / 100 * CAP_PX
    options = glyphs[char]
    path = options[variant % len(options)]
    relative = widths.get(char, widths["default"])
    if path.startswith("["):  # a variant with a width of its own
        own, path = path[1:].split("]")
        relative = float(own)
    width = relative * stretch_pc / 100 * CAP_PX
    margin = stroke / 2
    canvas = np.zeros((CANVAS_PX * 2, int(2 * (width + CAP_PX * 0.06)) + 4), np.uint8)
    x_off, y_off = CAP_PX * 0.03 + margin, CAP_PX * PAD_TOP + margin
    inner_w, inner_h = max(width - stroke, 1.0), CAP_PX - stroke
    radius = radius_pc / 100 * 1.25 * min(inner_w, inner_h * 0.9)
    for part in path.split(";"):
        words = part.split()
        closed = words[-1] == "z"
        points = []
        for word in words[:-1] if closed else words:
            sx, sy = word.rstrip("!").split(",")
            points.append(
                (float(sx) * inner_w + x_off, float(sy) * inner_h + y_off, word.endswith("!"))
            )
        line = _fillet(points, closed, radius)
        if flat and not closed:
            for end, inner in ((0, 1), (-1, -2)):
                delta = line[end] - line[inner]
                line[end] += delta / max(float(np.hypot(*delta)), 1e-6) * margin
        cv2.polylines(
            canvas,
            [np.round(line * 2 * 16).astype(np.int32)],
            False,
            255,
            max(round(stroke * 2), 1),
            cv2.LINE_AA,
            4,
        )
    if flat and char != "Q":
        canvas[: round((y_off - margin) * 2)] = 0
        canvas[round((y_off - margin + CAP_PX) * 2) :] = 0
        canvas[:, : round((x_off - margin) * 2)] = 0
        canvas[:, round((x_off - margin + width) * 2) :] = 0
    half = cv2.resize(canvas, (canvas.shape[1] // 2, CANVAS_PX), interpolation=cv2.INTER_AREA)
    return half.astype(np.float32) / 255
