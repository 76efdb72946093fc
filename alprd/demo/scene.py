"""A street seen by a pinhole camera: the world's axes, the vehicles and how they are drawn.

World axes in metres: x to the right of the road's middle, y up from the ground, z away from the
camera's foot. A vehicle's front (or rear) is a texture of its own, so plates come out in true
perspective.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.demo.plates import PX_PER_MM, WHITE_EU, ColourBGR, PlateStyle, render_plate

_FACE_PX_PER_M = 400.0
_NEAREST_M = 3.0
_BONNET_M, _ROOF_M = 0.82, 1.45


@dataclass(frozen=True, slots=True, kw_only=True)
class PinholeCamera:
    """A camera above the road, looking along z, tilted down by `tilt_deg`."""

    width_px: int = 1280
    height_px: int = 720
    focal_px: float = 1500.0
    height_m: float = 2.6
    tilt_deg: float = 7.0
    x_m: float = 0.0

    def project(self, points_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (n, 3) in metres to picture points (n, 2) in pixels.

        Every point must lie in front of the camera.
        """
        tilt = np.radians(self.tilt_deg)
        x = points_m[:, 0] - self.x_m
        y = points_m[:, 1] - self.height_m
        z = points_m[:, 2]
        depth = z * np.cos(tilt) - y * np.sin(tilt)
        down = -z * np.sin(tilt) - y * np.cos(tilt)
        u = self.width_px / 2 + self.focal_px * x / depth
        v = self.height_px / 2 + self.focal_px * down / depth
        return np.stack([u, v], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """A vehicle with a plate that drives along the road.

    Attributes:
        plate: what its plate says; spaces are drawn as gaps and are no part of the truth.
        enters_s: when it is at `start_z_m`.
        speed_mps: along z; negative approaches the camera (front shown), positive recedes (rear).
    """

    plate: str
    style: PlateStyle = WHITE_EU
    body: ColourBGR = (90, 60, 40)
    x_m: float = -1.6
    start_z_m: float = 45.0
    speed_mps: float = -9.0
    enters_s: float = 0.0
    width_m: float = 1.8
    length_m: float = 4.2

    @property
    def text(self) -> str:
        """The plate's text as alprd should report it."""
        return self.plate.replace(" ", "")

    def z_m(self, t_s: float) -> float:
        """Distance of the face that the camera sees, at `t_s`."""
        return self.start_z_m + self.speed_mps * (t_s - self.enters_s)

    def visible(self, t_s: float) -> bool:
        """Whether any of it is drawn at `t_s`."""
        return t_s >= self.enters_s and _NEAREST_M <= self.z_m(t_s) <= 70.0


def plate_quad_px(camera: PinholeCamera, car: Car, t_s: float) -> NDArray[np.float64]:
    """True corners of the plate, (4, 2) pixels, clockwise from its top left."""
    half = car.style.width_mm / 2000.0
    low = 0.42
    high = low + car.style.height_mm / 1000.0
    z = car.z_m(t_s)
    corners = [
        (car.x_m - half, high, z),
        (car.x_m + half, high, z),
        (car.x_m + half, low, z),
        (car.x_m - half, low, z),
    ]
    return camera.project(np.array(corners))


def _shade(colour: ColourBGR, factor: float) -> ColourBGR:
    b, g, r = (int(min(255, max(0, c * factor))) for c in colour)
    return b, g, r


@lru_cache(maxsize=64)
def _face(car: Car) -> NDArray[np.uint8]:
    """The lower front or rear of the car, with lamps, grille, bumper and plate, BGR."""
    scale = _FACE_PX_PER_M
    width, height = round(car.width_m * scale), round(_BONNET_M * scale)
    face = np.empty((height, width, 3), np.uint8)
    gradient = np.linspace(1.15, 0.75, height)[:, None, None]
    face[:] = np.clip(np.array(car.body, np.float64) * gradient, 0, 255).astype(np.uint8)
    approaching = car.speed_mps < 0
    lamp: ColourBGR = (215, 235, 240) if approaching else (30, 25, 190)
    for side in (0.02, 0.80):
        x0 = round(width * side)
        lamp_box = ((x0, round(height * 0.14)), (x0 + round(width * 0.18), round(height * 0.30)))
        cv2.rectangle(face, *lamp_box, lamp, cv2.FILLED)
        cv2.rectangle(face, *lamp_box, _shade(car.body, 0.4), 4)
    if approaching:
        top, bottom = round(height * 0.15), round(height * 0.30)
        cv2.rectangle(
            face,
            (round(width * 0.27), top),
            (round(width * 0.73), bottom),
            (28, 28, 30),
            cv2.FILLED,
        )
        for y in range(top + 8, bottom, 14):
            cv2.line(face, (round(width * 0.27), y), (round(width * 0.73), y), (70, 70, 72), 3)
    cv2.rectangle(face, (0, round(height * 0.72)), (width, height), (35, 35, 37), cv2.FILLED)
    cv2.line(
        face, (0, round(height * 0.40)), (width, round(height * 0.40)), _shade(car.body, 0.6), 4
    )
    plate = render_plate(car.plate, car.style)
    shrink = scale / (PX_PER_MM * 1000.0)
    size = (round(plate.shape[1] * shrink), round(plate.shape[0] * shrink))
    small = cv2.resize(plate, size, interpolation=cv2.INTER_AREA)
    bottom = height - round(0.42 * scale)
    x0 = (width - size[0]) // 2
    recess = ((x0 - 6, bottom - size[1] - 6), (x0 + size[0] + 5, bottom + 5))
    cv2.rectangle(face, *recess, _shade(car.body, 0.45), cv2.FILLED)
    face[bottom - size[1] : bottom, x0 : x0 + size[0]] = small
    return face


def _fill(
    camera: PinholeCamera,
    picture: NDArray[np.uint8],
    points_m: list[tuple[float, float, float]],
    colour: ColourBGR,
) -> None:
    points = np.round(camera.project(np.array(points_m)) * 16).astype(np.int32)
    cv2.fillConvexPoly(picture, points, colour, cv2.LINE_AA, 4)


def draw_car(camera: PinholeCamera, picture: NDArray[np.uint8], car: Car, t_s: float) -> None:
    """Draw `car` into `picture` (H, W, 3), in place."""
    z, half = car.z_m(t_s), car.width_m / 2
    left, right = car.x_m - half, car.x_m + half
    back = z + car.length_m
    glass: ColourBGR = (70, 60, 55)
    _fill(
        camera,
        picture,
        [(left - 0.1, 0, z - 0.1), (right + 0.1, 0, z - 0.1), (right, 0, back), (left, 0, back)],
        (45, 45, 46),
    )
    side = left if left > camera.x_m else right
    if left > camera.x_m or right < camera.x_m:
        _fill(
            camera,
            picture,
            [(side, 0.2, z), (side, _BONNET_M, z), (side, _BONNET_M, back), (side, 0.2, back)],
            _shade(car.body, 0.6),
        )
    cabin, top, rear = z + 0.9, z + 1.7, z + car.length_m - 0.5
    inner = 0.14
    _fill(
        camera,
        picture,
        [
            (left, _BONNET_M, z),
            (right, _BONNET_M, z),
            (right, _BONNET_M, cabin),
            (left, _BONNET_M, cabin),
        ],
        _shade(car.body, 1.2),
    )
    _fill(
        camera,
        picture,
        [
            (left + inner, _ROOF_M, top),
            (right - inner, _ROOF_M, top),
            (right - inner, _ROOF_M, rear),
            (left + inner, _ROOF_M, rear),
        ],
        _shade(car.body, 1.1),
    )
    _fill(
        camera,
        picture,
        [
            (left + 0.04, _BONNET_M, cabin),
            (right - 0.04, _BONNET_M, cabin),
            (right - inner, _ROOF_M, top),
            (left + inner, _ROOF_M, top),
        ],
        glass,
    )
    corners_m = np.array(
        [(left, _BONNET_M, z), (right, _BONNET_M, z), (right, 0.0, z), (left, 0.0, z)]
    )
    _warp_onto(picture, _face(car), camera.project(corners_m))


def _warp_onto(
    picture: NDArray[np.uint8], texture: NDArray[np.uint8], quad_px: NDArray[np.float64]
) -> None:
    """Lay `texture` into the quadrilateral; shrunk by area first, so that far text stays smooth."""
    target = max(8.0, float(np.linalg.norm(quad_px[1] - quad_px[0])) * 1.5)
    if target < texture.shape[1]:
        height = max(4, round(texture.shape[0] * target / texture.shape[1]))
        size = (round(target), height)
        texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    h, w = texture.shape[:2]
    source = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform(source, quad_px.astype(np.float32))
    size = (picture.shape[1], picture.shape[0])
    cv2.warpPerspective(
        texture,
        matrix,
        size,
        dst=picture,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def draw_road(camera: PinholeCamera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The empty street: sky, verge with texture, asphalt and lane marks, (H, W, 3) BGR."""
    height, width = camera.height_px, camera.width_px
    horizon = int(camera.project(np.array([(0.0, 0.0, 4000.0)]))[0, 1])
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = (96, 128, 110)
    if horizon > 0:
        sky = np.linspace(1.0, 0.8, horizon)[:, None, None] * np.array([235.0, 222.0, 205.0])
        picture[:horizon] = sky.astype(np.uint8)
        for _ in range(14):
            x0, tall = int(rng.integers(0, width)), int(rng.integers(10, 46))
            grey = int(rng.integers(95, 165))
            cv2.rectangle(
                picture,
                (x0, max(0, horizon - tall)),
                (x0 + int(rng.integers(40, 140)), horizon + 2),
                (grey, grey - 8, grey - 12),
                cv2.FILLED,
            )
    road = [(-3.6, 0.0, 4.0), (-3.6, 0.0, 400.0), (3.6, 0.0, 400.0), (3.6, 0.0, 4.0)]
    _fill(camera, picture, road, (112, 110, 108))
    for z in range(4, 120, 6):
        mark = [(-0.07, 0.0, z), (-0.07, 0.0, z + 3.0), (0.07, 0.0, z + 3.0), (0.07, 0.0, z)]
        _fill(camera, picture, [(x, y, float(d)) for x, y, d in mark], (225, 225, 225))
    grain = cv2.GaussianBlur(
        rng.normal(0.0, 14.0, (height, width, 1)).astype(np.float32), (0, 0), 1.2
    )
    noisy: NDArray[np.uint8] = np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)
    return noisy
