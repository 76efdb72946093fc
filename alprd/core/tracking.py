"""A plate over time: an immutable value that every frame replaces.

Which observation belongs to which track is decided in `core.matching`, which reads are one plate's
in `core.splitting`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from alprd.core.observe import Observation
from alprd.core.plates import MIN_CHARS
from alprd.core.types import BoxPx, PointPx
from alprd.core.voting import Vote, read_weight

MAX_PATH: Final = 160
"""Points kept of a path; a longer one is thinned in its middle."""

KEEP_START: Final = 8
KEEP_END: Final = 48
MAX_READS: Final = 48
"""Reads kept for the vote: those that count most."""

MAX_TEXTS: Final = 64
"""Distinct texts that are counted."""

MAX_CARRIERS: Final = 16
"""Vehicles that are remembered of a plate; the older ones are forgotten first."""

BOUND_SIGHTINGS: Final = 2
BOUND_SHARE: Final = 1 / 3
"""A plate belongs to a vehicle that carried it in so many frames, and this share of them: one that
drives past before or behind it holds it in its box for a few."""

UNREAD_S: Final = 10.0
"""What was in a place for longer than this without being read is not what is read there then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPoint:
    """Where a plate's centre was, and how wide and high the plate."""

    t_s: float
    x_px: float
    y_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place on a vehicle, in the sides of its box: 0, 0 is its top left."""

    vehicle_id: int
    right: float
    down: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """One plate over time. Replaced, never mutated.

    Attributes:
        id: counts the camera's tracks, from 1.
        path: where it was, oldest first; thinned when long.
        first, last: the first and the newest observation.
        last_own: the newest observation before the challengers came.
        tried: the newest observation that was worth reading.
        reads: observations with the reads that count most, oldest first.
        tally: (text, how often, weight) of what was read, in order of appearance.
        reads_count: usable reads so far, without the challengers'.
        attempts: frames in which it was worth reading.
        first_read: the first observation with a usable read.
        challengers: newest reads that say something else than all before, see `core.splitting`.
        jumped: whether the challengers came with a jump in space or time.
        vehicles: (type, sum of scores) of the vehicle that carries it.
        carriers: (id of a vehicle, how often it carried the plate), see `core.vehicles`.
        seat: where it sat on the vehicle that carried it last.
        sightings: observations so far.
        verdict: what was published for it, or would have been were it not the same pass as another.
        event_id: of its pass's event; None before that.
        same_as: the pass that it turned out to be a part of; None for one of its own.
        next_vote_t_s: a track that was not good enough is not voted on again before.
    """

    id: int
    path: tuple[PathPoint, ...]
    first: Observation
    last: Observation
    last_own: Observation
    tried: Observation | None = None
    reads: tuple[Observation, ...] = ()
    tally: tuple[tuple[str, int, float], ...] = ()
    reads_count: int = 0
    attempts: int = 0
    first_read: Observation | None = None
    challengers: tuple[Observation, ...] = ()
    jumped: bool = False
    vehicles: tuple[tuple[str, float], ...] = ()
    carriers: tuple[tuple[int, int], ...] = ()
    seat: Seat | None = None
    sightings: int = 0
    verdict: Vote | None = None
    event_id: str | None = None
    same_as: int | None = None
    next_vote_t_s: float = -math.inf

    @property
    def pass_id(self) -> int:
        """The id of the first track of its pass."""
        return self.id if self.same_as is None else self.same_as

    @property
    def text(self) -> str | None:
        """What is on the plate as far as is known; None before the first read."""
        if self.verdict is not None:
            return self.verdict.plate
        best = max(self.tally, key=lambda entry: (entry[2], entry[1], entry[0]), default=None)
        return None if best is None else best[0]

    @property
    def bound_to(self) -> tuple[int, ...]:
        """The vehicles that carried it so often that it is theirs: one, or parts of one."""
        if not self.carriers:
            return ()
        carried = sum([count for _, count in self.carriers])
        least = max(min(BOUND_SIGHTINGS, carried), BOUND_SHARE * carried)
        return tuple([vehicle for vehicle, count in self.carriers if count >= least])

    @property
    def challenge(self) -> str | None:
        """What the newest challenger says; None without challengers."""
        newest = self.challengers[-1].read if self.challengers else None
        return None if newest is None else newest.text

    def count_of(self, text: str) -> int:
        """How many reads gave exactly this text."""
        return sum(count for known, count, _ in self.tally if known == text)


def begin(track_id: int, seen: Observation) -> Track:
    """A track of one observation."""
    track = Track(id=track_id, path=(), first=seen, last=seen, last_own=seen)
    return own(see(track, seen), seen)


def take(track: Track, seen: Observation) -> Track:
    """`own(see(track, seen), seen)`: what becomes of nearly all observations, at once."""
    read = seen.read
    if (
        read is None
        or track.challengers
        or track.first_read is None
        or _is_short(read.text)
        or _short_texts(track)
    ):
        return own(see(track, seen), seen)
    weight = read_weight(read, seen.width_px)
    return Track(
        id=track.id,
        path=thinned((*track.path, _point(seen))),
        first=track.first,
        last=seen,
        last_own=seen,
        tried=seen if seen.attempted else track.tried,
        reads=_heard(track, seen),
        tally=_counted(track.tally, read.text, weight),
        reads_count=track.reads_count + 1,
        attempts=track.attempts + seen.attempted,
        first_read=track.first_read,
        vehicles=_voted(track.vehicles, seen),
        carriers=_carried(track.carriers, seen),
        seat=_seat(seen) or track.seat,
        sightings=track.sightings + 1,
        verdict=track.verdict,
        event_id=track.event_id,
        same_as=track.same_as,
        next_vote_t_s=track.next_vote_t_s,
        jumped=track.jumped,
    )


def see(track: Track, seen: Observation) -> Track:
    """The track with one more place; what was read there is for `own` or a challenger."""
    return replace(
        track,
        path=thinned((*track.path, _point(seen))),
        last=seen,
        last_own=track.last_own if track.challengers else seen,
        tried=seen if seen.attempted else track.tried,
        attempts=track.attempts + seen.attempted,
        sightings=track.sightings + 1,
        vehicles=_voted(track.vehicles, seen),
        carriers=_carried(track.carriers, seen),
        seat=_seat(seen) or track.seat,
    )


def own(track: Track, seen: Observation) -> Track:
    """The track with the observation's read counted as one of its own."""
    read = seen.read
    if read is None or (_is_short(read.text) and any(not _is_short(t) for t, _, _ in track.tally)):
        return track
    if not _is_short(read.text):
        track = _without_pieces(track)
    if track.first_read is None and seen.t_s - track.first.t_s > UNREAD_S:
        track = _begun_anew(track, seen)
    weight = read_weight(read, seen.width_px)
    return replace(
        track,
        reads=_heard(track, seen),
        tally=_counted(track.tally, read.text, weight),
        reads_count=track.reads_count + 1,
        first_read=seen if track.first_read is None else track.first_read,
    )


