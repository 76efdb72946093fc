"""O and 0, I and 1 are one glyph on many plates: which of them it is, the neighbours tell.

Serials have groups of letters and groups of digits, and so have most texts of their owners' choice:
"ALPHA90", not "ALPHA9O". This only ranks texts that the reader finds about equally probable: a
confident read stays, and so does one that is a serial of where the plate probably is from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from alprd.core.formats import follows_serial
from alprd.core.types import Candidate

CLOSE_RATIO: Final = 0.5
"""A text may be promoted that is at least this probable, relative to the best one."""

FEWER_CHANGES_ODDS: Final = 2.0
"""How much likelier a text is that changes between letters and digits less often than the best one,
however much less often: a read that is twice as probable as any other stays."""

PROBABLE: Final = 0.5
"""Regions' share from which on their serials confirm a text as it was read."""

_ONE_GLYPH: Final = str.maketrans("OI", "01")


def settle_twins(
    candidates: Sequence[Candidate], regions: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Weigh texts that differ from the best one in O and 0, I and 1 only; best first.

    The candidates' total probability is kept.

    Args:
        candidates: texts, best first.
        regions: probability of each region.
    """
    if not candidates:
        return ()
    best = candidates[0]
    confirmed = sum(p for region, p in regions.items() if follows_serial(best.plate, region))
    if confirmed >= PROBABLE:
        return tuple(candidates)
    glyphs, changes = best.plate.translate(_ONE_GLYPH), _changes(best.plate)
    odds = [
        FEWER_CHANGES_ODDS
        if _changes(c.plate) < changes
        and c.confidence >= CLOSE_RATIO * best.confidence
        and c.plate.translate(_ONE_GLYPH) == glyphs
        else 1.0
        for c in candidates
    ]
    weighed = sum(c.confidence * o for c, o in zip(candidates, odds, strict=True))
    if max(odds) <= 1.0 or weighed <= 0.0:
        return tuple(candidates)
    total = sum(c.confidence for c in candidates)
    settled = [
        Candidate(plate=c.plate, confidence=c.confidence * o * total / weighed)
        for c, o in zip(candidates, odds, strict=True)
    ]
    return tuple(sorted(settled, key=lambda c: (-c.confidence, c.plate)))


def _changes(text: str) -> int:
    """How often a letter stands beside a digit."""
    return sum(a.isdigit() != b.isdigit() for a, b in pairwise(text))
