"""Vehicles over time, by their boxes; what plates are bound to.

A vehicle is followed whether its plate is seen or not. Only geometry counts: a predicted centre, a
gate of its size and the time since it was seen, the nearest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Final, NamedTuple

import numpy as np

from alprd.core.edges import comes_in_again, cut_sides
from alprd.core.forecast import slopes
from alprd.core.geometry import iou
from alprd.core.matching import FEW_PAIRS
from alprd.core.tracking import PathPoint, thinned
from alprd.core.types import Detection, PointPx

SAME_VEHICLE_IOU: Final = 0.6
"""Boxes that overlap by more are one vehicle, found as a car and as a truck."""

MAX_VEHICLES: Final = 128
"""In one frame; more are noise, and the best-scored ones are kept."""

# Gates, in the square root of the box's area, as in `core.matching`. 16 of them a second are about
# 100 km/h along the road for a car that has been seen once.
NEAR: Final = 0.4
NEW_PER_S: Final = 12.0
KNOWN_PER_S: Final = 1.0
KNOWN_SPEED_SHARE: Final = 0.4
MAX_SIZES: Final = 3.0
SCALE_OFF: Final = 0.5
CUT_OFF: Final = 1.2
"""A vehicle that comes into the picture, or goes out of it, grows or shrinks as it likes."""

SCALE_NEW_PER_S: Final = 2.0
SCALE_PER_S: Final = 0.6
SCALE_COST: Final = 0.5
LOST_S: Final = 0.6
LOST_SIZES: Final = 0.7
"""A vehicle that was hidden for longer is only taken up again where it must be by then: another one
may have come, and the plate's own text tells where it went."""

TWO_WHEELED: Final = frozenset({"motorcycle", "bicycle"})
KIND_COST: Final = 0.5
"""Of a car where a motorcycle was: a detector errs, but rather takes a car for a truck."""

TURN_SPEED: Final = 0.7
TURN_SIZES: Final = 0.3
"""A vehicle faster than this, in sizes a second, does not go back by more than these."""

TREND: Final = 0.25
"""Out of sight a vehicle that came so much nearer (logarithm of its size) is not far away again."""

EDGE_SHARE: Final = 0.25
"""A vehicle whose box ended nearer to the picture's edge than this share of it has gone out."""

