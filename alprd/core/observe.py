"""What of a frame's detections is worth reading and tracking.

Plate-shaped things that are not plates are turned away here by score and shape, before any time is
spent on them; what passes can still be turned away by what is read on it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alprd.core.geometry import (
    Quad,
    area,
    box_quad,
    covered,
    in_polygon,
    iou,
    is_box,
    is_clockwise_convex,
    quad_box,
    quad_centre,
    quad_size,
)
from alprd.core.plates import MAX_CHARS, MIN_CHARS, SHORT_CHARS, is_sure_and_short
from alprd.core.types import (
    ALPHABET,
    BLANK,
    PLATE_LABEL,
    BoxPx,
    Detection,
    Frame,
    PlateRead,
    PointPx,
)

MIN_SCORE: Final = 0.2
"""The detector's own threshold is in its manifest; this is the floor below any sensible one."""

MIN_WIDTH_PX: Final = 8.0
FAR_PX: Final = 1e6
"""A corner farther out than this is an error of the detector, not a plate."""

ASPECTS: Final = (0.5, 12.0)
"""Width to height: two-line motorcycle plates seen from the side to one-line plates from above."""

SAME_PLATE_IOU: Final = 0.4
SAME_PLATE_COVERED: Final = 0.7
MAX_PLATES: Final = 64
"""In one frame; more are noise, and the best-scored ones are kept."""

CHARACTERS: Final = frozenset(ALPHABET)
VEHICLE_TOP: Final = 0.3
"""A vehicle carries its plate below this share of its box's height."""


class Carrier(NamedTuple):
    """A vehicle in whose box a plate lies, and that vehicle's track."""

    id: int
    detection: Detection


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """One plate in one frame.

    Attributes:
        t_s: the frame's time.
        captured_at: the frame's wall time.
        frame_size: (width, height), pixels.
        quad: the plate's corners.
        x_px, y_px: the plate's centre.
        width_px, height_px: along the text and across it.
        since_s: time since the camera's frame before; infinite for its first one.
        score: the detector's.
        attempted: whether the plate was worth reading.
        read: what was read; None if nothing usable was.
        expected: regions whose plates are expected there; no part of what was read.
        vehicle: the vehicle that the plate sits on, if the detector saw one.
        vehicle_id: that vehicle's track, see `core.vehicles`.
        carriers: all vehicles that it may sit on, the smallest first.
    """

    t_s: float
    captured_at: datetime
    frame_size: tuple[int, int]
    quad: Quad
    x_px: float
    y_px: float
    width_px: float
    height_px: float
    score: float
    since_s: float = math.inf
    attempted: bool = False
    read: PlateRead | None = None
    expected: Collection[str] = ()
    vehicle: Detection | None = None
    vehicle_id: int | None = None
    carriers: tuple[Carrier, ...] = ()


class Plate(NamedTuple):
    """A plausible plate: the detection, its corners, the box around them and its size."""

    detection: Detection
    quad: Quad
    box: BoxPx
    centre: PointPx
    width_px: float
    height_px: float


def plausible_plates(
    detections: Sequence[Detection],
    *,
    frame_size: tuple[int, int],
    roi: Sequence[PointPx] | None,
) -> list[Plate]:
    """The detections that look like a plate inside the region of interest, best score first.

    Of detections that lie upon each other the best one stays. The order of `detections` does not
    matter.

    Args:
        detections: of one frame, in any order.
        frame_size: (width, height), pixels.
        roi: polygon in fractions of the frame; None for the whole frame.
    """
    plates = [p for d in detections if (p := _plate(d)) and _in_view(p.centre, frame_size, roi)]
    if len(plates) < 2:
        return plates
    plates.sort(key=lambda p: (-p.detection.score, p.quad))
    kept: list[Plate] = []
    for plate in plates:
        if len(kept) < MAX_PLATES and not any(_same_place(plate.box, k.box) for k in kept):
            kept.append(plate)
    return kept


def size_of(frame: Frame) -> tuple[int, int]:
    """(width, height), pixels."""
    return frame.size


def observed(
    plate: Plate,
    read: PlateRead | None,
    frame: Frame,
    vehicles: Sequence[Carrier],
    *,
    t_s: float,
    since_s: float,
    expected: Collection[str] = (),
) -> Observation:
    """A plate as its track gets it.

    Args:
        plate: what was found.
        read: what was read on it; None when nobody tried.
        frame: where.
        vehicles: those of the frame.
        t_s: its time, which never goes back.
        since_s: as in `Observation`.
        expected: as in `Observation`.
    """
    usable = None if read is None else usable_read(read)
    if usable is not None:
        plate = as_read(plate, usable)
    held_by = carriers(plate.centre, vehicles)
    return Observation(
        t_s=t_s,
        captured_at=frame.captured_at,
        frame_size=size_of(frame),
        quad=plate.quad,
        x_px=plate.centre[0],
        y_px=plate.centre[1],
        width_px=plate.width_px,
        height_px=plate.height_px,
        since_s=since_s,
        score=min(1.0, plate.detection.score),
        attempted=read is not None,
        read=usable,
        expected=expected,
        vehicle=held_by[0].detection if held_by else None,
        vehicle_id=held_by[0].id if held_by else None,
        carriers=held_by,
    )