def _point(seen: Observation) -> PathPoint:
    return PathPoint(
        t_s=seen.t_s,
        x_px=seen.x_px,
        y_px=seen.y_px,
        width_px=seen.width_px,
        height_px=seen.height_px,
    )


def _heard(track: Track, seen: Observation) -> tuple[Observation, ...]:
    """The reads with one more."""
    # After the verdict nothing is voted on again, so a parked car's reads are only counted.
    return track.reads if track.verdict is not None else _heaviest((*track.reads, seen))


def _short_texts(track: Track) -> list[str]:
    return [text for text, _, _ in track.tally if _is_short(text)]


def _is_short(text: str) -> bool:
    return len(text) < MIN_CHARS


def _without_pieces(track: Track) -> Track:
    """The track without reads too short for most plates: the longer one shows what they were."""
    if not _short_texts(track):
        return track
    return replace(
        track,
        reads=tuple(o for o in track.reads if o.read is not None and not _is_short(o.read.text)),
        tally=tuple(entry for entry in track.tally if not _is_short(entry[0])),
        reads_count=sum(n for text, n, _ in track.tally if not _is_short(text)),
        first_read=None,
    )


def _begun_anew(track: Track, seen: Observation) -> Track:
    """The track as if it were no older than a vehicle that is first read now can be.

    A sign that looks like a plate is found for hours; a vehicle that stops before it takes its
    track over, but neither its age nor its place in the past.
    """
    return replace(
        track,
        path=tuple(p for p in track.path if seen.t_s - p.t_s <= UNREAD_S),
        first=seen,
        attempts=int(seen.attempted),
        sightings=1,
        vehicles=_voted((), seen),
        carriers=_carried((), seen),
    )


