"""One frame's plates given to their tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alprd.core.dedup import PassRules
from alprd.core.matching import associate, canonical
from alprd.core.observe import Observation
from alprd.core.splitting import follow
from alprd.core.tracking import Track, begin


def advance(
    tracks: Sequence[Track], seen: Sequence[Observation], *, next_id: int, rules: PassRules
) -> tuple[tuple[Track, ...], int]:
    """Every observation given to its track, or to one that begins: all tracks, and the next id.

    Args:
        tracks: those that are followed.
        seen: one frame's observations, in any order.
        next_id: id of the next track that begins.
        rules: the settings.
    """
    if not seen:
        return tuple(tracks), next_id
    partner = dict(associate(tracks, seen))
    taken = set(partner.values())
    grown: list[Track] = []
    for i, track in enumerate(tracks):
        if i not in partner:
            grown.append(track)
            continue
        result = follow(track, carried(track, seen[partner[i]]), next_id=next_id, rules=rules)
        grown.append(result.track)
        if result.newer is not None:
            grown.append(result.newer)
            next_id += 1
    new = [observation for j, observation in enumerate(seen) if j not in taken]
    for observation in sorted(new, key=canonical):
        grown.append(begin(next_id, observation))
        next_id += 1
    return tuple(grown), next_id


def carried(track: Track, seen: Observation) -> Observation:
    """The observation, on the vehicle that the track is bound to if that one holds the plate.

    Where boxes overlap, a plate lies in several of them; its own is the one it was in before.
    """
    for carrier in seen.carriers:
        if carrier.id != seen.vehicle_id and carrier.id in track.bound_to:
            return replace(seen, vehicle=carrier.detection, vehicle_id=carrier.id)
    return seen