UNREAD_SIGHTINGS: Final = 5
UNREAD_S: Final = 0.4
PLATES_WIDE: Final = 3.5
"""A vehicle is so many plates wide: one that is narrower in the picture shows none to be read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VehicleSeen:
    """One vehicle in one frame.

    Attributes:
        t_s: the frame's time.
        captured_at: its wall time.
        frame_size: (width, height), pixels.
        detection: of the vehicle.
        centre, size: of its box; worked out once, for every pair of a frame is told by them.
        is_whole: whether the box is not cut off by the picture's edge.
    """

    t_s: float
    captured_at: datetime
    frame_size: tuple[int, int]
    detection: Detection
    centre: PointPx = field(init=False)
    size: tuple[float, float] = field(init=False)
    is_whole: bool = field(init=False)

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = box = self.detection.box
        object.__setattr__(self, "centre", ((x1 + x2) / 2, (y1 + y2) / 2))
        object.__setattr__(self, "size", (x2 - x1, y2 - y1))
        object.__setattr__(self, "is_whole", True not in cut_sides(box, self.frame_size))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VehicleTrack:
    """One vehicle over time. Replaced, never mutated.

    Attributes:
        id: counts the camera's vehicles, from 1.
        path: its box's centre and size, oldest first; thinned when long.
        whole: the same of the boxes that the picture's edge does not cut off.
        first, last: the first and the newest sighting.
        shown: the sighting that shows it best.
        labels: (type, sum of scores).
        sightings: how often it was seen.
    """

    id: int
    path: tuple[PathPoint, ...]
    whole: tuple[PathPoint, ...]
    first: VehicleSeen
    last: VehicleSeen
    shown: VehicleSeen
    labels: tuple[tuple[str, float], ...] = ()
    sightings: int = 0

    @property
    def type(self) -> tuple[str, float]:
        """The type with the greatest sum of scores, and its mean score over all sightings."""
        labels = self.labels
        label, total = labels[0] if len(labels) == 1 else max(labels, key=lambda v: (v[1], v[0]))
        return label, min(1.0, total / self.sightings)


def distinct_vehicles(vehicles: Sequence[Detection]) -> list[Detection]:
    """Of boxes that lie upon each other the best one; their order does not matter."""
    if len(vehicles) < 2:
        return list(vehicles)
    ranked = sorted(vehicles, key=lambda v: (-v.score, v.box, v.label))
    kept: list[Detection] = []
    for vehicle in ranked:
        if len(kept) == MAX_VEHICLES:
            break
        if not any(iou(vehicle.box, k.box) >= SAME_VEHICLE_IOU for k in kept):
            kept.append(vehicle)
    return kept


def follow_vehicles(
    tracks: Sequence[VehicleTrack], seen: Sequence[VehicleSeen], next_id: int
) -> tuple[tuple[VehicleTrack, ...], list[int], int]:
    """One frame's vehicles given to their tracks: all tracks, each sighting's id, the next id."""
    if not seen:
        return tuple(tracks), [], next_id
    ahead = [_forecast(track, seen[0].t_s) for track in tracks]
    costs = [
        (cost, tracks[i].id, seen[j].detection.box, i, j)
        for i, j in _worth_a_look(ahead, seen)
        if (cost := _cost(tracks[i], ahead[i], seen[j])) is not None
    ]
    costs.sort()
    partner: dict[int, int] = {}
    owner: dict[int, int] = {}
    for _, _, _, i, j in costs:
        if i not in partner and j not in owner:
            partner[i], owner[j] = j, i
    grown = [
        _see(track, seen[partner[i]]) if i in partner else track for i, track in enumerate(tracks)
    ]
    ids = {j: tracks[i].id for j, i in owner.items()}
    new = [j for j in range(len(seen)) if j not in ids]
    for j in sorted(new, key=lambda j: seen[j].detection.box):
        grown.append(_begin(next_id, seen[j]))
        ids[j] = next_id
        next_id += 1
    return tuple(grown), [ids[j] for j in range(len(seen))], next_id


def could_be_read(track: VehicleTrack, min_plate_width_px: float) -> bool:
    """Whether it was seen long and near enough that a plate on it would have been read."""
    return (
        track.sightings >= UNREAD_SIGHTINGS
        and track.last.t_s - track.first.t_s >= UNREAD_S
        and track.shown.size[0] >= PLATES_WIDE * min_plate_width_px
    )


def has_left(track: VehicleTrack, label: str) -> bool:
    """Whether it went out of the picture, or so far away that it was not found any more.

    What vanishes elsewhere is hidden, and may come again and show its plate.

    Args:
        track: a vehicle that was lost.
        label: its direction.
    """
    x1, y1, x2, y2 = track.last.detection.box
    (width, height), (frame_width, frame_height) = track.last.size, track.last.frame_size
    at_edge = (
        min(x1, frame_width - x2) < EDGE_SHARE * width
        or min(y1, frame_height - y2) < EDGE_SHARE * height
    )
    return at_edge or label == "receding"


def _begin(track_id: int, seen: VehicleSeen) -> VehicleTrack:
    track = VehicleTrack(id=track_id, path=(), whole=(), first=seen, last=seen, shown=seen)
    return _see(track, seen)


def _see(track: VehicleTrack, seen: VehicleSeen) -> VehicleTrack:
    """The track with one more sighting."""
    (x, y), (width, height) = seen.centre, seen.size
    point = PathPoint(t_s=seen.t_s, x_px=x, y_px=y, width_px=width, height_px=height)
    return VehicleTrack(
        id=track.id,
        path=thinned((*track.path, point)),
        whole=thinned((*track.whole, point)) if seen.is_whole else track.whole,
        first=track.first,
        last=seen,
        shown=seen if _shows(seen) > _shows(track.shown) else track.shown,
        labels=_labelled(track.labels, seen.detection),
        sightings=track.sightings + 1,
    )


def _shows(seen: VehicleSeen) -> tuple[bool, float]:
    width, height = seen.size
    return seen.is_whole, width * height * seen.detection.score


def _labelled(
    labels: tuple[tuple[str, float], ...], found: Detection
) -> tuple[tuple[str, float], ...]:
    for i, (label, total) in enumerate(labels):
        if label == found.label:
            return (*labels[:i], (label, total + found.score), *labels[i + 1 :])
    return (*labels, (found.label, found.score))


class _Forecast(NamedTuple):
    """Where a vehicle is expected, and how far from there, in sizes of its box, it may be."""

    x_px: float
    y_px: float
    dt_s: float
    vx_px_s: float
    vy_px_s: float
    growth_per_s: float
    scale_off: float
    sizes: float
    size_px: float
    free_px: float


def _forecast(track: VehicleTrack, t_s: float) -> _Forecast:
    newest = track.path[-1]
    dt_s = max(0.0, t_s - newest.t_s)
    known = slopes(track.path)
    vx, vy, growth = known or (0.0, 0.0, 0.0)
    scale_per_s = SCALE_NEW_PER_S if known is None else SCALE_PER_S + abs(growth) / 2
    per_s = NEW_PER_S if known is None else KNOWN_PER_S
    return _Forecast(
        x_px=newest.x_px + vx * dt_s,
        y_px=newest.y_px + vy * dt_s,
        dt_s=dt_s,
        vx_px_s=vx,
        vy_px_s=vy,
        growth_per_s=growth,
        scale_off=SCALE_OFF + scale_per_s * dt_s,
        sizes=min(NEAR + per_s * dt_s, MAX_SIZES) if dt_s <= LOST_S else LOST_SIZES,
        size_px=math.sqrt(newest.width_px * newest.height_px),
        free_px=KNOWN_SPEED_SHARE * math.hypot(vx, vy) * dt_s,
    )


def _worth_a_look(
    ahead: Sequence[_Forecast], seen: Sequence[VehicleSeen]
) -> Iterable[tuple[int, int]]:
    """The pairs that are within each other's gate: in a crowd few of all."""
    if len(ahead) * len(seen) <= FEW_PAIRS:
        return product(range(len(ahead)), range(len(seen)))
    there = np.array([(f.x_px, f.y_px, f.size_px, f.sizes, f.free_px) for f in ahead])
    here = np.array([(*o.centre, math.sqrt(o.size[0] * o.size[1])) for o in seen])
    apart = np.hypot(there[:, None, 0] - here[None, :, 0], there[:, None, 1] - here[None, :, 1])
    size = np.maximum(there[:, None, 2], here[None, :, 2])
    near = apart <= (there[:, None, 3] * size + there[:, None, 4]) * (1.0 + 1e-9)
    return ((int(i), int(j)) for i, j in np.argwhere(near))