def usable_read(read: PlateRead) -> PlateRead | None:
    """The read with everything in range; None if it can be no plate's text."""
    if not SHORT_CHARS <= len(read.text) <= MAX_CHARS or not CHARACTERS.issuperset(read.text):
        return None
    probs = read.char_probs
    if probs.shape != (len(read.text), BLANK + 1) or not bool(np.isfinite(probs).all()):
        return None
    if len(read.text) < MIN_CHARS and not is_sure_and_short(read.text, probs):
        return None
    quality = read.quality
    if (
        0.0 <= read.score <= 1.0
        and (quality is None or 0.0 <= quality <= 1.0)
        and math.isfinite(read.sharpness)
        and all(0.0 <= p <= 1.0 for _, p in read.regions)
    ):
        return read  # as nearly all are
    return replace(
        read,
        score=_fraction(read.score),
        quality=None if quality is None else _fraction(quality),
        regions=tuple((code, _fraction(p)) for code, p in read.regions),
        sharpness=read.sharpness if math.isfinite(read.sharpness) else 0.0,
    )


def as_read(plate: Plate, read: PlateRead) -> Plate:
    """The plate where the reader saw its corners.

    As it was detected where that is no plate, or lies outside the box that was detected.
    """
    if plate.detection.quad is read.quad:
        return plate
    found = plate.detection
    corrected = _shaped(found, _corners(read.quad))
    if corrected is None:
        return plate
    x1, y1, x2, y2 = found.box
    x, y = corrected.centre
    return corrected if x1 <= x < x2 and y1 <= y < y2 else plate


def carriers(centre: PointPx, vehicles: Sequence[Carrier]) -> tuple[Carrier, ...]:
    """The vehicles whose box holds the plate in its lower part, the smallest first."""
    x, y = centre
    holding = []
    for vehicle in vehicles:
        x1, y1, x2, y2 = vehicle.detection.box
        if x1 <= x < x2 and y1 + VEHICLE_TOP * (y2 - y1) <= y < y2:
            holding.append(vehicle)
    if len(holding) > 1:
        holding.sort(key=lambda v: (area(v.detection.box), v.detection.box, v.id))
    return tuple(holding)


def sane_vehicles(detections: Sequence[Detection]) -> list[Detection]:
    """The detections that are no plates and have a box and a score that make sense."""
    return [
        d
        for d in detections
        if d.label and d.label != PLATE_LABEL and is_box(d.box) and 0.0 < d.score <= 1.0
    ]


def _plate(detection: Detection) -> Plate | None:
    """The detection as a plate; None if it is none or cannot be one."""
    if detection.label != PLATE_LABEL or not detection.score >= MIN_SCORE:
        return None
    corners = detection.quad
    return _shaped(detection, box_quad(detection.box) if corners is None else _corners(corners))


def _shaped(detection: Detection, quad: Quad | None) -> Plate | None:
    """A detected plate with these corners; None if they cannot be a plate's."""
    if quad is None or not _is_near(quad) or not is_clockwise_convex(quad):
        return None
    width_px, height_px = quad_size(quad)
    if width_px < MIN_WIDTH_PX or not ASPECTS[0] <= width_px / height_px <= ASPECTS[1]:
        return None
    return Plate(
        detection=detection,
        quad=quad,
        box=quad_box(quad),
        centre=quad_centre(quad),
        width_px=width_px,
        height_px=height_px,
    )


def _corners(quad: NDArray[np.float32]) -> Quad | None:
    """The same as numbers; None if these are not four points."""
    if quad.shape != (4, 2):
        return None
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad.tolist()
    return ((ax, ay), (bx, by), (cx, cy), (dx, dy))


def _is_near(quad: Quad) -> bool:
    """Whether no corner is out of range; one that is no number is."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    return (
        -FAR_PX <= ax <= FAR_PX
        and -FAR_PX <= ay <= FAR_PX
        and -FAR_PX <= bx <= FAR_PX
        and -FAR_PX <= by <= FAR_PX
        and -FAR_PX <= cx <= FAR_PX
        and -FAR_PX <= cy <= FAR_PX
        and -FAR_PX <= dx <= FAR_PX
        and -FAR_PX <= dy <= FAR_PX
    )


def _in_view(centre: PointPx, frame_size: tuple[int, int], roi: Sequence[PointPx] | None) -> bool:
    if min(frame_size) <= 0:
        return False
    x, y = centre[0] / frame_size[0], centre[1] / frame_size[1]
    return 0.0 <= x < 1.0 and 0.0 <= y < 1.0 and (roi is None or in_polygon((x, y), roi))


def _same_place(a: BoxPx, b: BoxPx) -> bool:
    if a[0] >= b[2] or b[0] >= a[2]:  # side by side, as nearly all pairs are
        return False
    return iou(a, b) >= SAME_PLATE_IOU or covered(a, b) >= SAME_PLATE_COVERED


def _fraction(value: float) -> float:
    """0..1; what is not a number counts for nothing."""
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
