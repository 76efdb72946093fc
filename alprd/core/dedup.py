"""One pass, one event: when a track is good enough, when it is ripe, when two are the same pass."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Final, Protocol

from alprd.core.matching import reachable
from alprd.core.motion import direction_of, stands_still
from alprd.core.observe import Observation
from alprd.core.plates import edit_distance, nearly_same
from alprd.core.tracking import PathPoint, Track
from alprd.core.voting import Ballot, Vote, read_confidence, read_weight, surely_differ, vote

LONE_CONFIDENCE: Final = 0.85
"""What a plate read in one frame only must have: nothing else speaks for it."""

FLOWING_LONE_CONFIDENCE: Final = 0.97
"""The same while frames flow: real plates are seen again, lettering that resembles one flickers."""

FLOWING_S: Final = 0.18
"""Time between frames that counts as flowing; a folder of photographs is shown more slowly."""

BARE_READS: Final = 3
"""While frames flow, a plate that no vehicle carries must be read alike so often: painted lettering
is surely read once or twice, where it happens to look like a plate."""

SETTLED_READS: Final = 5
SETTLED_S: Final = 1.0
SETTLED_CONFIDENCE: Final = 0.95
"""A vehicle that came and stands is not held back once so many agreeing reads over this time are
so sure: a gate waits for it."""

REVOTE_S: Final = 0.5
MAX_REVOTE_S: Final = 8.0
"""A vehicle that stays and could not be read well enough is voted on again after this long; the
longer it has stayed, the more rarely."""

KEEP_S: Final = 60.0
"""A pass that ended longer ago than this is no part of one that is published now."""

SPARSE: Final = 10
"""Of a plate read less often than once in so many attempts only what is as sure is believed."""

GLIMPSE_EDITS: Final = 2
"""A plate seen in one frame, this near in text and in reach of another, is a misread of that."""


class PassRules(Protocol):
    """The settings that decide what becomes an event; `[tracking]` has these fields."""

    @property
    def hold_s(self) -> float:
        """A vehicle that stays is published at the latest this long after its first read."""

    @property
    def merge_s(self) -> float:
        """A vehicle lost for less than this is still the same pass."""

    @property
    def min_reads(self) -> int:
        """Agreeing reads that a pass needs; one of a single frame needs one."""

    @property
    def min_confidence(self) -> float:
        """Below it nothing is published."""

    @property
    def min_plate_width_px(self) -> float:
        """Narrower plates are not read."""

    @property
    def publish_unread(self) -> bool:
        """Vehicles whose plate nobody could read have events too."""

    @property
    def regions(self) -> Collection[str]:
        """Codes of the regions whose plates are expected."""


def poll(track: Track) -> Vote | None:
    """What the track's reads add up to."""
    return vote_on(track.reads)


def vote_on(reads: Iterable[Observation]) -> Vote | None:
    """What some observations' reads add up to."""
    return vote(
        [
            Ballot(read=o.read, weight=read_weight(o.read, o.width_px), expected=o.expected)
            for o in reads
            if o.read is not None
        ]
    )


def enough(track: Track, found: Vote, rules: PassRules, *, sees_vehicles: bool) -> bool:
    """Whether the vote is good enough to be published.

    Args:
        track: the plate.
        found: its vote.
        rules: the settings.
        sees_vehicles: whether this camera's detector reports vehicles at all.
    """
    agreeing = track.count_of(found.plate)
    if found.confidence < rules.min_confidence or agreeing < 1:
        return False
    if rules.min_reads == 1 and track.attempts <= 1:
        return True
    bare = sees_vehicles and not track.vehicles
    if bare and agreeing < BARE_READS and _is_flowing(track):
        return False
    if track.attempts <= 1:
        return _is_sure_alone(track)
    sparse = track.attempts > SPARSE * agreeing
    return agreeing >= rules.min_reads and (not sparse or found.confidence >= LONE_CONFIDENCE)


def _is_sure_alone(track: Track) -> bool:
    """Whether the only read of a pass is so sure that nothing else needs to speak for it."""
    seen = track.first_read
    if seen is None or seen.read is None:
        return False
    needed = FLOWING_LONE_CONFIDENCE if _is_flowing(track) else LONE_CONFIDENCE
    return read_confidence(seen.read) >= needed


def _is_flowing(track: Track) -> bool:
    """Whether it was read in frames that came close upon each other."""
    return any(seen.since_s <= FLOWING_S for seen in track.reads)


def is_due(track: Track, t_s: float, rules: PassRules) -> bool:
    """Whether a vehicle that stays, or of which no frames come, was held back long enough."""
    if track.verdict is not None or track.first_read is None or t_s < track.next_vote_t_s:
        return False
    return t_s - track.first_read.t_s >= rules.hold_s or is_over(track, t_s, rules)


def may_be_settled(track: Track, t_s: float) -> bool:
    """Whether a vehicle came and stands, so that there is nothing more to wait for.

    Its vote must still be sure, see `is_settled`; this is what can be told without one.
    """
    if track.verdict is not None or track.first_read is None or t_s < track.next_vote_t_s:
        return False
    return (
        not track.challengers
        and t_s - track.first_read.t_s >= SETTLED_S
        and any(count >= SETTLED_READS for _, count, _ in track.tally)
        and stands_still(track.path)
        and direction_of(track.path, track.last.frame_size) is not None
    )


