"""From pictures to network inputs on the CPU: fit, rectify, normalise into preallocated batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import Placement, letterbox, stretch
from alprd.core.types import FrameImage, PointPx, host_image
from alprd.inference.manifest import InputSpec
from alprd.ports import CameraError, ImageU8

_FLAT = float(np.finfo(np.float32).eps)  # what OpenCV takes for infinitely far
_NOTHING = (0.0,) * 9
SUPERSAMPLING_MAX = 8  # beyond it a plate is so large that aliasing no longer hurts


class ImageError(Exception):
    """A picture that cannot be processed; others can."""


def check_image(image: ImageU8) -> None:
    """Refuse what is not a (H, W, 3) uint8 picture. Raises ImageError."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"a frame of shape {image.shape} and type {image.dtype} is no (height, width, 3) "
            "uint8 picture"
        )


def on_host(image: FrameImage) -> ImageU8:
    """The picture where the CPU can work on it: the one place that asks the GPU for it here.

    Raises:
        ImageError: the GPU does not give it.
    """
    try:
        return host_image(image)
    except CameraError as error:
        raise ImageError(str(error)) from error


@contextmanager
def opencv_errors() -> Iterator[None]:
    """OpenCV's refusals of a picture as ImageError."""
    try:
        yield
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot process the frame: {error.err}") from error


class InputBatch:
    """A network's input, allocated once; pictures are written into its rows."""

    def __init__(self, spec: InputSpec, max_batch: int) -> None:
        self._spec = spec
        self._place = letterbox if spec.resize == "letterbox" else stretch
        self._canvas = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
        self._planes = np.empty((3, spec.height, spec.width), np.uint8)
        # Memory order of the planes is the network's, the list is OpenCV's blue, green, red.
        planes = list(self._planes)
        self._bgr_planes = planes[::-1] if spec.colour == "RGB" else planes
        scale = np.float32(spec.scale) / np.asarray(spec.std, np.float32)
        shift = np.asarray(spec.mean, np.float32) / np.asarray(spec.std, np.float32)
        per_channel = (-1, 1, 1) if spec.layout == "NCHW" else (1, 1, -1)
        # One common factor multiplies faster than one per channel.
        uniform = bool((scale == scale[0]).all())
        self._scale = scale[0] if uniform else scale.reshape(per_channel)
        self._shift = shift.reshape(per_channel) if shift.any() else None
        self.rows: NDArray[Any] = np.zeros((max_batch, *spec.shape), spec.type)
        # Half precision is rounded to once, at the end.
        self._exact = np.empty(spec.shape, np.float32) if spec.type == "float16" else None

    @property
    def max_batch(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def fill_fitted(self, row: int, image: ImageU8) -> Placement:
        """Fit a whole frame into a row as the manifest says. Raises ImageError."""
        check_image(image)
        height, width = image.shape[:2]
        spec, canvas = self._spec, self._canvas
        placed = self._place((width, height), (spec.width, spec.height))
        left, top = placed.offset_x, placed.offset_y
        right, bottom = left + placed.width, top + placed.height
        # The canvas is reused: whatever lies outside this frame is padding again.
        canvas[:top] = canvas[bottom:] = spec.pad_value
        canvas[top:bottom, :left] = canvas[top:bottom, right:] = spec.pad_value
        with opencv_errors():
            _resize(image, canvas[top:bottom, left:right])
            self.fill(row, canvas)
        return placed

    def fill(self, row: int, picture: ImageU8) -> None:
        """Normalise a (height, width, 3) BGR picture of the input's own size into a row."""
        ordered = self._ordered(picture)
        if self._spec.type == "uint8":
            self.rows[row] = ordered
            return
        out = self.rows[row] if self._exact is None else self._exact
        np.multiply(ordered, self._scale, out=out)
        if self._shift is not None:
            np.subtract(out, self._shift, out=out)
        if self._exact is not None:
            self.rows[row] = out

    def _ordered(self, picture: ImageU8) -> NDArray[np.uint8]:
        """The pixels in the network's own shape and colours."""
        spec = self._spec
        if spec.colour == "GRAY":
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            return np.asarray(grey.reshape(spec.shape), np.uint8)
        if spec.layout == "NCHW":
            cv2.split(picture, self._bgr_planes)
            return self._planes
        if spec.colour == "BGR":
            return picture
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _resize(image: ImageU8, out: ImageU8) -> None:
    """Resize into `out`; fine detail is averaged before it can alias."""
    height, width = out.shape[:2]
    # Bilinear sampling looks at two pixels a side: from a third of the size on it skips some.
    # Halving by area is cheap, so the frame is halved until bilinear sampling sees everything.
    while min(image.shape[0] / height, image.shape[1] / width) > 2.0:
        image = np.asarray(
            cv2.resize(
                image,
                (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)),
                interpolation=cv2.INTER_AREA,
            ),
            np.uint8,
        )
    cv2.resize(image, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)


def inset(margins: tuple[float, float]) -> NDArray[np.float32]:
    """(4, 2) where a rectified plate's corners lie, in parts of the picture."""
    x, y = margins
    return np.array([[x, y], [1.0 - x, y], [1.0 - x, 1.0 - y], [x, 1.0 - y]], np.float32)


