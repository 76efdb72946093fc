"""Small builders of frames, plates and reads for unit tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np

from alprd.core.observe import Observation
from alprd.core.types import ALPHABET, BLANK, Detection, Frame, PlateRead

START = datetime(2026, 11, 21, 9, 0, 0, tzinfo=timezone.utc)


def make_frame(t_s: float = 0.0, size: tuple[int, int] = (1280, 720)) -> Frame:
    image = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (size[1], size[0], 3))
    at = START + timedelta(seconds=t_s) if abs(t_s) < 1e9 else START
    return Frame(camera_id="gate", seq=0, captured_at=at, t_s=t_s, image=image)


def make_plate(
    x: float = 600.0, y: float = 400.0, width: float = 100.0, *, score: float = 0.9
) -> Detection:
    """A plate of European shape around a centre."""
    w, h = width / 2, width / 9.4
    box = (x - w, y - h, x + w, y + h)
    quad = [[x - w, y - h], [x + w, y - h], [x + w, y + h], [x - w, y + h]]
    return Detection(label="plate", score=score, box=box, quad=np.array(quad, np.float32))


def make_read(
    text: str = "LS15EBC",
    *,
    sure: float = 0.98,
    quality: float | None = 0.95,
    t_s: float = 0.0,
    doubts: dict[int, tuple[str, float]] | None = None,
    regions: tuple[tuple[str, float], ...] = (),
    sharpness: float = 100.0,
) -> PlateRead:
    """A read; `doubts` gives a position's second character and its probability."""
    probs = np.full((len(text), BLANK + 1), (1.0 - sure) / BLANK, np.float32)
    for row, character in zip(probs, text, strict=True):
        row[ALPHABET.index(character)] = sure
    for k, (other, probability) in (doubts or {}).items():
        probs[k] = (1.0 - sure) / BLANK
        probs[k, ALPHABET.index(other)] = probability
        probs[k, ALPHABET.index(text[k])] = 1.0 - probability
    return PlateRead(
        text=text,
        char_probs=probs,
        quad=np.zeros((4, 2), np.float32),
        t_s=t_s,
        score=0.9,
        quality=quality,
        regions=regions,
        sharpness=sharpness,
    )


def make_observation(
    t_s: float = 0.0,
    x: float = 600.0,
    y: float = 400.0,
    width: float = 100.0,
    *,
    read: PlateRead | None = None,
) -> Observation:
    w, h = width / 2, width / 9.4
    return Observation(
        t_s=t_s,
        captured_at=START + timedelta(seconds=t_s),
        frame_size=(1280, 720),
        quad=((x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)),
        x_px=x,
        y_px=y,
        width_px=width,
        height_px=2 * h,
        score=0.9,
        attempted=True,
        read=read,
    )