def thinned(path: tuple[PathPoint, ...]) -> tuple[PathPoint, ...]:
    """The path with every other point of its middle left out once it is too long."""
    if len(path) <= MAX_PATH:
        return path
    return path[:KEEP_START] + path[KEEP_START:-KEEP_END:2] + path[-KEEP_END:]


def _heaviest(reads: tuple[Observation, ...]) -> tuple[Observation, ...]:
    """The reads without the one that counts least once there are too many; of equals the newest."""
    if len(reads) <= MAX_READS:
        return reads
    weights = [0.0 if o.read is None else read_weight(o.read, o.width_px) for o in reads]
    least = min(range(len(reads)), key=lambda i: (weights[i], -i))
    return reads[:least] + reads[least + 1 :]


def _counted(
    tally: tuple[tuple[str, int, float], ...], text: str, weight: float
) -> tuple[tuple[str, int, float], ...]:
    """The tally with one more read."""
    for i, (known, count, total) in enumerate(tally):
        if known == text:
            return (*tally[:i], (text, count + 1, total + weight), *tally[i + 1 :])
    if len(tally) < MAX_TEXTS:
        return (*tally, (text, 1, weight))
    # A text read once in a plate of endless misreads makes room; its count goes with it.
    least = min(range(len(tally)), key=lambda i: (tally[i][2], i))
    return (*tally[:least], *tally[least + 1 :], (text, 1, weight))


def _voted(
    votes: tuple[tuple[str, float], ...], seen: Observation
) -> tuple[tuple[str, float], ...]:
    """The vehicle types' scores with this observation's."""
    vehicle = seen.vehicle
    if vehicle is None:
        return votes
    for i, (label, total) in enumerate(votes):
        if label == vehicle.label:
            return (*votes[:i], (label, total + vehicle.score), *votes[i + 1 :])
    return (*votes, (vehicle.label, vehicle.score))


def _carried(
    carriers: tuple[tuple[int, int], ...], seen: Observation
) -> tuple[tuple[int, int], ...]:
    """The carriers' counts with this observation's."""
    vehicle = seen.vehicle_id
    if vehicle is None:
        return carriers
    for i, (known, count) in enumerate(carriers):
        if known == vehicle:
            return (*carriers[:i], (vehicle, count + 1), *carriers[i + 1 :])
    return (*carriers, (vehicle, 1))[-MAX_CARRIERS:]


def seat_in(box: BoxPx, point: PointPx) -> PointPx:
    """A point in the sides of a box: 0, 0 is its top left, 1, 1 its bottom right."""
    x1, y1, x2, y2 = box
    return (point[0] - x1) / (x2 - x1), (point[1] - y1) / (y2 - y1)


def _seat(seen: Observation) -> Seat | None:
    if seen.vehicle is None or seen.vehicle_id is None:
        return None
    right, down = seat_in(seen.vehicle.box, (seen.x_px, seen.y_px))
    return Seat(vehicle_id=seen.vehicle_id, right=right, down=down)
