"""Letters and digits as strokes, in the upright, even style of European plates.

A glyph is drawn on a grid 6 wide and 10 high (y down) with strokes 1.4 wide; `render_text` draws at
eight times the size and shrinks by area, so the result is smooth at every size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_Points = list[tuple[float, float]]

GLYPH_WIDTH = 6.0
GLYPH_HEIGHT = 10.0
_STROKE = 1.45
_PITCH = 6.9
_OVERSAMPLING = 8


def _arc(  # noqa: PLR0917 -- six numbers, written in a table of strokes
    cx: float, cy: float, rx: float, ry: float, start_deg: float, end_deg: float
) -> _Points:
    """Points on an ellipse; 0 degrees points right, angles grow clockwise (y is down)."""
    steps = max(2, int(abs(end_deg - start_deg) / 10.0) + 1)
    angles = np.radians(np.linspace(start_deg, end_deg, steps))
    return [(cx + rx * float(np.cos(a)), cy + ry * float(np.sin(a))) for a in angles]


def _ring(cx: float, cy: float, rx: float, ry: float) -> _Points:
    return _arc(cx, cy, rx, ry, 0.0, 360.0)


_LEFT, _RIGHT, _TOP, _BOTTOM, _MIDDLE = 0.8, 5.2, 0.8, 9.2, 4.9
_STEM: _Points = [(_LEFT, _TOP), (_LEFT, _BOTTOM)]
_OPEN: _Points = _arc(3.0, 3.0, 2.2, 2.2, -15, -180) + _arc(3.0, 7.0, 2.2, 2.2, 180, 15)
_UPPER_BOWL: _Points = [
    (_LEFT, _TOP),
    *_arc(3.0, 2.85, 2.0, 2.05, -90, 90),
    (_LEFT, _MIDDLE),
]

_GLYPHS: dict[str, list[_Points]] = {
    "0": [[*_arc(3.0, 2.9, 2.0, 2.1, 180, 360), *_arc(3.0, 7.1, 2.0, 2.1, 0, 180), (1.0, 2.9)]],
    "1": [[(1.3, 2.9), (3.6, _TOP), (3.6, _BOTTOM)]],
    "2": [[*_arc(3.0, 3.0, 2.1, 2.2, 190, 390), (0.9, _BOTTOM), (5.2, _BOTTOM)]],
    "3": [[(1.0, _TOP), (5.0, _TOP), (2.5, 4.2), *_arc(2.7, 6.7, 2.4, 2.5, -80, 155)]],
    "4": [[(3.2, _TOP), (0.7, 6.7), (5.5, 6.7)], [(4.1, 4.6), (4.1, _BOTTOM)]],
    "5": [[(4.9, _TOP), (1.4, _TOP), (1.1, 4.9), *_arc(2.8, 6.6, 2.3, 2.6, -130, 150)]],
    "6": [_ring(3.0, 6.8, 2.1, 2.4), [(1.1, 5.9), (3.9, _TOP)]],
    "7": [[(0.8, _TOP), (5.2, _TOP), (2.3, _BOTTOM)]],
    "8": [_ring(3.0, 2.8, 1.85, 2.0), _ring(3.0, 7.0, 2.15, 2.2)],
    "9": [_ring(3.0, 3.2, 2.1, 2.4), [(4.9, 4.1), (2.1, _BOTTOM)]],
    "A": [[(0.6, _BOTTOM), (3.0, _TOP), (5.4, _BOTTOM)], [(1.5, 6.6), (4.5, 6.6)]],
    "B": [_STEM, _UPPER_BOWL, [(3.0, _MIDDLE), *_arc(3.0, 7.05, 2.2, 2.15, -90, 90), (_LEFT, 9.2)]],
    "C": [_OPEN],
    "D": [
        _STEM,
        [
            (_LEFT, _TOP),
            *_arc(2.8, 3.2, 2.4, 2.4, -90, 0),
            *_arc(2.8, 6.8, 2.4, 2.4, 0, 90),
            (0.8, 9.2),
        ],
    ],
    "E": [
        [(5.0, _TOP), (_LEFT, _TOP), (_LEFT, _BOTTOM), (5.0, _BOTTOM)],
        [(_LEFT, 4.9), (4.5, 4.9)],
    ],
    "F": [[(5.0, _TOP), (_LEFT, _TOP), (_LEFT, _BOTTOM)], [(_LEFT, 4.9), (4.5, 4.9)]],
    "G": [[*_OPEN, (5.2, 7.2), (5.2, 5.3), (3.3, 5.3)]],
    "H": [_STEM, [(_RIGHT, _TOP), (_RIGHT, _BOTTOM)], [(_LEFT, 4.9), (_RIGHT, 4.9)]],
    "I": [[(3.0, _TOP), (3.0, _BOTTOM)]],
    "J": [[(4.7, _TOP), *_arc(2.7, 7.0, 2.0, 2.2, 0, 165)]],
    "K": [_STEM, [(5.1, _TOP), (_LEFT, 5.9)], [(2.4, 4.5), (5.4, _BOTTOM)]],
    "L": [[*_STEM, (5.0, _BOTTOM)]],
    "M": [[(0.7, _BOTTOM), (0.7, _TOP), (3.0, 5.2), (5.3, _TOP), (5.3, _BOTTOM)]],
    "N": [[(_LEFT, _BOTTOM), (_LEFT, _TOP), (_RIGHT, _BOTTOM), (_RIGHT, _TOP)]],
    "O": [[*_arc(3.0, 3.2, 2.4, 2.4, 180, 360), *_arc(3.0, 6.8, 2.4, 2.4, 0, 180), (0.6, 3.2)]],
    "P": [_STEM, [(_LEFT, _TOP), *_arc(3.0, 3.1, 2.2, 2.3, -90, 90), (_LEFT, 5.4)]],
    "Q": [
        [*_arc(3.0, 3.2, 2.4, 2.4, 180, 360), *_arc(3.0, 6.8, 2.4, 2.4, 0, 180), (0.6, 3.2)],
        [(3.4, 6.7), (5.6, 9.6)],
    ],
    "R": [
        _STEM,
        [(_LEFT, _TOP), *_arc(3.0, 3.0, 2.2, 2.2, -90, 90), (_LEFT, 5.2)],
        [(2.7, 5.2), (5.4, 9.2)],
    ],
    "S": [[*_arc(3.0, 2.85, 2.0, 2.05, -15, -270), *_arc(3.0, 7.05, 2.2, 2.15, -90, 165)]],
    "T": [[(0.6, _TOP), (5.4, _TOP)], [(3.0, _TOP), (3.0, _BOTTOM)]],
    "U": [[(_LEFT, _TOP), *_arc(3.0, 7.0, 2.2, 2.2, 180, 0), (_RIGHT, _TOP)]],
    "V": [[(0.6, _TOP), (3.0, _BOTTOM), (5.4, _TOP)]],
    "W": [[(0.4, _TOP), (1.7, _BOTTOM), (3.0, 3.4), (4.3, _BOTTOM), (5.6, _TOP)]],
    "X": [[(0.7, _TOP), (5.3, _BOTTOM)], [(5.3, _TOP), (0.7, _BOTTOM)]],
    "Y": [[(0.6, _TOP), (3.0, 5.3), (5.4, _TOP)], [(3.0, 5.3), (3.0, _BOTTOM)]],
    "Z": [[(0.8, _TOP), (5.2, _TOP), (0.8, _BOTTOM), (5.2, _BOTTOM)]],
}


def render_text(text: str, height_px: int) -> NDArray[np.float32]:
    """Draw `text` (A-Z, 0-9, a space is half a glyph) as coverage.

    Returns:
        (height_px, W) float32, 0 outside the strokes, 1 inside.

    Raises:
        ValueError: a character has no glyph.
    """
    unknown = sorted(set(text) - set(_GLYPHS) - {" "})
    if unknown or not text.strip():
        raise ValueError(f"cannot draw {text!r}: use A-Z, 0-9 and spaces, at least one character")
    scale = height_px * _OVERSAMPLING / GLYPH_HEIGHT
    advances = [_PITCH / 2 if c == " " else _PITCH for c in text]
    width = sum(advances) - (_PITCH - GLYPH_WIDTH)
    canvas = np.zeros((height_px * _OVERSAMPLING, int(np.ceil(width * scale))), np.uint8)
    x = 0.0
    for character, advance in zip(text, advances, strict=True):
        for stroke in _GLYPHS.get(character, []):
            points = np.array([((x + px) * scale, py * scale) for px, py in stroke])
            cv2.polylines(
                canvas,
                [np.round(points).astype(np.int32)],
                isClosed=False,
                color=255,
                thickness=max(1, round(_STROKE * scale)),
            )
        x += advance
    size = (max(1, canvas.shape[1] // _OVERSAMPLING), height_px)
    coverage: NDArray[np.float32] = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    coverage /= np.float32(255.0)
    return coverage
