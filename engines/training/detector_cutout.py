"""Vehicles cut out of train photographs, to be put on other roads and at other distances.

A cutting keeps the pixels of an annotated box; its outline is found by GrabCut, or is a soft oval
where that finds none. Each comes mirrored, too.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_PX, LARGEST_PX = 20, 160
COVERED_SHARE = 0.1  # by another vehicle: then the cutting would show parts of both
OUTLINE_SHARE = (0.35, 0.92)  # of the box; GrabCut that takes less or more has failed
RIDER = 0.55  # of a motorcycle's height, above it
RIDER_SHARE = 0.18  # covered of the place above a motorcycle: somebody sits on it
WIDEST_BIKE = 0.7
SURROUNDINGS = 0.25  # of the box, on every side: where the light is measured

Box = tuple[int, float, float, float, float]


def cut_vehicles(
    image: NDArray[np.uint8], boxes: list[Box], types: range, riderless: int | None = None
) -> list[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """(type, RGBA cutting, colour of its surroundings in 0..1) of every vehicle seen whole.

    Boxes of type `riderless` end at the saddle: who sits there is cut out, too, if somebody does.
    """
    height, width = image.shape[:2]
    vehicles = [box for box in boxes if types.start <= box[0] <= types.stop]
    found = []
    for number, (label, x1, y1, x2, y2) in enumerate(vehicles):
        left, top, right, bottom = (round(v) for v in (x1, y1, x2, y2))
        if label not in types or max(right - left, bottom - top) < SMALLEST_PX:
            continue
        bike = label == riderless
        if bike:
            top -= round(RIDER * (bottom - top))
            if right - left > WIDEST_BIKE * (bottom - top):
                continue  # seen from the side: roads from above have none
        if left < 2 or top < 2 or right > width - 2 or bottom > height - 2:
            continue
        others = [box for k, box in enumerate(vehicles) if k != number]
        if any(_covered((x1, y1, x2, y2), box) > COVERED_SHARE for box in others):
            continue
        rim_x, rim_y = (max(3, int(SURROUNDINGS * v)) for v in (right - left, bottom - top))
        around = image[max(0, top - rim_y) : bottom + rim_y, max(0, left - rim_x) : right + rim_x]
        inner = (left - max(0, left - rim_x), top - max(0, top - rim_y))
        size = (right - left, bottom - top)
        alpha = outline(around, inner, size)
        cutting = np.dstack([image[top:bottom, left:right], alpha])
        if bike:
            upper = alpha[: round(size[1] * RIDER / (1 + RIDER))] > 127
            rows = np.nonzero((alpha > 127).any(1))[0]
            if upper.mean() < RIDER_SHARE or upper.mean() > OUTLINE_SHARE[1] or not len(rows):
                continue
            cutting = np.ascontiguousarray(cutting[rows[0] :])
            top += int(rows[0])
            inner = (inner[0], inner[1] + int(rows[0]))
            size = (size[0], bottom - top)
        mask = np.ones(around.shape[:2], bool)
        mask[inner[1] : inner[1] + size[1], inner[0] : inner[0] + size[0]] = False
        light = (around[mask].mean(0) / 255).astype(np.float32)
        scale = min(1.0, LARGEST_PX / max(size))
        if scale < 1.0:
            small = (max(4, round(size[0] * scale)), max(4, round(size[1] * scale)))
            cutting = cv2.resize(cutting, small, interpolation=cv2.INTER_AREA)
        for turned in (cutting, cutting[:, ::-1]):
            found.append((label, np.ascontiguousarray(turned), light))
    return found


def _covered(box: tuple[float, float, float, float], other: Box) -> float:
    """How much of a box another one covers."""
    _, x1, y1, x2, y2 = other
    wide = min(box[2], x2) - max(box[0], x1)
    tall = min(box[3], y2) - max(box[1], y1)
    if wide <= 0 or tall <= 0:
        return 0.0
    return wide * tall / ((box[2] - box[0]) * (box[3] - box[1]))


def outline(
    around: NDArray[np.uint8], inner: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Soft coverage (h, w) of the vehicle in the box at `inner` of its surroundings."""
    scale = min(1.0, 64 / max(size))
    small = cv2.resize(
        around,
        (max(8, round(around.shape[1] * scale)), max(8, round(around.shape[0] * scale))),
        interpolation=cv2.INTER_AREA,
    )
    x, y, w, h = (round(v * scale) for v in (*inner, *size))
    x, y = min(max(x, 1), small.shape[1] - 3), min(max(y, 1), small.shape[0] - 3)
    w, h = min(w, small.shape[1] - x - 1), min(h, small.shape[0] - y - 1)
    mask = np.zeros(small.shape[:2], np.uint8)
    try:
        cv2.grabCut(
            np.ascontiguousarray(small), mask, (x, y, w, h),
            np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT,
        )  # fmt: skip
        cover = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))[y : y + h, x : x + w]
    except cv2.error:  # a box of one colour: nothing to tell apart
        cover = np.zeros((h, w), bool)
    share = float(cover.mean()) if cover.size else 0.0
    if OUTLINE_SHARE[0] <= share <= OUTLINE_SHARE[1]:
        whole = cv2.morphologyEx(cover.astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((3, 3)))
        soft = cv2.resize(whole, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.GaussianBlur(soft, (0, 0), max(0.6, 0.01 * max(size))), np.uint8)
    across = np.abs(np.linspace(-1, 1, size[0]))[None, :]
    down = np.abs(np.linspace(-1, 1, size[1]))[:, None]
    oval = (across**4 + down**4) ** 0.25
    return (np.clip((1.0 - oval) / 0.12, 0, 1) * 255).astype(np.uint8)


def decode_record(job: tuple[dict[str, Any], bytes]) -> NDArray[np.uint8]:
    """A packed photograph's pixels, RGB."""
    image = cv2.imdecode(np.frombuffer(job[1], np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(image[:, :, ::-1])
