"""What a picture shows: the part of the frame, the plates that are covered, the JPEG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.geometry import Quad, in_polygon, quad_box, quad_centre
from alprd.core.types import BoxPx, Frame
from alprd.ports import ImageU8

VEHICLE_MARGIN: Final = 0.05
PLATE_MARGIN: Final = 0.3
"""Shown around it, in its box's sides."""

SURROUNDINGS: Final = (2.0, 2.5, 1.0)
"""Of a plate whose vehicle was not seen: plate widths to each side, above and below."""

COVER: Final = 1.35
"""A covered plate is covered by so many times its size: corners are found to a few pixels."""

COVER_BGR: Final = (128, 128, 128)


class JpegError(Exception):
    """A picture cannot be written as JPEG."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """A part of a frame.

    Attributes:
        image: (H, W, 3) uint8, BGR; the frame's own memory where all of it is shown.
        origin: its top left corner in the frame, pixels.
        own: corners of the event's plate in the frame; None for a vehicle without one.
        plates: corners of every plate that was found, this one's too.
        captured_at: when the frame was taken.
    """

    image: ImageU8
    origin: tuple[int, int]
    own: Quad | None
    plates: tuple[Quad, ...]
    captured_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """An encoded picture."""

    data: bytes
    width_px: int
    height_px: int


def cut_out(
    frame: Frame, crop: str, *, plate: Quad | None, vehicle: BoxPx | None, plates: Sequence[Quad]
) -> Cut:
    """The part of the frame that is worth keeping, as a copy; the frame itself for all of it.

    Args:
        frame: any.
        crop: frame, vehicle or plate.
        plate: corners of the pass's plate, None for a vehicle without one.
        vehicle: the box around it, None where none was seen.
        plates: corners of every plate in the frame.

    Raises:
        CameraError: a GPU that has the frame does not give it.
    """
    width, height = frame.size
    x1, y1, x2, y2 = _clipped(_wanted(crop, plate, vehicle, (width, height)), (width, height))
    whole = (x1, y1, x2, y2) == (0, 0, width, height)
    image = frame.host_image()
    return Cut(
        image=image if whole else image[y1:y2, x1:x2].copy(),
        origin=(x1, y1),
        own=plate,
        plates=tuple(plates),
        captured_at=frame.captured_at,
    )


def encode_cut(cut: Cut, *, plates: str, max_width_px: int, quality: int) -> Jpeg:
    """The picture as JPEG.

    Args:
        cut: what to show.
        plates: shown, own (all others are covered) or covered.
        max_width_px: a wider one is scaled down.
        quality: 10 to 100.

    Raises:
        JpegError: OpenCV cannot.
    """
    image = cut.image
    hidden = _hidden(cut, plates)
    if hidden:
        image = image.copy()
        for quad in hidden:
            cv2.fillConvexPoly(image, _cover(quad, cut.origin), COVER_BGR)
    height, width = image.shape[:2]
    if width > max_width_px:
        height = max(1, round(height * max_width_px / width))
        width = max_width_px
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    return Jpeg(data=encode_jpeg(image, quality), width_px=width, height_px=height)


def encode_jpeg(image: ImageU8, quality: int) -> bytes:
    """The image as JPEG. Raises JpegError."""
    try:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise JpegError(f"no JPEG can be made of {image.shape}: {error.err}") from error
    if not done:
        raise JpegError(f"no JPEG can be made of {image.shape}")
    return data.tobytes()


def _hidden(cut: Cut, plates: str) -> list[Quad]:
    """Which plates are covered."""
    if plates == "shown":
        return []
    if cut.own is None or plates == "covered":
        return [*cut.plates, *([] if cut.own is None else [cut.own])]
    # The same plate may have been found twice, and its corners may have been mended.
    (x1, y1, x2, y2), own = quad_box(cut.own), quad_centre(cut.own)
    return [
        quad
        for quad in cut.plates
        if not (x1 <= quad_centre(quad)[0] <= x2 and y1 <= quad_centre(quad)[1] <= y2)
        and not in_polygon(own, quad)
    ]


def _wanted(crop: str, plate: Quad | None, vehicle: BoxPx | None, size: tuple[int, int]) -> BoxPx:
    if crop == "plate" and plate is not None:
        return _grown(quad_box(plate), PLATE_MARGIN)
    if crop != "frame" and vehicle is not None:
        return _grown(vehicle, VEHICLE_MARGIN)
    if crop != "frame" and plate is not None:
        (x, y), (x1, _, x2, _) = quad_centre(plate), quad_box(plate)
        side, above, below = (share * (x2 - x1) for share in SURROUNDINGS)
        return x - side, y - above, x + side, y + below
    return 0.0, 0.0, float(size[0]), float(size[1])


def _grown(box: BoxPx, share: float) -> BoxPx:
    x1, y1, x2, y2 = box
    across, down = share * (x2 - x1), share * (y2 - y1)
    return x1 - across, y1 - down, x2 + across, y2 + down


def _clipped(box: BoxPx, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels inside the frame; the whole frame where nothing would be left."""
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(size[0], math.ceil(box[2])), min(size[1], math.ceil(box[3]))
    return (x1, y1, x2, y2) if x2 - x1 >= 2 and y2 - y1 >= 2 else (0, 0, *size)


def _cover(quad: Quad, origin: tuple[int, int]) -> NDArray[np.int32]:
    corners = np.asarray(quad, np.float64)
    centre = corners.mean(axis=0)
    grown = centre + COVER * (corners - centre) - np.asarray(origin)
    corners_px: NDArray[np.int32] = np.clip(np.round(grown), -32768, 32767).astype(np.int32)
    return corners_px
