"""A pinhole camera above a road, and vehicles with plates on it: the geometry of the simulation.

The world is in metres: x to the right, y ahead, z up, the road at z = 0. Angles of the ground are
headings: 0 along y, clockwise as seen from above. What a detector makes of a scene is in
`support.simulator_scene`, random traffic in `support.simulator_traffic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float]

PLATE_M = (0.52, 0.11)
MOTORCYCLE_PLATE_M = (0.229, 0.178)
NEAR_M = 0.5
"""What is nearer than this to the camera is not in the picture."""


@dataclass(frozen=True, kw_only=True)
class PinholeCamera:
    """A camera on a pole.

    Attributes:
        position_m: of the lens: x, y and the height above the road.
        yaw_deg: heading of the optical axis.
        tilt_deg: how far it looks down.
        focal_px: focal length.
        size: (width, height) of the picture, pixels.
        k1, k2: radial distortion (negative k1: barrel), as OpenCV defines it.
        readout_s: rolling shutter: time between the exposures of the first and the last row.
    """

    position_m: tuple[float, float, float] = (0.0, 0.0, 6.0)
    yaw_deg: float = 0.0
    tilt_deg: float = 15.0
    focal_px: float = 1400.0
    size: tuple[int, int] = (1280, 720)
    k1: float = 0.0
    k2: float = 0.0
    readout_s: float = 0.0

    @property
    def rotation(self) -> Floats:
        """(3, 3) world to camera; the camera's axes are right, down and ahead."""
        yaw, tilt = math.radians(self.yaw_deg), math.radians(self.tilt_deg)
        ahead = (
            math.sin(yaw) * math.cos(tilt),
            math.cos(yaw) * math.cos(tilt),
            -math.sin(tilt),
        )
        right = (math.cos(yaw), -math.sin(yaw), 0.0)
        return np.array([right, np.cross(ahead, right), ahead])

    @property
    def intrinsics(self) -> Floats:
        """(3, 3) K; the principal point is the picture's middle."""
        width, height = self.size
        return np.array(
            [[self.focal_px, 0.0, width / 2], [0.0, self.focal_px, height / 2], [0.0, 0.0, 1.0]]
        )

    @property
    def distortion(self) -> tuple[float, float, float, float, float]:
        """k1, k2, p1, p2, k3, as OpenCV takes them."""
        return (self.k1, self.k2, 0.0, 0.0, 0.0)

    @property
    def matrix(self) -> Floats:
        """(3, 4) K [R | -R C]: what projects without distortion."""
        rotation = self.rotation
        shift = -rotation @ np.array(self.position_m)
        return self.intrinsics @ np.column_stack([rotation, shift])

    def project(self, points_m: Floats) -> Floats:
        """(N, 2) pixels of (N, 3) world points; NaN for what cannot be in the picture."""
        seen = (np.asarray(points_m, float) - np.array(self.position_m)) @ self.rotation.T
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2]
        r2 = x * x + y * y
        bent = 1.0 + self.k1 * r2 + self.k2 * r2 * r2
        # Beyond the radius where the polynomial turns, it would fold far points into the picture.
        folded = 1.0 + 3.0 * self.k1 * r2 + 5.0 * self.k2 * r2 * r2 <= 0.0
        px = np.column_stack([x * bent, y * bent]) * self.focal_px + np.array(self.size) / 2
        px[(seen[:, 2] < NEAR_M) | folded] = np.nan
        return px

    def project_ground(self, points_m: Sequence[Point], *, height_m: float = 0.0) -> Floats:
        """(N, 2) pixels of points (x, y) on the road, or in a plane `height_m` above it."""
        return self.project(np.array([(x, y, height_m) for x, y in points_m]))

    def project_moving(self, where: Callable[[float], Floats], t_s: float) -> Floats:
        """(N, 2) pixels of moving points: each row of the picture has a time of its own.

        Args:
            where: (N, 3) world points at a time.
            t_s: when the middle row is exposed.
        """
        px = self.project(where(t_s))
        if self.readout_s == 0.0:
            return px
        for _ in range(2):
            if np.isnan(px).all():
                break
            row = float(np.nanmean(px[:, 1])) / self.size[1] - 0.5
            px = self.project(where(t_s + self.readout_s * min(0.5, max(-0.5, row))))
        return px

    def sees(self, px: Point) -> bool:
        """Whether a point lies inside the picture."""
        return 0.0 <= px[0] < self.size[0] and 0.0 <= px[1] < self.size[1]


