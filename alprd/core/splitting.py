"""When one track turns out to be two plates, one after the other in the same place.

When the reads change to a clearly different text and stay with it (a cut in a video, the next car
in the same place), the newer reads are first kept apart as challengers. They become a track of
their own once enough of them agree, or are taken for misreads once the old text comes back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from alprd.core.dedup import PassRules, poll, vote_on
from alprd.core.matching import jumps
from alprd.core.observe import Observation
from alprd.core.plates import clearly_different, edit_distance, nearly_same
from alprd.core.tracking import UNREAD_S, Track, begin, own, see, take
from alprd.core.types import PlateRead
from alprd.core.voting import read_confidence, surely_differ

SPLIT_READS: Final = 4
SPLIT_S: Final = 0.3
"""A different text needs this many agreeing reads over this time to be another plate, ..."""

JUMP_READS: Final = 2
"""... and only this many when it came with a jump in space or time."""

MAX_CHALLENGERS: Final = 12
"""Reads that have not agreed on another plate by then are misreads."""

SURE_READ: Final = 0.8
"""A single read at least this probable may be a plate of its own, next to another single one."""

SURE_CHARACTER: Final = 0.9


class Split(NamedTuple):
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
    if seen.read is None or (known := track.text) is None:
        return Split(track=take(track, seen))
    if not track.challengers:
        if _challenges(track, seen, known):
            return Split(track=_challenge(track, seen))
        return Split(track=take(track, seen))
    return _settle(track, seen, seen.read.text, next_id=next_id, rules=rules)


def _settle(track: Track, seen: Observation, text: str, *, next_id: int, rules: PassRules) -> Split:
    """A read for a track that has challengers: it speaks for the old text, theirs or neither."""
    known, challenge = track.text or "", track.challenge or ""
    nearer = edit_distance(text, known) < edit_distance(text, challenge)
    if nearer and not clearly_different(text, known):
        return Split(track=take(give_in(track), seen))
    if clearly_different(text, challenge):
        if not _is_single_glimpse(track):
            return Split(track=_challenge(give_in(track), seen))
        older, newer = cut(track, next_id)
        return Split(track=older, newer=_challenge(newer, seen))
    grown = see(replace(track, challengers=(*track.challengers, seen)), seen)
    if not _prevails(grown, rules):
        hopeless = len(grown.challengers) >= MAX_CHALLENGERS
        return Split(track=give_in(grown) if hopeless else grown)
    older, newer = cut(grown, next_id)
    if _is_weak(grown, rules):
        long_before = grown.challengers[0].t_s - track.reads[-1].t_s > UNREAD_S
        return Split(track=replace(newer, id=track.id) if long_before else give_in(grown))
    return Split(track=older, newer=newer)


def conclude(track: Track, *, next_id: int, rules: PassRules) -> Split:
    """The track at its end: challengers that are left become a track of their own or misreads."""
    if not track.challengers:
        return Split(track=track)
    if _prevails(track, rules) or _is_single_glimpse(track):
        older, newer = cut(track, next_id)
        return Split(track=older, newer=newer)
    return Split(track=give_in(track))


def give_in(track: Track) -> Track:
    """The track with its challengers counted as misreads of its own plate."""
    merged = replace(track, challengers=(), jumped=False, last_own=track.last)
    for challenger in track.challengers:
        merged = own(merged, challenger)
    return merged


def undisputed(track: Track) -> Track:
    """The track up to its challengers: what came after may be another vehicle's way."""
    return cut(track, track.id)[0] if track.challengers else track


def cut(track: Track, next_id: int) -> tuple[Track, Track]:
    """The track as it was before the challengers, and theirs."""
    since_s = track.challengers[0].t_s
    newer = begin(next_id, track.challengers[0])
    for challenger in track.challengers[1:]:
        newer = take(newer, challenger)
    theirs = tuple(p for p in track.path if p.t_s >= since_s)
    newer = replace(newer, path=theirs or newer.path, last=track.last, last_own=track.last)
    older = replace(
        track,
        path=tuple(p for p in track.path if p.t_s < since_s) or track.path[:1],
        last=track.last_own,
        attempts=track.attempts - newer.attempts,
        sightings=track.sightings - newer.sightings,
        vehicles=_without(track.vehicles, newer.vehicles),
        carriers=_left(track.carriers, newer.carriers),
        challengers=(),
        jumped=False,
    )
    return older, newer


def _without(
    votes: tuple[tuple[str, float], ...], theirs: tuple[tuple[str, float], ...]
) -> tuple[tuple[str, float], ...]:
    """The vehicle types' scores less those of the observations that went to the newer track."""
    gone = dict(theirs)
    left = ((label, total - gone.get(label, 0.0)) for label, total in votes)
    return tuple((label, total) for label, total in left if total > 1e-9)


def _left(
    carriers: tuple[tuple[int, int], ...], theirs: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    """How often each vehicle carried it, less what went to the newer track."""
    gone = dict(theirs)
    left = ((vehicle, count - gone.get(vehicle, 0)) for vehicle, count in carriers)
    return tuple((vehicle, count) for vehicle, count in left if count > 0)


def _challenges(track: Track, seen: Observation, known: str) -> bool:
    """Whether a read speaks for another plate rather than for a misread of this one."""
    if seen.read is None or seen.read.text == known:
        return False
    if clearly_different(seen.read.text, known):
        return True
    return jumps(track, seen) and not _may_be_misread(seen.read, known)


def _may_be_misread(read: PlateRead, known: str) -> bool:
    """Whether the read may be a misread of a known text: it is unsure where it differs."""
    if not nearly_same(read.text, known):
        return False
    if len(read.text) != len(known):
        return True
    return all(
        x == y or float(max(read.char_probs[k])) < SURE_CHARACTER
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
    return all(read is not None and read_confidence(read) >= SURE_READ for read in reads)


def _prevails(track: Track, rules: PassRules) -> bool:
    """Whether the challengers are another plate."""
    text, known = track.challenge, track.text
    if text is None or known is None:
        return False
    clear = clearly_different(text, known)
    agreeing = [o for o in track.challengers if o.read is not None and o.read.text == text]
    needed = JUMP_READS if track.jumped and clear else SPLIT_READS
    # What came and went before is a way of misreading this plate, and comes in runs.
    needed += 2 * track.count_of(text)
    if len(agreeing) < max(needed, rules.min_reads):
        return False
    if not track.jumped and agreeing[-1].t_s - agreeing[0].t_s < SPLIT_S:
        return False
    found = vote_on(track.challengers)
    if found is None or found.confidence < rules.min_confidence:
        return False
    own_vote = track.verdict or poll(track)
    return clear or own_vote is None or surely_differ(own_vote, found)


def _is_weak(track: Track, rules: PassRules) -> bool:
    """Whether what was read before the challengers came is too little for a pass of its own.

    Then it was misread on the challengers' plate, or long before on something else.
    """
    return track.verdict is None and all(n < rules.min_reads for _, n, _ in track.tally)