def is_settled(track: Track, found: Vote) -> bool:
    """Whether the vote on a standing vehicle is so sure that it need not be held back."""
    if found.confidence < SETTLED_CONFIDENCE or track.count_of(found.plate) < SETTLED_READS:
        return False
    when = [o.t_s for o in track.reads if o.read is not None and o.read.text == found.plate]
    return bool(when) and max(when) - min(when) >= SETTLED_S


def by_first_read(track: Track) -> tuple[float, int]:
    """The order in which passes are published."""
    first = track.first_read or track.first
    return first.t_s, track.id


def remembered(
    ended: Iterable[Track], tracks: Iterable[Track], t_s: float, rules: PassRules
) -> tuple[Track, ...]:
    """Of passes that ended those that a track without a verdict may still be part of."""
    waiting = [track.first.t_s for track in tracks if track.verdict is None]
    # A sign that is never read waits for ever.
    earliest_s = max(min(waiting, default=math.inf), t_s - KEEP_S)
    return tuple([track for track in ended if earliest_s <= track.last.t_s + rules.merge_s])


def next_vote_t_s(track: Track, t_s: float, rules: PassRules) -> float:
    """When to vote again on a vehicle that stays and was not read well enough."""
    first = track.first_read or track.first
    due_t_s = first.t_s + rules.hold_s
    if t_s < due_t_s:
        return min(t_s + REVOTE_S, due_t_s)
    return t_s + min(MAX_REVOTE_S, max(REVOTE_S, (t_s - due_t_s) / 2))


def is_over(track: Track, t_s: float, rules: PassRules) -> bool:
    """Whether the plate has been lost for longer than a pass may be interrupted."""
    return t_s - track.last.t_s > rules.merge_s


def same_pass(
    published: Iterable[Track], others: Iterable[Track], track: Track, found: Vote, rules: PassRules
) -> Track | None:
    """The track whose vehicle this one shows too, and has its event already or is covered by it.

    Args:
        published: tracks with a verdict, also ended ones that were lost lately.
        others: the tracks that are followed now, whatever their state.
        track: the one that is about to be published.
        found: its vote.
        rules: `merge_s`.
    """
    for other in published:
        if other.id != track.id and _same_vehicle(other, track, found, rules):
            return other
    for other in others:
        if other.id != track.id and (
            _took_turns(other, track, rules) or _covers_glimpse(other, track, found, rules)
        ):
            return other
    return None


def _same_vehicle(other: Track, track: Track, found: Vote, rules: PassRules) -> bool:
    if other.verdict is None:
        return False
    # Look-alikes that a format settled in the same way are read as one or the other by chance.
    equal = found.plate == other.verdict.plate or found.published == other.verdict.published
    if not equal and not nearly_same(other.verdict.plate, found.plate):
        return False
    # What was seen before the first read may have been anything.
    start = track.first_read or track.first
    gap_s = start.t_s - other.last.t_s
    if gap_s > rules.merge_s or other.first.t_s - track.last.t_s > rules.merge_s:
        return False
    if not equal and surely_differ(other.verdict, found):
        return False
    if gap_s > 0.0:
        return reachable(other, start)
    # Seen at the same time: equal texts are one plate detected twice, or the plates of a car and
    # its trailer; nearly equal ones must also stand in the same place, or they are two vans of
    # one fleet side by side.
    return equal or _beside(other, track)


def _took_turns(other: Track, track: Track, rules: PassRules) -> bool:
    """Whether another plate stood in the same place before and again, but never in the same frame.

    Then the track is what that plate was misread as after a gap: no vehicle comes and goes so.
    """
    if other.text is None or other.reads_count <= track.reads_count:
        return False
    first = track.path[0]
    before = [p for p in other.path if 0.0 < first.t_s - p.t_s <= rules.merge_s]
    again = [p for p in other.path if p.t_s > first.t_s]
    if not before or not again or again[0].t_s - track.path[-1].t_s > rules.merge_s:
        return False
    times_s = {p.t_s for p in other.path}
    return (
        not any(p.t_s in times_s for p in track.path)
        and _in_one_place(before[-1], first)
        and _in_one_place(again[0], first)
    )


def _in_one_place(p: PathPoint, q: PathPoint) -> bool:
    """Whether two points are less than a plate's width apart and of about one size."""
    width_px = min(p.width_px, q.width_px)
    near = math.dist((p.x_px, p.y_px), (q.x_px, q.y_px)) <= width_px
    return near and max(p.width_px, q.width_px) <= 1.5 * width_px


def _covers_glimpse(other: Track, track: Track, found: Vote, rules: PassRules) -> bool:
    """Whether a plate seen in a single frame is a misread of another track's plate."""
    if track.attempts > 1 or other.text is None or other.reads_count < 2 or len(other.text) < 4:
        return False
    apart_s = max(track.first.t_s - other.last.t_s, other.first.t_s - track.last.t_s)
    return (
        apart_s <= rules.merge_s
        and edit_distance(other.text, found.plate) <= GLIMPSE_EDITS
        and (apart_s <= 0.0 or reachable(other, track.first))
        and (apart_s > 0.0 or _beside(other, track))
    )


def _beside(a: Track, b: Track) -> bool:
    """Whether two tracks were within two plate widths of each other about the same time."""
    pairs = [(p, q) for p in a.path for q in (b.path[0], b.path[-1])]
    near = min(pairs, key=lambda pair: abs(pair[0].t_s - pair[1].t_s))
    (p, q), width = near, max(near[0].width_px, near[1].width_px)
    return max(abs(p.x_px - q.x_px), abs(p.y_px - q.y_px)) <= 2.0 * width
