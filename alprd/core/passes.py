"""Vehicle passes as events: what a track and its vote, or a vehicle alone, add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Protocol

from alprd.core.counting import NOWHERE, Places, in_or_out, visits
from alprd.core.motion import direction_of, stands_still
from alprd.core.observe import Observation
from alprd.core.tracking import PathPoint, Track
from alprd.core.types import Crossing, Direction, PlateEvent, Speed, Vehicle, ZoneVisit
from alprd.core.vehicles import VehicleTrack
from alprd.core.voting import Vote, read_weight

CLOCK_SLACK_S = 1.0
CLOCK_SLEW = 1e-3
"""The wall clock may drift from the steady axis by so much, and by this share of the time: more
than a clock that is steered does, less than one that is set."""

VEHICLE_SHARE = 1 / 3
"""A vehicle seen around the plate in fewer of its frames is not taken for its carrier."""

MIN_WHOLE = 4
"""A vehicle seen whole so often goes by these pictures alone."""


class Timed(Protocol):
    """What was seen at a time."""

    @property
    def t_s(self) -> float:
        """On the camera's steady axis."""

    @property
    def captured_at(self) -> datetime:
        """Wall time."""


def make_event(
    track: Track,
    found: Vote,
    *,
    camera_id: str,
    new_event_id: Callable[[datetime], str],
    places: Places = NOWHERE,
    speed: Speed | None = None,
    continues: str | None = None,
) -> PlateEvent:
    """The pass as an event, from the track up to now and its vote.

    `continues` is the id of the event that it had before it went the wrong way.

    `captured_at`, `quad` and the vehicle's box belong to one picture: the one whose read counts
    most of those that gave the published text (and show the vehicle, if there is one).
    """
    label, confidence = _carrier_type(track)
    # A read counts for the published text also before the format settled its look-alikes.
    texts = {found.plate, found.published}
    agreeing = [o for o in track.reads if o.read is not None and o.read.text in texts]
    reads = agreeing or list(track.reads) or [track.last]
    with_vehicle = [o for o in reads if o.vehicle is not None and o.vehicle.label == label]
    # Another vehicle may have held the plate in its box for a moment.
    with_vehicle = [o for o in with_vehicle if o.vehicle_id in track.bound_to] or with_vehicle
    shown = max(with_vehicle or reads, key=_shows)
    carrier = shown.vehicle if with_vehicle else None
    first_read = track.first_read or track.first
    last = track.last_own
    first_seen, captured_at, last_seen = wall_times([track.first, shown, last])
    size = shown.frame_size
    what = _whereabouts(direction_of(track.path, size), track.path, places, frame_size=size)
    return PlateEvent(
        event_id=new_event_id(last_seen if continues else wall_times([first_read, last])[0]),
        continues=continues,
        camera_id=camera_id,
        plate=found.published,
        confidence=found.confidence,
        char_confidences=found.published_char_confidences,
        candidates=found.candidates,
        region=found.region,
        reads_count=track.reads_count,
        reads_agreeing=sum(track.count_of(text) for text in texts),
        first_seen=first_seen,
        last_seen=last_seen,
        captured_at=captured_at,
        direction=what.direction,
        speed=speed,
        vehicle=None
        if carrier is None
        else Vehicle(type=carrier.label, confidence=confidence, box=carrier.box),
        quad=shown.quad,
        frame_size=shown.frame_size,
        crossings=_dated(what.crossings, last_seen, last.t_s),
        zones=what.zones,
        wrong_way=what.wrong_way,
        dwell_s=last.t_s - track.first.t_s,
        stationary=stands_still(track.path),
        vehicle_ids=() if carrier is None else _vehicle_ids(track, shown),
    )


