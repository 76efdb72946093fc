"""One pass, one event: when a track is split, when it is ripe, when two are the same pass.

A track holds what stood in one place without a gap. When the reads change to a clearly different
text and stay with it (a cut in a video, the next car in the same place), the newer reads are first
kept apart as challengers; they become a track of their own once enough of them agree, or are taken
for misreads once the old text comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from alprd.core.matching import jumps, reachable
from alprd.core.observe import Observation
from alprd.core.plates import clearly_different, edit_distance, nearly_same
from alprd.core.tracking import Track, begin, own, see
from alprd.core.types import PlateRead
from alprd.core.voting import Ballot, Vote, read_weight, string_confidence, surely_differ, vote

SPLIT_READS: Final = 3
"""Agreeing reads that a different text needs to be another plate; two after a jump."""

MAX_CHALLENGERS: Final = 12
"""Reads that have not agreed on another plate by then are misreads."""

SURE_READ: Final = 0.8
"""A single read at least this probable may be a plate of its own, next to another single one."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A track after an observation, and the one that began in its place, if one did."""

    track: Track
    newer: Track | None = None


def follow(track: Track, seen: Observation, *, next_id: int, rules: PassRules) -> Split:
    """The track with an observation that was paired with it.

    Args:
        track: the track so far.
        seen: the observation.
        next_id: id of the track that begins if this one is split.
        rules: `min_reads` is what a plate of its own needs at least.
    """
    if seen.read is None or track.text is None:
        return Split(track=own(see(track, seen), seen))
    if not track.challengers:
        if _challenges(track, seen, track.text):
            return Split(track=_challenge(track, seen))
        return Split(track=own(see(track, seen), seen))
    return _settle(track, seen, seen.read.text, next_id=next_id, rules=rules)


def _settle(track: Track, seen: Observation, text: str, *, next_id: int, rules: PassRules) -> Split:
    """A read for a track that has challengers: it speaks for the old text, theirs or neither."""
    known, challenge = track.text or "", track.challenge or ""
    nearer = edit_distance(text, known) < edit_distance(text, challenge)
    if nearer and not clearly_different(text, known):
        return Split(track=own(see(give_in(track), seen), seen))
    if clearly_different(text, challenge):
        if not _is_single_glimpse(track):
            return Split(track=_challenge(give_in(track), seen))
        older, newer = split(track, next_id)
        return Split(track=older, newer=_challenge(newer, seen))
    grown = see(replace(track, challengers=(*track.challengers, seen)), seen)
    if not _prevails(grown, rules):
        hopeless = len(grown.challengers) >= MAX_CHALLENGERS
        return Split(track=give_in(grown) if hopeless else grown)
    older, newer = split(grown, next_id)
    return Split(track=older, newer=newer)


def conclude(track: Track, *, next_id: int, rules: PassRules) -> Split:
    """The track at its end: challengers that are left become a track of their own or misreads."""
    if not track.challengers:
        return Split(track=track)
    text = track.challenge
    agreeing = sum(1 for o in track.challengers if o.read is not None and o.read.text == text)
    another = track.text is not None and text is not None and clearly_different(text, track.text)
    if another and (agreeing >= max(2, rules.min_reads) or _is_single_glimpse(track)):
        older, newer = split(track, next_id)
        return Split(track=older, newer=newer)
    return Split(track=give_in(track))


def give_in(track: Track) -> Track:
    """The track with its challengers counted as misreads of its own plate."""
    merged = replace(track, challengers=(), jumped=False, last_own=track.last)
    for challenger in track.challengers:
        merged = own(merged, challenger)
    return merged


def split(track: Track, next_id: int) -> tuple[Track, Track]:
    """The track as it was before the challengers, and theirs."""
    since_s = track.challengers[0].t_s
    newer = begin(next_id, track.challengers[0])
    for challenger in track.challengers[1:]:
        newer = own(see(newer, challenger), challenger)
    theirs = tuple(p for p in track.path if p.t_s >= since_s)
    newer = replace(newer, path=theirs or newer.path, last=track.last, last_own=track.last)
    older = replace(
        track,
        path=tuple(p for p in track.path if p.t_s < since_s) or track.path[:1],
        last=track.last_own,
        attempts=track.attempts - newer.attempts,
        sightings=track.sightings - newer.sightings,
        challengers=(),
        jumped=False,
    )
    return older, newer


def poll(track: Track) -> Vote | None:
    """What the track's reads add up to."""
    return vote(
        [
            Ballot(read=o.read, weight=read_weight(o.read, o.width_px))
            for o in track.reads
            if o.read is not None
        ]
    )