def unrectified(
    points: NDArray[np.float32], quads: NDArray[np.float32], margins: tuple[float, float]
) -> NDArray[np.float32]:
    """(P, n, 2) points of rectified pictures, back in their frames.

    Of a picture whose corners enclose nothing they are all in one place.

    Args:
        points: (P, n, 2) in parts of the pictures' width and height.
        quads: (P, 4, 2) the corners, in the frames' pixels, that the pictures were cut out by.
        margins: fractions of their width and height that were left on each side.
    """
    low = quads.min(axis=1)  # far from the origin single precision would blur the corners
    near = (quads - low[:, None]).astype(np.float32)
    (x1, y1), _, (x2, y2), _ = inset(margins).tolist()
    found = []
    for quad, (left, top), picture in zip(
        near.tolist(), low.tolist(), points.tolist(), strict=True
    ):
        a, b, c, d, e, f, g, h, i = perspective((x1, y1), (x2 - x1, y2 - y1), quad)
        for x, y in picture:
            depth = g * x + h * y + i
            scale = 1.0 / depth if abs(depth) > _FLAT else 0.0
            found.append(((a * x + b * y + c) * scale + left, (d * x + e * y + f) * scale + top))
    return np.array(found, np.float32).reshape(points.shape)


def perspective(
    corner: PointPx, size: tuple[float, float], quad: Sequence[PointPx]
) -> tuple[float, ...]:
    """The nine values, row by row, of the map of an upright rectangle onto a quad.

    They are zeros for corners that enclose nothing.

    Args:
        corner: the rectangle's top left one.
        size: its width and height.
        quad: where its corners go, clockwise from the top left.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    # Of the unit square first, in closed form (Heckbert); then the rectangle is scaled to it.
    skew_x, skew_y = ax - bx + cx - dx, ay - by + cy - dy
    right_x, right_y, down_x, down_y = bx - cx, by - cy, dx - cx, dy - cy
    area = right_x * down_y - down_x * right_y
    if area == 0.0:
        return _NOTHING
    g = (skew_x * down_y - down_x * skew_y) / area
    h = (right_x * skew_y - skew_x * right_y) / area
    (x, y), (width, height) = corner, size
    xx, xy = (bx - ax + g * bx) / width, (dx - ax + h * dx) / height
    yx, yy = (by - ay + g * by) / width, (dy - ay + h * dy) / height
    wx, wy = g / width, h / height
    found = (
        *(xx, xy, ax - (xx * x + xy * y)),
        *(yx, yy, ay - (yx * x + yy * y)),
        *(wx, wy, 1.0 - (wx * x + wy * y)),
    )
    return found if all(map(math.isfinite, found)) else _NOTHING


def rectify(
    image: ImageU8,
    quad: NDArray[np.float32],
    size: tuple[int, int],
    margins: tuple[float, float] = (0.0, 0.0),
) -> ImageU8:
    """The plate inside `quad` as an upright picture.

    The corners land on the rectangle inset by the margins, so a little of the surroundings shows.

    Args:
        image: (H, W, 3) BGR frame.
        quad: (4, 2) corners in the frame's pixels, clockwise from the plate's own top left.
        size: (width, height) of the result.
        margins: fractions of the result's width and height left on each side.

    Raises:
        ImageError: the frame cannot be processed, or corners are no numbers.
    """
    width, height = size
    target = inset(margins) * np.array(size, np.float32)
    # Only the plate's surroundings are handed to OpenCV, whose warp refuses very wide frames.
    plain = quad.tolist()
    left, top, right, bottom = surroundings(plain, image.shape[1], image.shape[0])
    region, corners = image[top:bottom, left:right], quad - np.array((left, top), np.float32)
    # A plate much larger than the crop is sampled more finely, then averaged: no aliasing.
    inside = (width * (1.0 - 2.0 * margins[0]), height * (1.0 - 2.0 * margins[1]))
    times_x, times_y = supersampling(plain, inside)
    # OpenCV counts from pixel centres, we from pixel edges.
    finer = target * np.array([times_x, times_y], np.float32) - np.float32(0.5)
    with opencv_errors():
        warped = cv2.warpPerspective(
            region,
            cv2.getPerspectiveTransform(corners - np.float32(0.5), finer),
            (width * times_x, height * times_y),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if times_x > 1 or times_y > 1:
            warped = cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)


def surroundings(quad: Sequence[PointPx], width: int, height: int) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 of the part of a frame around a quad; it has at least one pixel.

    Raises:
        ImageError: corners that are no numbers.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    if not math.isfinite(ax + ay + bx + by + cx + cy + dx + dy):
        raise ImageError("the corners of a plate are no numbers")
    left, right = _around(min(ax, bx, cx, dx), max(ax, bx, cx, dx), width)
    top, bottom = _around(min(ay, by, cy, dy), max(ay, by, cy, dy), height)
    return left, top, right, bottom


def _around(low: float, high: float, length: int) -> tuple[int, int]:
    margin = math.ceil(0.5 * (high - low)) + 2
    first = min(max(math.floor(low - margin), 0), length - 1)
    return first, min(max(math.ceil(high + margin), first + 1), length)


def supersampling(quad: Sequence[PointPx], inside: tuple[float, float]) -> tuple[int, int]:
    """How often each pixel of a crop is sampled, across and down.

    Args:
        quad: the plate's corners in the frame.
        inside: width and height of the plate in the crop.
    """
    a, b, c, d = quad
    return (
        _times((math.dist(a, b) + math.dist(c, d)) / 2.0, inside[0]),
        _times((math.dist(b, c) + math.dist(d, a)) / 2.0, inside[1]),
    )


def _times(source_px: float, target_px: float) -> int:
    return min(max(round(source_px / target_px), 1), SUPERSAMPLING_MAX)


def sharpness(picture: ImageU8) -> float:
    """Variance of the Laplacian of a BGR picture's grey values; greater is sharper."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2
