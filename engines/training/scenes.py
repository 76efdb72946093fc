"""Simple drawn street scenes.

Flat-shaded vehicles, front or rear, on a road, with empty plate places.

They teach the detector that a plate sits on a vehicle whatever the picture's style, and give
pictures that anyone may ship. Everything is drawn from the generator passed in: same seed, same
scene.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]
CAR_COLOURS: list[Colour] = [
    (236, 236, 236), (192, 194, 196), (120, 124, 128), (30, 30, 34), (160, 24, 30), (96, 16, 28),
    (28, 60, 130), (20, 90, 60), (214, 180, 40), (206, 110, 30), (110, 80, 50), (200, 186, 150),
]  # fmt: skip


@dataclass
class Slot:
    """Where a plate belongs: quad (4, 2) px clockwise from the top left."""

    quad: NDArray[np.float32]
    vehicle: int


@dataclass
class Scene:
    """An RGB picture, its vehicles as (label, x1, y1, x2, y2) px, and the places for plates."""

    image: NDArray[np.uint8]
    vehicles: list[tuple[str, float, float, float, float]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)


def shade(colour: Colour, gain: float) -> Colour:
    red, green, blue = (int(min(255.0, max(0.0, c * gain))) for c in colour)
    return red, green, blue


class Brush:
    """Draws in a vehicle's own unit square, mapped to its face in the picture."""

    def __init__(self, image: NDArray[np.uint8], face: NDArray[np.float32]) -> None:
        unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        self.image = image
        self.matrix = cv2.getPerspectiveTransform(unit, face.astype(np.float32))

    def place(self, points: Points) -> NDArray[np.float32]:
        source = np.array(points, np.float32).reshape(1, -1, 2)
        return cv2.perspectiveTransform(source, self.matrix)[0].astype(np.float32)

    def fill(self, points: Points, colour: Colour) -> None:
        where = np.round(self.place(points) * 16).astype(np.int32)
        cv2.fillPoly(self.image, [where], colour, cv2.LINE_AA, 4)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        where = np.round(self.place(points) * 16).astype(np.int32)
        cv2.polylines(self.image, [where], False, colour, max(1, round(width)), cv2.LINE_AA, 4)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        self.fill([(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angles], colour)

    def rect(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        self.fill([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour)


def _background(rng: np.random.Generator, width: int, height: int) -> tuple[NDArray[np.uint8], int]:
    """Sky, ground, road, houses and trees; gives the horizon's row too."""
    horizon = int(height * rng.uniform(-0.1, 0.5))
    image = np.zeros((height, width, 3), np.uint8)
    top = np.array(rng.uniform(60, 235, 3))
    bottom = np.clip(top + rng.uniform(-20, 50, 3), 0, 255)
    ramp = np.linspace(0, 1, height)[:, None, None]
    image[:] = (top * (1 - ramp) + bottom * ramp).astype(np.uint8)
    for _ in range(int(rng.integers(0, 9))):
        x = int(rng.uniform(-0.1, 1.0) * width)
        w = int(rng.uniform(0.08, 0.35) * width)
        h = int(rng.uniform(0.1, 0.6) * height)
        colour = tuple(int(c) for c in rng.uniform(50, 220, 3))
        base = max(0, horizon + int(0.03 * height))
        cv2.rectangle(image, (x, base - h), (x + w, base), colour, -1)
        pane = shade(colour, float(rng.uniform(0.4, 1.5)))
        step = max(6, int(w * rng.uniform(0.12, 0.3)))
        for px in range(x + step // 3, x + w - step // 2, step):
            for py in range(base - h + step // 3, base - step // 2, step):
                cv2.rectangle(image, (px, py), (px + step // 2, py + step // 2), pane, -1)
    start = max(0, horizon)
    ground = np.array(rng.choice([[90, 110, 70], [130, 125, 115], [150, 140, 110], [80, 80, 84]]))
    image[start:] = np.clip(ground + rng.normal(0, 12, 3), 0, 255).astype(np.uint8)
    grey = int(rng.uniform(40, 150))
    vanish = width * rng.uniform(0.2, 0.8)
    left, right = rng.uniform(-0.9, 0.2) * width, rng.uniform(0.8, 1.9) * width
    road = np.array(
        [[vanish - 8, start], [vanish + 8, start], [right, height], [left, height]], np.int32
    )
    cv2.fillPoly(image, [road], (grey, grey, grey + int(rng.integers(0, 8))), cv2.LINE_AA)
    paint = (235, 235, 230) if rng.random() < 0.7 else (230, 190, 60)
    for part in rng.uniform(0.0, 1.0, int(rng.integers(1, 4))):
        bottom_x = left + (right - left) * part
        for i in range(8):
            a, b = (i / 8) ** 2, ((i + 0.5) / 8) ** 2
            line = [
                (
                    vanish + (bottom_x - vanish) * t + e * width * 0.008 * t,
                    start + (height - start) * t,
                )
                for t, e in ((a, -1), (a, 1), (b, 1), (b, -1))
            ]
            cv2.fillPoly(image, [np.array(line, np.int32)], paint, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 6))):
        x, y = int(rng.uniform(0, width)), start + int(rng.uniform(-0.12, 0.05) * height)
        radius = int(rng.uniform(0.02, 0.12) * width)
        cv2.circle(
            image, (x, y), radius, tuple(int(c) for c in rng.uniform(20, 130, 3)), -1, cv2.LINE_AA
        )
    grain = rng.normal(0, float(rng.uniform(0, 7)), (height // 2 + 1, width // 2 + 1, 1))
    grain = cv2.resize(grain.astype(np.float32), (width, height))[:, :, None]
    return np.clip(image + grain, 0, 255).astype(np.uint8), horizon


def _plate_quad(
    brush: Brush, rng: np.random.Generator, y: float, share: float, unit: float
) -> Slot:
    """A place for a plate of `share` of the face's width, centred near height y.

    `unit` is width / height.
    """
    ratio = 0.25 if rng.random() < 0.65 else float(rng.choice([0.5, 0.62, 0.22]))
    half_w, half_h = share / 2, share * ratio * unit / 2
    x = 0.5 + float(rng.normal(0, 0.02)) if rng.random() < 0.9 else float(rng.uniform(0.25, 0.75))
    tilt = float(rng.normal(0, 0.02)) * unit
    corners = [(x - half_w, y - half_h - tilt * share), (x + half_w, y - half_h + tilt * share)]
    corners += [(x + half_w, y + half_h + tilt * share), (x - half_w, y + half_h - tilt * share)]
    return Slot(brush.place(corners), 0)


def _car(brush: Brush, rng: np.random.Generator, colour: Colour, unit: float) -> list[Slot]:
    """A car's front or rear in the unit square; `unit` is the face's width / height."""
    front = rng.random() < 0.5
    dark, glass = shade(colour, 0.55), shade((70, 90, 110), float(rng.uniform(0.3, 1.6)))
    waist = float(rng.uniform(0.36, 0.5))
    inset = float(rng.uniform(0.1, 0.24))
    brush.rect(0.05, 0.78, 0.24, 1.0, (22, 22, 24))
    brush.rect(0.76, 0.78, 0.95, 1.0, (22, 22, 24))
    brush.fill([(inset, 0.0), (1 - inset, 0.0), (0.97, waist), (0.03, waist)], shade(colour, 0.9))
    brush.fill(
        [(inset + 0.03, 0.05), (0.97 - inset, 0.05), (0.9, waist - 0.03), (0.1, waist - 0.03)],
        glass,
    )
    if rng.random() < 0.5:
        brush.fill(
            [(inset + 0.1, 0.05), (inset + 0.25, 0.05), (0.3, waist - 0.03), (0.18, waist - 0.03)],
            shade(glass, 1.5),
        )
    brush.fill(
        [
            (0.04, waist),
            (0.96, waist),
            (1.0, waist + 0.1),
            (0.99, 0.86),
            (0.01, 0.86),
            (0.0, waist + 0.1),
        ],
        colour,
    )
    brush.rect(0.02, 0.72, 0.98, 0.9, dark if rng.random() < 0.5 else shade(colour, 0.85))
    lamp = waist + float(rng.uniform(0.05, 0.14))
    size = float(rng.uniform(0.07, 0.13))
    lit = rng.random() < 0.35
    lamp_colour: Colour = (
        ((255, 250, 225) if lit else (215, 220, 225))
        if front
        else ((255, 60, 50) if lit else (150, 20, 24))
    )
    for x in (0.14, 0.86):
        if rng.random() < 0.5:
            brush.disc(x, lamp, size, size * 0.6 * unit, lamp_colour)
        else:
            brush.rect(x - size, lamp - 0.05, x + size, lamp + 0.06, lamp_colour)
    if front:
        grille = shade((40, 40, 44), float(rng.uniform(0.4, 1.6)))
        brush.rect(0.3, lamp - 0.03, 0.7, lamp + 0.1, grille)
        for i in range(int(rng.integers(0, 6))):
            y = lamp - 0.02 + 0.02 * i
            brush.line([(0.3, y), (0.7, y)], shade(grille, 2.2), 1)
        if rng.random() < 0.6:
            brush.rect(0.25, 0.8, 0.75, 0.86, (25, 25, 28))
    elif rng.random() < 0.5:
        brush.line([(0.08, waist + 0.02), (0.92, waist + 0.02)], shade(colour, 0.6), 1)
    if rng.random() < 0.6:
        brush.disc(0.5, waist + 0.06, 0.03, 0.03 * unit, (210, 210, 214))
    level = 0.76 if front else float(rng.choice([waist + 0.2, 0.78]))
    return [_plate_quad(brush, rng, level, float(rng.uniform(0.2, 0.34)), unit)]


def _box_vehicle(
    brush: Brush, rng: np.random.Generator, colour: Colour, unit: float, label: str
) -> list[Slot]:
    """A bus's or truck's front or rear."""
    front = rng.random() < 0.5
    for x in (0.06, 0.74):
        brush.rect(x, 0.86, x + 0.2, 1.0, (20, 20, 22))
    brush.rect(0.0, 0.0, 1.0, 0.94, colour)
    glass = shade((70, 90, 110), float(rng.uniform(0.3, 1.6)))
    if label == "bus" or front:
        brush.rect(0.06, float(rng.uniform(0.08, 0.2)), 0.94, float(rng.uniform(0.42, 0.56)), glass)
        brush.line([(0.5, 0.1), (0.5, 0.5)], shade(colour, 0.5), 2)
    else:
        brush.line([(0.5, 0.02), (0.5, 0.8)], shade(colour, 0.6), 2)
        for x in (0.3, 0.7):
            brush.line([(x, 0.05), (x, 0.78)], shade(colour, 0.75), 2)
    if label == "bus" and rng.random() < 0.7:
        brush.rect(0.2, 0.02, 0.8, 0.1, (20, 20, 20))
    lamp: Colour = (235, 235, 220) if front else (170, 25, 25)
    for x in (0.08, 0.92):
        brush.rect(x - 0.06, 0.72, x + 0.06, 0.78, lamp)
    brush.rect(0.0, 0.82, 1.0, 0.92, shade(colour, 0.5))
    return [
        _plate_quad(
            brush, rng, float(rng.uniform(0.74, 0.87)), float(rng.uniform(0.16, 0.25)), unit
        )
    ]


def _motorcycle(brush: Brush, rng: np.random.Generator, colour: Colour, unit: float) -> list[Slot]:
    """A motorcycle with its rider from behind or in front."""
    cloth = tuple(int(c) for c in rng.uniform(20, 200, 3))
    brush.rect(0.4, 0.5, 0.6, 1.0, (24, 24, 26))
    brush.fill([(0.2, 0.55), (0.8, 0.55), (0.7, 0.8), (0.3, 0.8)], colour)
    brush.fill(
        [(0.22, 0.2), (0.78, 0.2), (0.85, 0.58), (0.15, 0.58)], (cloth[0], cloth[1], cloth[2])
    )
    brush.disc(0.5, 0.1, 0.17, 0.1, shade(colour, float(rng.uniform(0.3, 1.4))))
    brush.line([(0.0, 0.4), (0.3, 0.46), (0.7, 0.46), (1.0, 0.4)], (40, 40, 40), 2)
    brush.disc(0.5, 0.63, 0.09, 0.03, (220, 30, 30) if rng.random() < 0.6 else (240, 240, 220))
    return [
        _plate_quad(brush, rng, float(rng.uniform(0.72, 0.8)), float(rng.uniform(0.28, 0.45)), unit)
    ]


def draw_vehicle(
    image: NDArray[np.uint8],
    rng: np.random.Generator,
    label: str,
    box: tuple[float, float, float, float],
) -> list[Slot]:
    """Draw a vehicle of a label into a box (in place) and give its plate places."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    colour = shade(CAR_COLOURS[int(rng.integers(len(CAR_COLOURS)))], float(rng.uniform(0.75, 1.1)))
    shadow = [(x1 - 0.03 * width, y2 - 0.06 * height), (x2 + 0.03 * width, y2 - 0.06 * height)]
    shadow += [(x2, y2 + 0.03 * height), (x1, y2 + 0.03 * height)]
    cv2.fillPoly(image, [np.array(shadow, np.int32)], (28, 28, 30), cv2.LINE_AA)
    turn = float(rng.uniform(-0.35, 0.35)) if rng.random() < 0.5 and label != "motorcycle" else 0.0
    side = abs(turn) * width
    drop = abs(turn) * 0.12 * height
    left, right = (x1 + side, x2) if turn > 0 else (x1, x2 - side)
    near, far = (y2, y2 - drop)
    face = np.array([[left, y1], [right, y1], [right, near], [left, near]], np.float32)
    if turn:
        edge = left if turn > 0 else right
        outer = x1 if turn > 0 else x2
        panel = np.array([[outer, y1 + drop], [edge, y1], [edge, near], [outer, far]], np.float32)
        flank = Brush(image, panel)
        flank.fill([(0, 0.35), (0.3, 0.02), (1, 0.02), (1, 0.88), (0, 0.86)], shade(colour, 0.72))
        flank.fill([(0.15, 0.36), (0.35, 0.08), (0.95, 0.08), (0.95, 0.4)], (50, 58, 66))
        flank.disc(0.3, 0.88, 0.14, 0.12, (24, 24, 24))
        shear = np.array([[0, 0], [0, drop * 0.5], [0, drop * 0.3], [0, 0]], np.float32)
        face = face - shear if turn > 0 else face - shear[[1, 0, 3, 2]]
    brush = Brush(image, face)
    unit = (right - left) / height
    if label == "motorcycle":
        return _motorcycle(brush, rng, colour, unit)
    if label in ("bus", "truck"):
        return _box_vehicle(brush, rng, colour, unit, label)
    return _car(brush, rng, colour, unit)


def render_scene(rng: np.random.Generator, width: int = 960, height: int = 576) -> Scene:
    """Draw a street with one to six vehicles, far ones first."""
    image, horizon = _background(rng, width, height)
    scene = Scene(image)
    feet = np.sort(rng.uniform(max(horizon, 0) / height + 0.12, 1.08, int(rng.integers(1, 7))))
    for foot in feet:
        label = str(rng.choice(["car", "motorcycle", "bus", "truck"], p=[0.66, 0.1, 0.1, 0.14]))
        depth = (foot * height - horizon) / (height - horizon)
        size = width * 0.42 * depth * float(rng.uniform(0.75, 1.35))
        tall = {"car": 0.78, "motorcycle": 1.8, "bus": 1.2, "truck": 1.25}[label] * float(
            rng.uniform(0.9, 1.12)
        )
        size *= {"car": 1.0, "motorcycle": 0.4, "bus": 1.35, "truck": 1.25}[label]
        if size < 24:
            continue
        centre = float(rng.uniform(0.02, 0.98)) * width
        box = (centre - size / 2, foot * height - size * tall, centre + size / 2, foot * height)
        hidden = [i for i, other in enumerate(scene.vehicles) if _covered(other, box) > 0.6]
        if any(_covered(scene.vehicles[i], box) < 0.97 for i in hidden):
            continue  # a nearly hidden vehicle is neither present nor absent
        scene.slots = [
            slot
            for slot in scene.slots
            if not _touches(slot.quad, box) and slot.vehicle not in hidden
        ]
        for slot in draw_vehicle(scene.image, rng, label, box):
            slot.vehicle = len(scene.vehicles)
            scene.slots.append(slot)
        scene.vehicles.append((label, *box))
    gone = {
        i
        for i, v in enumerate(scene.vehicles)
        for w in scene.vehicles[i + 1 :]
        if _covered(v, w[1:]) > 0.9
    }
    keep = [i for i in range(len(scene.vehicles)) if i not in gone]
    scene.slots = [slot for slot in scene.slots if slot.vehicle in keep]
    for slot in scene.slots:
        slot.vehicle = keep.index(slot.vehicle)
    scene.vehicles = [scene.vehicles[i] for i in keep]
    return scene


def _covered(
    vehicle: tuple[str, float, float, float, float], box: tuple[float, float, float, float]
) -> float:
    """Share of a vehicle's box behind another box."""
    _, x1, y1, x2, y2 = vehicle
    wide = max(0.0, min(x2, box[2]) - max(x1, box[0]))
    tall = max(0.0, min(y2, box[3]) - max(y1, box[1]))
    return wide * tall / max((x2 - x1) * (y2 - y1), 1.0)


def _touches(quad: NDArray[np.float32], box: tuple[float, float, float, float]) -> bool:
    low, high = quad.min(0), quad.max(0)
    return bool(low[0] < box[2] and high[0] > box[0] and low[1] < box[3] and high[1] > box[1])