def make_unread_event(
    vehicle: VehicleTrack,
    *,
    camera_id: str,
    places: Places = NOWHERE,
    new_event_id: Callable[[datetime], str],
) -> PlateEvent:
    """The pass of a vehicle without a readable plate, from its track up to now."""
    first, shown, last = vehicle.first, vehicle.shown, vehicle.last
    first_seen, captured_at, last_seen = wall_times([first, shown, last])
    # A box that is cut off tells nothing of size; then the places alone tell the direction.
    whole = vehicle.whole if len(vehicle.whole) >= MIN_WHOLE else vehicle.path
    size = shown.frame_size
    direction = direction_of(whole, size) or direction_of(_of_one_size(vehicle.path), size)
    what = _whereabouts(direction, vehicle.path, places, frame_size=size)
    label, confidence = vehicle.type
    return PlateEvent(
        event_id=new_event_id(first_seen),
        camera_id=camera_id,
        plate=None,
        confidence=None,
        char_confidences=(),
        candidates=(),
        region=None,
        reads_count=0,
        reads_agreeing=0,
        first_seen=first_seen,
        last_seen=last_seen,
        captured_at=captured_at,
        direction=what.direction,
        speed=None,
        vehicle=Vehicle(type=label, confidence=confidence, box=shown.detection.box),
        quad=(),
        frame_size=shown.frame_size,
        crossings=_dated(what.crossings, last_seen, last.t_s),
        zones=what.zones,
        wrong_way=what.wrong_way,
        dwell_s=last.t_s - first.t_s,
        stationary=stands_still(vehicle.path),
        vehicle_ids=(vehicle.id,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whereabouts:
    """Where a pass went."""

    direction: Direction | None
    crossings: tuple[Crossing, ...]
    zones: tuple[ZoneVisit, ...]

    @property
    def wrong_way(self) -> bool | None:
        checked = [crossing.wrong_way for crossing in self.crossings if crossing.checked]
        return any(checked) if checked else None


def _whereabouts(
    direction: Direction | None,
    path: Sequence[PathPoint],
    places: Places,
    *,
    frame_size: tuple[int, int],
) -> _Whereabouts:
    """Lines and zones by the path, and what they say of in and out."""
    crossed = places.crossed(path, frame_size)
    visited = visits(path, places.zones, frame_size)
    if direction is not None:
        direction = replace(direction, zone=in_or_out(crossed, visited))
    return _Whereabouts(direction=direction, crossings=crossed, zones=visited)


def _of_one_size(path: Sequence[PathPoint]) -> list[PathPoint]:
    width_px, height_px = median(p.width_px for p in path), median(p.height_px for p in path)
    return [replace(p, width_px=width_px, height_px=height_px) for p in path]


def _dated(
    crossed: Sequence[Crossing], last_seen: datetime, last_t_s: float
) -> tuple[Crossing, ...]:
    """The crossings with their wall times, counted back from the newest one."""
    return tuple(replace(c, at=last_seen - timedelta(seconds=last_t_s - c.t_s)) for c in crossed)


def wall_times(seen: Sequence[Timed]) -> list[datetime]:
    """The observations' wall times, never going back and never leaping ahead.

    The wall clock is for people and may be set while a vehicle passes, forward too (a device
    without a battery starts in 1970). Then the newest reading is the one that is right; the earlier
    times are counted back from it on the steady axis. So first_seen <= captured_at <= last_seen
    always holds, and they are as far apart as the pictures were.

    Args:
        seen: oldest first.
    """
    if all(_steady(a, b) for a, b in pairwise(seen)):
        return [o.captured_at for o in seen]
    newest = seen[-1]
    return [newest.captured_at - timedelta(seconds=newest.t_s - o.t_s) for o in seen]


def _steady(earlier: Timed, later: Timed) -> bool:
    """Whether nobody set the wall clock between two observations."""
    wall_s = (later.captured_at - earlier.captured_at).total_seconds()
    steady_s = later.t_s - earlier.t_s
    return wall_s >= 0.0 and abs(wall_s - steady_s) <= CLOCK_SLACK_S + CLOCK_SLEW * steady_s


def _carrier_type(track: Track) -> tuple[str | None, float]:
    """The vehicle type with the greatest sum of scores, and its mean score over all sightings."""
    label, total = max(track.vehicles, key=lambda v: (v[1], v[0]), default=(None, 0.0))
    share = min(1.0, total / max(1, track.sightings))
    return (label, share) if share >= VEHICLE_SHARE else (None, 0.0)


def _vehicle_ids(track: Track, shown: Observation) -> tuple[int, ...]:
    """The vehicles that were the plate's own, else the one in the picture of the event."""
    own = tuple(sorted(track.bound_to))
    return own or (() if shown.vehicle_id is None else (shown.vehicle_id,))


def _shows(seen: Observation) -> tuple[float, float]:
    """How well a picture shows the plate; of equals the earlier."""
    weight = 0.0 if seen.read is None else read_weight(seen.read, seen.width_px)
    return weight, -seen.t_s