def enough(track: Track, found: Vote, rules: PassRules) -> bool:
    """Whether the vote is good enough to be published."""
    needed = 1 if track.attempts <= 1 else rules.min_reads
    return found.confidence >= rules.min_confidence and track.count_of(found.plate) >= needed


def is_due(track: Track, t_s: float, rules: PassRules) -> bool:
    """Whether a vehicle that stays has been held back long enough."""
    return (
        track.verdict is None
        and track.first_read is not None
        and t_s - track.first_read.t_s >= rules.hold_s
        and t_s >= track.next_vote_t_s
    )


def is_over(track: Track, t_s: float, rules: PassRules) -> bool:
    """Whether the plate has been lost for longer than a pass may be interrupted."""
    return t_s - track.last.t_s > rules.merge_s


def is_same_pass(
    published: Iterable[Track], others: Iterable[Track], track: Track, found: Vote, rules: PassRules
) -> bool:
    """Whether the track shows a vehicle that has its event already, or that another track covers.

    Args:
        published: tracks with a verdict, also ended ones that were lost lately.
        others: the tracks that are followed now, whatever their state.
        track: the one that is about to be published.
        found: its vote.
        rules: `merge_s`.
    """
    for other in published:
        if other.id != track.id and _same_vehicle(other, track, found, rules):
            return True
    return track.attempts <= 1 and any(
        other.id != track.id and _covers_glimpse(other, track, found, rules) for other in others
    )


def _same_vehicle(other: Track, track: Track, found: Vote, rules: PassRules) -> bool:
    if other.verdict is None or not nearly_same(other.verdict.plate, found.plate):
        return False
    equal = other.verdict.plate == found.plate
    gap_s = track.first.t_s - other.last.t_s
    if gap_s > rules.merge_s or other.first.t_s - track.last.t_s > rules.merge_s:
        return False
    if not equal and surely_differ(other.verdict, found):
        return False
    if gap_s > 0.0:
        return reachable(other, track.first)
    # Seen at the same time: equal texts are one plate detected twice, or the plates of a car and
    # its trailer; nearly equal ones must also stand in the same place, or they are two vans of
    # one fleet side by side.
    return equal or _beside(other, track)


def _covers_glimpse(other: Track, track: Track, found: Vote, rules: PassRules) -> bool:
    """Whether a plate seen in a single frame is a misread of another track's plate."""
    if other.text is None or other.reads_count < 2 or len(other.text) < 4:
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


def _challenges(track: Track, seen: Observation, known: str) -> bool:
    """Whether a read speaks for another plate rather than for a misread of this one."""
    if seen.read is None or seen.read.text == known:
        return False
    if clearly_different(seen.read.text, known):
        return True
    return jumps(track, seen) and not nearly_same_read(seen.read, known)


def nearly_same_read(read: PlateRead, known: str) -> bool:
    """Whether the read may be a misread of a known text: it is unsure where it differs."""
    if not nearly_same(read.text, known):
        return False
    if len(read.text) != len(known):
        return True
    return all(
        x == y or float(max(read.char_probs[k])) < 0.9
        for k, (x, y) in enumerate(zip(read.text, known, strict=True))
    )


def _challenge(track: Track, seen: Observation) -> Track:
    """The track with a first challenger.

    It is marked before it is seen, so that `last_own` stays with the track's own last place.
    """
    return see(replace(track, challengers=(seen,), jumped=jumps(track, seen)), seen)


def _is_single_glimpse(track: Track) -> bool:
    """Whether two plates were seen for one frame each, as in a folder of photographs."""
    if track.reads_count != 1 or len(track.challengers) != 1 or track.verdict is not None:
        return False
    reads = [o.read for o in (track.reads[0], track.challengers[0])]
    return all(read is not None and string_confidence(read) >= SURE_READ for read in reads)


def _prevails(track: Track, rules: PassRules) -> bool:
    """Whether the challengers are another plate."""
    text, known = track.challenge, track.text
    if text is None or known is None:
        return False
    agreeing = [o for o in track.challengers if o.read is not None and o.read.text == text]
    clear = clearly_different(text, known)
    needed = SPLIT_READS if not (track.jumped and clear) else SPLIT_READS - 1
    if len(agreeing) < max(needed, rules.min_reads):
        return False
    found = vote(
        [
            Ballot(read=o.read, weight=read_weight(o.read, o.width_px))
            for o in track.challengers
            if o.read is not None
        ]
    )
    if found is None or found.confidence < rules.min_confidence:
        return False
    own_vote = track.verdict or poll(track)
    return clear or own_vote is None or surely_differ(own_vote, found)
