"""What is known about plate texts: how alike two of them are, and what formats make of them.

Formats are knowledge, not truth: they rank texts that the reader finds about equally probable, and
never overwrite a character that it is sure of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alprd.core.formats import follows_serial
from alprd.core.types import ALPHABET, Candidate

MIN_CHARS = 3
MAX_CHARS = 11
"""Shorter or longer texts are not taken for plates: fragments, and signs or overlays.

The longest of the known serials has 11 characters. Those of two ("A1") exist but are so rare
that nearly every text of two characters is a piece of a half-covered plate, or a badge; what they
must have beside is in `core.short_plates`.
"""

SHORT_CHARS = 2
SHORT_SURE = 0.9

CONFUSABLE = ("0ODQ", "1IL", "2Z", "5S", "6G", "8B", "4A", "7T", "UV", "MN")
"""Characters that plates' fonts, dirt and distance make look alike."""

CLOSE_RATIO = 0.25
"""A format may promote a text that is at least this probable, relative to the best one."""

FORMAT_ODDS = 8.0
"""How much likelier a text is that is among its region's usual serials than one that is not."""

_CLASS_OF = {
    character: frozenset(other for group in CONFUSABLE if character in group for other in group)
    for character in ALPHABET
}


def look_alike(a: str, b: str) -> bool:
    """True when the texts differ only in characters that are easily confused."""
    return len(a) == len(b) and all(
        x == y or y in _CLASS_OF.get(x, frozenset()) for x, y in zip(a, b, strict=True)
    )


def rank_by_format(
    candidates: Sequence[Candidate], regions: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Weigh look-alikes of the best text by the serials of the regions it may be of; best first.

    Only texts whose probability is close to the best one's are weighed, so a confident read stays
    as it was read. The candidates' total probability is kept.

    Args:
        candidates: texts, best first.
        regions: probability of each region; the less sure they are, the less a serial counts.
    """
    if not regions or not candidates:
        return tuple(candidates)
    best = candidates[0]
    odds = [
        1.0 + (FORMAT_ODDS - 1.0) * _share_with_serial(c.plate, regions)
        if c.confidence >= CLOSE_RATIO * best.confidence and look_alike(c.plate, best.plate)
        else 1.0
        for c in candidates
    ]
    total = sum(c.confidence for c in candidates)
    weighed = sum(c.confidence * o for c, o in zip(candidates, odds, strict=True))
    if weighed <= 0.0 or odds[0] >= max(odds):
        return tuple(candidates)
    ranked = [
        Candidate(plate=c.plate, confidence=c.confidence * o * total / weighed)
        for c, o in zip(candidates, odds, strict=True)
    ]
    return tuple(sorted(ranked, key=lambda c: (-c.confidence, c.plate)))


def _share_with_serial(text: str, regions: Mapping[str, float]) -> float:
    """Probability that the plate is of a region among whose usual serials the text is."""
    return sum(share for region, share in regions.items() if follows_serial(text, region))


def is_sure_and_short(text: str, char_probs: NDArray[np.float32]) -> bool:
    """Whether two characters are a letter and a digit, and both are sure.

    Args:
        text: of SHORT_CHARS characters.
        char_probs: (SHORT_CHARS, 37) of its characters.
    """
    return _is_mixed(text) and bool((char_probs.max(axis=1) >= SHORT_SURE).all())


def _is_mixed(text: str) -> bool:
    """Whether it is one letter and one digit, as the shortest plates are."""
    return len(text) == SHORT_CHARS and text[0].isdigit() != text[1].isdigit()


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions and replacements that turn one text into the other."""
    if a == b:
        return 0
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        left = i
        for j, y in enumerate(b, start=1):
            above = row[j]
            if x == y:
                left = diagonal  # nothing is cheaper than to keep a character
            else:
                least = diagonal if diagonal < above else above
                left = (left if left < least else least) + 1
            row[j], diagonal = left, above
    return row[len(b)]


def is_fragment(a: str, b: str) -> bool:
    """True when one text is a part of the other, as of a plate that is half covered."""
    shorter, longer = sorted((a, b), key=len)
    long_enough = len(shorter) >= MIN_CHARS or _is_mixed(shorter)
    return long_enough and len(shorter) < len(longer) and shorter in longer


def nearly_same(a: str, b: str) -> bool:
    """Equal, one edit apart in five characters or more, or one a fragment of the other."""
    if a == b or is_fragment(a, b):
        return True
    return min(len(a), len(b)) >= 5 and edit_distance(a, b) <= 1


def clearly_different(a: str, b: str) -> bool:
    """True when misreading one plate does not explain both texts."""
    if is_fragment(a, b):
        return False
    longest = max(len(a), len(b))
    return edit_distance(a, b) >= max(min(3, longest), 0.4 * longest)
