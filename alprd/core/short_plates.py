"""When a text of two characters is a plate.

There are such plates ("A1"), but many more badges of models, signs and pieces of half-covered
plates that read so. Only what all of this speaks for is taken for one:

- a letter and a digit, in every read that counts (`core.plates`), as its country issues them, and
  the country is sure;
- five reads that agree, over a third of a second, and nearly no other;
- it is on a vehicle, on which nothing longer was ever read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from alprd.core.formats import follows_serial
from alprd.core.plates import MIN_CHARS
from alprd.core.tracking import Track
from alprd.core.voting import Vote

SURE_REGION: Final = 0.8
SURE_TEXT: Final = 0.95
AGREEING: Final = 5
AGREEING_SHARE: Final = 0.8
AGREEING_S: Final = 0.3


def is_doubtful(track: Track, found: Vote, others: Iterable[Track]) -> bool:
    """Whether a vote is on a text too short for what speaks for it.

    Args:
        track: the plate.
        found: its vote.
        others: all other tracks, those that ended lately too.
    """
    if len(found.published) >= MIN_CHARS:
        return False
    region = found.region
    if region is None or found.confidence < SURE_TEXT:
        return True
    if _shown(track, region.code) < SURE_REGION or not follows_serial(found.plate, region.code):
        return True
    alike = [o.t_s for o in track.reads if o.read is not None and o.read.text == found.plate]
    agreeing = track.count_of(found.plate)
    if agreeing < AGREEING or agreeing < AGREEING_SHARE * track.attempts:
        return True
    if max(alike) - min(alike) < AGREEING_S or not track.bound_to:
        return True
    return any(
        other.id != track.id
        and len(other.text or "") >= MIN_CHARS
        and any(vehicle in track.bound_to for vehicle, _ in other.carriers)
        for other in others
    )


def _shown(track: Track, code: str) -> float:
    """How sure the pictures are of the region; the text, which has a say in the vote, has none."""
    told = [o.read.regions for o in track.reads if o.read is not None and o.read.regions]
    country = code.split("-", maxsplit=1)[0]
    shares = [
        sum(share for name, share in regions if name.split("-", maxsplit=1)[0] == country)
        for regions in told
    ]
    return sum(shares) / len(shares) if shares else 0.0
