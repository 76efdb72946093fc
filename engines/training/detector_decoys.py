"""Things that look like plates and are none.

Clocks burnt into the picture, shop and road signs, badges, grilles.

The trap is text. A decoy therefore never is a bordered panel with nothing but one plate-like word
on it: that would be a plate to any camera.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engines.training.fonts import font_dirs

MAX_WIDTH, MAX_HEIGHT = 480, 200
SYLLABLES = [
    "ka", "lo", "mi", "ter", "san", "ro", "ve", "na", "di", "po", "gar", "tel", "mo", "ser",
    "vis", "auto", "bar", "cen", "tra", "ho", "tel", "mar", "ket", "ex", "press", "ban", "ko", "far",
    "ma", "cia", "su", "per", "sho", "p", "fo", "od", "pi", "zza", "ta", "xi", "ga", "ra",
    "ge", "no", "ci", "ne", "ma", "el", "ec", "tro", "bo", "ok", "ca", "fe",
]  # fmt: skip
BADGES = (
    "TURBO", "2.0 TDI", "GTI", "4x4", "HYBRID", "Quattro", "V6", "xDrive", "dCi", "1.6", "TSI", "Sport", "E 220", "320d",
    "Cruiser", "Electric", "LIMITED", "AWD", "SE", "GLX", "i-VTEC", "F150",
)  # fmt: skip
Decoration = Callable[[np.random.Generator], NDArray[np.uint8]]


@dataclass(frozen=True)
class Decoy:
    """RGBA (h, w, 4); an overlay lies on the picture itself, upright and unlit by the scene."""

    image: NDArray[np.uint8]
    overlay: bool


@functools.cache
def _font_files() -> tuple[str, ...]:
    found = {
        str(path) for folder in font_dirs() if folder.is_dir() for path in folder.rglob("*.[to]tf")
    }
    return tuple(sorted(found))


def _word(rng: np.random.Generator) -> str:
    word = "".join(rng.choice(SYLLABLES, int(rng.integers(2, 4))))
    return word.upper() if rng.random() < 0.6 else word.capitalize()


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(str(d) for d in rng.integers(0, 10, count))


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in rng.integers(low, high, 3))
    return red, green, blue


def _contrast(rng: np.random.Generator, ground: tuple[int, int, int]) -> tuple[int, int, int]:
    if sum(ground) > 380:
        return _colour(rng, 0, 90)
    return (255, 255, 255) if rng.random() < 0.5 else _colour(rng, 170, 256)


def _text_mask(rng: np.random.Generator, text: str, height: int) -> NDArray[np.uint8]:
    """Coverage (h, w) of one line of text, from a font file or OpenCV's strokes."""
    files = _font_files()
    if files and rng.random() < 0.7:
        font = ImageFont.truetype(files[int(rng.integers(len(files)))], max(8, int(height * 0.8)))
        x1, y1, x2, y2 = font.getbbox(text)
        canvas = Image.new("L", (max(1, int(x2 - x1) + 4), max(1, int(y2 - y1) + 4)), 0)
        ImageDraw.Draw(canvas).text((2 - x1, 2 - y1), text, fill=255, font=font)
        return np.asarray(canvas)
    face = int(
        rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN])
    )
    thick = max(1, round(height * float(rng.uniform(0.05, 0.12))))
    scale = float(cv2.getFontScaleFromHeight(face, max(6, int(height * 0.7)), thick))
    (width, tall), base = cv2.getTextSize(text, face, scale, thick)
    mask = np.zeros((tall + base + 2 * thick, width + 2 * thick), np.uint8)
    cv2.putText(mask, text, (thick, tall + thick), face, scale, 255, thick, cv2.LINE_AA)
    return mask


def _stack(masks: list[NDArray[np.uint8]], gap: int, left: bool) -> NDArray[np.uint8]:
    width = max(mask.shape[1] for mask in masks)
    out = np.zeros((sum(m.shape[0] for m in masks) + gap * (len(masks) - 1), width), np.uint8)
    y = 0
    for mask in masks:
        x = 0 if left else (width - mask.shape[1]) // 2
        out[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        y += mask.shape[0] + gap
    return out


def _ink(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], x: int, y: int, colour: tuple[int, int, int]
) -> None:
    """Blend ink through a mask onto RGBA, clipped to the picture."""
    height = min(mask.shape[0], image.shape[0] - y)
    width = min(mask.shape[1], image.shape[1] - x)
    if height <= 0 or width <= 0 or x < 0 or y < 0:
        return
    part = image[y : y + height, x : x + width]
    cover = mask[:height, :width, None].astype(np.float32) / 255
    part[..., :3] = (part[..., :3] * (1 - cover) + np.array(colour) * cover).astype(np.uint8)
    part[..., 3] = np.maximum(part[..., 3], mask[:height, :width])