def _cost(track: VehicleTrack, ahead: _Forecast, seen: VehicleSeen) -> float | None:
    """The distance in gates, and more for another size; None when it cannot be the vehicle."""
    newest = track.path[-1]
    width, height = seen.size
    gate_px = ahead.sizes * max(ahead.size_px, math.sqrt(width * height)) + ahead.free_px
    distance_px = math.dist((ahead.x_px, ahead.y_px), seen.centre)
    if distance_px > gate_px:
        return None
    grown = ahead.growth_per_s * ahead.dt_s
    wider = math.log(width / newest.width_px) - grown
    higher = math.log(height / newest.height_px) - grown
    cut = not (seen.is_whole and track.last.is_whole)
    if max(abs(wider), abs(higher)) > ahead.scale_off + CUT_OFF * cut:
        return None
    other_kind = _is_of_another_kind(track, seen)
    if ahead.dt_s > LOST_S and (other_kind or _comes_again(track, seen)):
        return None
    if _turns_back(ahead, newest, seen):
        return None
    if comes_in_again(track.path, seen.frame_size, seen.detection.box):
        return None
    unlike = SCALE_COST * (abs(wider) + abs(higher)) + KIND_COST * other_kind
    return distance_px / gate_px + unlike


def _is_of_another_kind(track: VehicleTrack, seen: VehicleSeen) -> bool:
    """Whether one has two wheels and the other four, as far as the detector tells."""
    return (track.type[0] in TWO_WHEELED) != (seen.detection.label in TWO_WHEELED)


def _turns_back(ahead: _Forecast, newest: PathPoint, seen: VehicleSeen) -> bool:
    """Whether a vehicle that was on its way would have to have gone back."""
    vx, vy, size_px = ahead.vx_px_s, ahead.vy_px_s, ahead.size_px
    speed_px_s = math.hypot(vx, vy)
    if speed_px_s < TURN_SPEED * size_px:
        return False
    x, y = seen.centre
    along_px = ((x - newest.x_px) * vx + (y - newest.y_px) * vy) / speed_px_s
    return along_px < -TURN_SIZES * size_px


def _comes_again(track: VehicleTrack, seen: VehicleSeen) -> bool:
    """Whether a vehicle that came near would be far away again, or the other way round."""
    first, newest = track.path[0], track.path[-1]
    trend = math.log(newest.width_px * newest.height_px / (first.width_px * first.height_px)) / 2
    width, height = seen.size
    grown = math.log(width * height / (newest.width_px * newest.height_px)) / 2
    return abs(trend) >= TREND and trend * grown < 0.0 and abs(grown) > TREND