@dataclass(frozen=True, kw_only=True)
class Trip:
    """A straight drive.

    Attributes:
        start_m: where the vehicle's middle is at the first time.
        heading_deg: where it goes.
        speeds: (t_s, m/s), at least two, oldest first; linear in between, so an acceleration is a
            slope and a stop a stretch of zeros. It exists from the first to the last time.
    """

    start_m: Point
    heading_deg: float
    speeds: tuple[tuple[float, float], ...]

    @property
    def begin_s(self) -> float:
        return self.speeds[0][0]

    @property
    def end_s(self) -> float:
        return self.speeds[-1][0]

    @property
    def along(self) -> Point:
        """Unit vector of the heading."""
        heading = math.radians(self.heading_deg)
        return math.sin(heading), math.cos(heading)

    def speed_m_s(self, t_s: float) -> float:
        return float(np.interp(t_s, *zip(*self.speeds, strict=True)))

    def distance_m(self, t_s: float) -> float:
        """Driven since the first time; goes on at the ends' speeds."""
        driven = min(0.0, t_s - self.begin_s) * self.speeds[0][1]
        for (t0, v0), (t1, v1) in pairwise(self.speeds):
            dt = min(t_s, t1) - t0
            if dt <= 0.0:
                break
            driven += v0 * dt + 0.5 * (v1 - v0) / (t1 - t0) * dt * dt
        return driven + max(0.0, t_s - self.end_s) * self.speeds[-1][1]

    def place_m(self, t_s: float) -> Point:
        """The vehicle's middle on the road."""
        driven, (x, y) = self.distance_m(t_s), self.along
        return self.start_m[0] + driven * x, self.start_m[1] + driven * y


@dataclass(frozen=True, kw_only=True)
class SimVehicle:
    """A vehicle that drives straight.

    Attributes:
        id: its true identity.
        plate: what is written on it; "" for one that has none.
        kind: its detection's label.
        size_m: length, width and height.
        plates: where plates are: "front", "rear" or both.
        plate_m, plate_height_m: a plate's size, and how high above the road its middle is.
    """

    id: int
    plate: str
    trip: Trip
    kind: str = "car"
    size_m: tuple[float, float, float] = (4.4, 1.8, 1.5)
    plates: tuple[str, ...] = ("front", "rear")
    plate_m: tuple[float, float] = PLATE_M
    plate_height_m: float = 0.5

    def hull_m(self, t_s: float) -> Floats:
        """(8, 3) the corners of the box around it."""
        length, width, height = self.size_m
        return np.array(
            [
                (*self._beside(t_s, along, across), up)
                for up in (0.0, height)
                for along, across in (
                    (-length / 2, -width / 2),
                    (-length / 2, width / 2),
                    (length / 2, width / 2),
                    (length / 2, -width / 2),
                )
            ]
        )

    def plate_quad_m(self, face: str, t_s: float) -> Floats:
        """(4, 3) the corners of a plate, clockwise from the top left of one who reads it."""
        side = 1.0 if face == "front" else -1.0
        width, height = self.plate_m
        return np.array(
            [
                (
                    *self._beside(t_s, side * self.size_m[0] / 2, -side * right * width / 2),
                    self.plate_height_m + up * height / 2,
                )
                for right, up in ((-1.0, 1.0), (1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
            ]
        )

    def facing(self, face: str, t_s: float, viewer_m: tuple[float, float, float]) -> float:
        """Cosine of the angle between the plate's normal and the line to the viewer."""
        side = 1.0 if face == "front" else -1.0
        centre = self.plate_quad_m(face, t_s).mean(axis=0)
        to_viewer = np.array(viewer_m) - centre
        x, y = self.trip.along
        return float(side * (x * to_viewer[0] + y * to_viewer[1]) / np.linalg.norm(to_viewer))

    def hides(self, t_s: float, a_m: Floats, b_m: Floats) -> bool:
        """Whether its box cuts the segment between two points."""
        centre = (*self.trip.place_m(t_s), self.size_m[2] / 2)
        return cuts_box(a_m, b_m, centre, self.size_m, self.trip.heading_deg)

    def _beside(self, t_s: float, along: float, across: float) -> Point:
        (x, y), (dx, dy) = self.trip.place_m(t_s), self.trip.along
        return x + along * dx + across * dy, y + along * dy - across * dx


@dataclass(frozen=True, kw_only=True)
class Post:
    """Something upright that hides what is behind it, seen as a box facing along y."""

    place_m: Point
    width_m: float
    height_m: float = 6.0

    def hides(self, t_s: float, a_m: Floats, b_m: Floats) -> bool:
        """Whether it cuts the segment between two points."""
        size = (self.width_m, self.width_m, self.height_m)
        return cuts_box(a_m, b_m, (*self.place_m, self.height_m / 2), size, 0.0)


def cuts_box(
    a_m: Floats,
    b_m: Floats,
    centre_m: tuple[float, float, float],
    size_m: tuple[float, float, float],
    heading_deg: float,
) -> bool:
    """Whether the segment a-b meets a box of a length (along its heading), width and height."""
    heading = math.radians(heading_deg)
    along = np.array([math.sin(heading), math.cos(heading), 0.0])
    across = np.array([math.cos(heading), -math.sin(heading), 0.0])
    axes = np.array([along, across, [0.0, 0.0, 1.0]])
    a, b = axes @ (a_m - np.array(centre_m)), axes @ (b_m - np.array(centre_m))
    enter, leave = 0.0, 1.0
    for k in range(3):
        half, step = size_m[k] / 2, b[k] - a[k]
        if abs(step) < 1e-12:
            if abs(a[k]) >= half:
                return False
            continue
        low, high = sorted(((-half - a[k]) / step, (half - a[k]) / step))
        enter, leave = max(enter, low), min(leave, high)
    return bool(enter < leave)