def _panel(
    height: int, width: int, colour: tuple[int, int, int], alpha: int = 255
) -> NDArray[np.uint8]:
    image = np.zeros((height, width, 4), np.uint8)
    image[..., :3] = colour
    image[..., 3] = alpha
    return image


def clock(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A recorder's date, camera name, speed or printed number, with an outline or a bar.

    Behind it.
    """
    y, mo, d = rng.integers(2005, 2031), rng.integers(1, 13), rng.integers(1, 29)
    h, mi, s = rng.integers(0, 24), rng.integers(0, 60), rng.integers(0, 60)
    serial = (
        _digits(rng, 2)
        + str(rng.choice(list("ABCDEFGHKMT")))
        + _digits(rng, 5)
        + str(rng.choice(["", "T", "A"]))
    )
    parts = [
        f"{y}-{mo:02d}-{d:02d} {h:02d}:{mi:02d}:{s:02d}", f"{d:02d}/{mo:02d}/{y} {h:02d}:{mi:02d}:{s:02d}",
        f"{h:02d}:{mi:02d}:{s:02d}", f"{mo:02d}-{d:02d}-{y} SUN {h:02d}:{mi:02d}", f"CAM {rng.integers(1, 17):02d}",
        serial, f"{serial} {d:02d}-{mo:02d}-{y}", f"{rng.integers(0, 140)} km/h", f"CH{rng.integers(1, 9)} {_word(rng)}",
        f"N{_digits(rng, 2)}.{_digits(rng, 4)} E{_digits(rng, 2)}.{_digits(rng, 4)}", f"LANE {rng.integers(1, 9)} {serial}",
    ]  # fmt: skip
    lines = [str(rng.choice(parts)) for _ in range(1 if rng.random() < 0.75 else 2)]
    mask = _stack([_text_mask(rng, line, 48) for line in lines], 8, left=True)
    mask = np.pad(mask, 8)
    light = rng.random() < 0.8
    ink = (
        ((255, 255, 255) if rng.random() < 0.6 else _colour(rng, 150, 256))
        if light
        else _colour(rng, 0, 60)
    )
    alpha = int(rng.integers(90, 256)) if rng.random() < 0.3 else 0
    image = _panel(*mask.shape, (0, 0, 0) if light else (255, 255, 255), alpha)
    if alpha == 0 and rng.random() < 0.7:
        _ink(
            image,
            cv2.dilate(mask, np.ones((5, 5), np.uint8)),
            0,
            0,
            (0, 0, 0) if light else (255, 255, 255),
        )
    _ink(image, mask, 0, 0, ink)
    return image


def caption(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A broadcaster's lower third, a subtitle or a web address: capitals on a bar, often a box

    with a channel's name or the time of day before it.
    """
    ground = (255, 255, 255) if rng.random() < 0.5 else _colour(rng)
    words = [_word(rng).upper() for _ in range(int(rng.integers(2, 5)))]
    text = " ".join(words) if rng.random() < 0.9 else f"www.{words[0].lower()}.com"
    mask = _text_mask(rng, text, int(rng.integers(44, 76)))
    pad_x, pad_y = int(rng.integers(4, 24)), int(rng.integers(3, 16))
    bar = _panel(mask.shape[0] + 2 * pad_y, mask.shape[1] + 2 * pad_x, ground)
    _ink(bar, mask, pad_x, pad_y, _contrast(rng, ground))
    if rng.random() < 0.6:
        hour, minute = int(rng.integers(0, 24)), int(rng.integers(0, 60))
        names = (f"{hour}:{minute:02d}", f"{_word(rng)[:4].upper()} {rng.integers(1, 60)}", "LIVE")
        ground = _colour(rng, 0, 160)
        name = _text_mask(rng, names[int(rng.integers(3))], int(bar.shape[0] * 0.7))
        box = _panel(bar.shape[0], name.shape[1] + 16, ground)
        _ink(box, name, 8, max(0, (bar.shape[0] - name.shape[0]) // 2), _contrast(rng, ground))
        bar = box if rng.random() < 0.25 else np.concatenate([box, bar], 1)
    return bar


def watermark(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture agency's name, half transparent, light or dark, without ground."""
    word = _word(rng)
    text = word.lower() if rng.random() < 0.6 else word
    mask = np.pad(_text_mask(rng, text, 64), 6)
    light = rng.random() < 0.8
    image = _panel(*mask.shape, (0, 0, 0), 0)
    strength = float(rng.uniform(0.25, 0.8))
    if rng.random() < 0.4:
        rim = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        _ink(image, (rim * strength * 0.5).astype(np.uint8), 0, 0, (0, 0, 0))
    faint = (mask * strength).astype(np.uint8)
    image[..., :3][mask > 0] = (255, 255, 255) if light else (30, 30, 30)
    image[..., 3] = np.maximum(image[..., 3], faint)
    return image


def shop_sign(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A signboard: words, often in two sizes, sometimes with a telephone number below."""
    ground = _colour(rng)
    masks = [_text_mask(rng, " ".join(_word(rng) for _ in range(int(rng.integers(2, 4)))), 64)]
    if rng.random() < 0.6:
        small = (
            f"Tel {_digits(rng, 4)} {_digits(rng, 6)}"
            if rng.random() < 0.5
            else " ".join(_word(rng) for _ in range(3))
        )
        masks.append(_text_mask(rng, small, 30))
    mask = _stack(masks, 10, left=rng.random() < 0.3)
    pad_x, pad_y = int(rng.integers(10, 60)), int(rng.integers(8, 40))
    image = _panel(mask.shape[0] + 2 * pad_y, mask.shape[1] + 2 * pad_x, ground)
    _ink(image, mask, pad_x, pad_y, _contrast(rng, ground))
    if rng.random() < 0.3:
        cv2.rectangle(
            image,
            (3, 3),
            (image.shape[1] - 4, image.shape[0] - 4),
            (*_contrast(rng, ground), 255),
            4,
        )
    return image


def lettering(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Text straight on the bodywork.

    A badge, a model name, a slogan, a telephone number; no panel.
    """
    pick = rng.random()
    if pick < 0.4:
        text = str(rng.choice(BADGES))
    elif pick < 0.6:
        text = f"{_digits(rng, 3)}-{_digits(rng, 3)}-{_digits(rng, 4)}"
    else:
        text = " ".join(_word(rng) for _ in range(int(rng.integers(1, 4))))
    mask = np.pad(_text_mask(rng, text, 60), 6)
    image = _panel(*mask.shape, (0, 0, 0), 0)
    ink = _colour(rng, 150, 230) if rng.random() < 0.6 else _colour(rng)
    if rng.random() < 0.5:
        _ink(image, mask[:-3, :-3], 3, 3, (20, 20, 20))
    _ink(image, mask, 0, 0, ink)
    return image


def sticker(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A sticker or notice with three or more lines of small text."""
    ground = _colour(rng, 120, 256) if rng.random() < 0.6 else _colour(rng, 0, 140)
    masks = [_text_mask(rng, " ".join(_word(rng) for _ in range(2)), int(rng.integers(22, 40)))]
    masks += [
        _text_mask(
            rng, _digits(rng, 10) if rng.random() < 0.4 else _word(rng), int(rng.integers(18, 34))
        )
        for _ in range(int(rng.integers(2, 5)))
    ]
    mask = _stack(masks, 8, left=rng.random() < 0.5)
    image = _panel(mask.shape[0] + 24, mask.shape[1] + 24, ground)
    _ink(image, mask, 12, 12, _contrast(rng, ground))
    return image


def road_sign(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Speed limits, warning triangles and diamonds, direction boards with arrows."""
    image = np.zeros((200, 200, 4), np.uint8)
    kind = int(rng.integers(4))
    if kind == 0:
        cv2.circle(image, (100, 100), 96, (200, 20, 30, 255), -1, cv2.LINE_AA)
        cv2.circle(image, (100, 100), 76, (245, 245, 245, 255), -1, cv2.LINE_AA)
        mask = _text_mask(rng, str(int(rng.choice([30, 40, 50, 60, 70, 80, 90, 100, 120]))), 96)
        _ink(
            image,
            mask,
            max(0, 100 - mask.shape[1] // 2),
            max(0, 100 - mask.shape[0] // 2),
            (10, 10, 10),
        )
    elif kind == 1:
        outer = np.array([[100, 6], [196, 180], [4, 180]])
        cv2.fillPoly(image, [outer], (200, 20, 30, 255), cv2.LINE_AA)
        cv2.fillPoly(
            image,
            [((outer - [100, 122]) * 0.66 + [100, 122]).astype(np.int32)],
            (250, 245, 230, 255),
            cv2.LINE_AA,
        )
    elif kind == 2:
        cv2.fillPoly(
            image,
            [np.array([[100, 4], [196, 100], [100, 196], [4, 100]])],
            (250, 200, 20, 255),
            cv2.LINE_AA,
        )
        mask = _text_mask(rng, _word(rng)[:5], 44)
        _ink(image, mask, max(0, 100 - mask.shape[1] // 2), 80, (10, 10, 10))
    else:
        ground = ((20, 70, 150), (10, 110, 60), (240, 240, 240), (120, 70, 30))[
            int(rng.integers(4))
        ]
        masks = [
            _text_mask(rng, f"{_word(rng)} {rng.integers(1, 200)}", 44)
            for _ in range(int(rng.integers(2, 4)))
        ]
        mask = _stack(masks, 14, left=True)
        image = _panel(mask.shape[0] + 40, mask.shape[1] + 90, ground)
        ink = _contrast(rng, ground)
        _ink(image, mask, 70, 20, ink)
        middle = image.shape[0] // 2
        cv2.arrowedLine(
            image, (35, middle + 30), (35, middle - 30), (*ink, 255), 8, cv2.LINE_AA, 0, 0.4
        )
    return image


def bars(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grilles, blinds, vents, chevrons, chequers."""
    height, width = int(rng.integers(50, 150)), int(rng.integers(120, 420))
    ground, ink = _colour(rng, 0, 120), _colour(rng, 60, 256)
    image = _panel(height, width, ground)
    step = int(rng.integers(8, 30))
    kind = int(rng.integers(4))
    for i in range(-height, width + height, step):
        if kind == 0:
            cv2.line(image, (i, 0), (i, height), (*ink, 255), max(2, step // 3))
        elif kind == 1:
            cv2.line(image, (0, i), (width, i), (*ink, 255), max(2, step // 3))
        elif kind == 2:
            cv2.line(
                image, (i, 0), (i + height, height), (*ink, 255), max(2, step // 2), cv2.LINE_AA
            )
        elif (i // step) % 2:
            for y in range(0, height, 2 * step):
                cv2.rectangle(image, (i, y), (i + step, y + step), (*ink, 255), -1)
                cv2.rectangle(
                    image, (i + step, y + step), (i + 2 * step, y + 2 * step), (*ink, 255), -1
                )
    return image


def lamp(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A reflector, lamp or dark window: a rounded panel of one colour, with a soft highlight."""
    height, width = int(rng.integers(60, 160)), int(rng.integers(100, 360))
    image = np.zeros((height, width, 4), np.uint8)
    colour = ((190, 20, 20), (240, 150, 30), (250, 250, 235), (30, 36, 44))[int(rng.integers(4))]
    cv2.ellipse(
        image,
        (width // 2, height // 2),
        (width // 2 - 2, height // 2 - 2),
        0,
        0,
        360,
        (*colour, 255),
        -1,
        cv2.LINE_AA,
    )
    if rng.random() < 0.6:
        image[height // 6 : -height // 6, width // 8 : -width // 8] = (*colour, 255)
    spot = (
        np.exp(-((np.arange(width) - width * rng.random()) ** 2) / (width * 0.2) ** 2)[
            None, :, None
        ]
        * 90
    )
    image[..., :3] = np.clip(image[..., :3] + spot, 0, 255).astype(np.uint8)
    return image


DECOYS: tuple[tuple[Decoration, float, bool], ...] = (
    (clock, 0.28, True),
    (caption, 0.12, True),
    (watermark, 0.08, True),
    (shop_sign, 0.2, False),
    (lettering, 0.2, False),
    (sticker, 0.1, False),
    (road_sign, 0.08, False),
    (bars, 0.08, False),
    (lamp, 0.06, False),
)


def render_decoy(rng: np.random.Generator) -> Decoy:
    """One decoy, shrunk to at most 480x200."""
    weights = np.array([weight for _, weight, _ in DECOYS])
    draw, _, overlay = DECOYS[int(rng.choice(len(DECOYS), p=weights / weights.sum()))]
    image = draw(rng)
    scale = min(1.0, MAX_WIDTH / image.shape[1], MAX_HEIGHT / image.shape[0])
    if scale < 1.0:
        size = (max(4, int(image.shape[1] * scale)), max(4, int(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return Decoy(image, overlay)
