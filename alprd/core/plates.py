"""What is known about plate texts: how alike two of them are, and national formats.

Formats are knowledge, not truth: they rank texts that the reader finds about equally probable, and
never overwrite a character that it is sure of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from alprd.core.types import ALPHABET, Candidate

MIN_CHARS = 3
MAX_CHARS = 11
"""Shorter or longer texts are not taken for plates: fragments, and signs or overlays.

The longest plate of the formats below has 11 characters. Those of two ("A1") exist but are so rare
that nearly every text of two characters is a piece of a half-covered plate.
"""

CONFUSABLE = ("0ODQ", "1IL", "2Z", "5S", "6G", "8B", "4A", "7T", "UV", "MN")
"""Characters that plates' fonts, dirt and distance make look alike."""

CLOSE_RATIO = 0.25
"""A format may promote a text that is at least this probable, relative to the best one."""

FORMAT_ODDS = 8.0
"""How much likelier a text is that has one of its country's formats than one that has none."""

FORMATS: Mapping[str, tuple[str, ...]] = {
    "AR": ("[A-Z]{3}[0-9]{3}", "[A-Z]{2}[0-9]{3}[A-Z]{2}", "[A-Z][0-9]{3}[A-Z]{3}"),
    "AT": ("[A-Z]{1,2}[0-9]{1,5}[A-Z]{1,3}", "[A-Z]{2,6}[0-9]{1,4}"),
    "AU": ("[A-Z]{3}[0-9]{2}[A-Z0-9]", "[0-9][A-Z]{2}[0-9][A-Z]{2}", "[A-Z]{2}[0-9]{2}[A-Z]{2}"),
    "BE": ("[1-9][A-Z]{3}[0-9]{3}", "[A-Z]{3}[0-9]{3}", "[0-9]{3}[A-Z]{3}"),
    "BG": ("[ABCEHKMOPTXY]{1,2}[0-9]{4}[ABCEHKMOPTXY]{2}",),
    "BR": ("[A-Z]{3}[0-9]{4}", "[A-Z]{3}[0-9][A-Z][0-9]{2}"),
    "CH": ("(AG|AI|AR|BE|BL|BS|FR|GE|GL|GR|JU|LU|NE|NW|OW|SG|SH|SO|SZ|TG|TI|UR|VD|VS|ZG|ZH)"
           "[0-9]{1,6}",),
    "CL": ("[A-Z]{2}[0-9]{4}", "[B-DF-HJ-LPR-TV-Z]{4}[0-9]{2}"),
    "CO": ("[A-Z]{3}[0-9]{3}", "[A-Z]{3}[0-9]{2}[A-Z]"),
    "CZ": ("[0-9][A-Z][A-Z0-9][0-9]{4}", "[A-Z]{2,3}[0-9]{4}"),
    "DE": ("[A-Z]{1,3}[A-Z]{1,2}[1-9][0-9]{0,3}[EH]?",),
    "DK": ("[A-Z]{2}[0-9]{5}",),
    "EE": ("[0-9]{3}[A-Z]{3}",),
    "ES": ("[0-9]{4}[B-DF-HJ-NPR-TV-Z]{3}", "[A-Z]{1,2}[0-9]{4}[A-Z]{1,2}"),
    "FI": ("[A-Z]{2,3}[0-9]{1,3}",),
    "FR": ("[A-HJ-NP-TV-Z]{2}[0-9]{3}[A-HJ-NP-TV-Z]{2}", "[0-9]{1,4}[A-Z]{2,3}[0-9]{2}"),
    "GB": ("[A-Z]{2}[0-9]{2}[A-Z]{3}", "[A-Z][0-9]{1,3}[A-Z]{3}", "[A-Z]{3}[0-9]{1,3}[A-Z]",
           "[A-Z]{1,3}[0-9]{1,4}", "[0-9]{1,4}[A-Z]{1,3}"),
    "GR": ("[ABEHIKMNOPTXYZ]{3}[0-9]{4}",),
    "HR": ("[A-Z]{2}[0-9]{3,4}[A-Z]{1,2}",),
    "HU": ("[A-Z]{3}[0-9]{3}", "[A-Z]{4}[0-9]{3}"),
    "IE": ("[0-9]{2,3}[A-Z]{1,2}[0-9]{1,6}",),
    "IL": ("[0-9]{7,8}",),
    "IN": ("[A-Z]{2}[0-9]{1,2}[A-Z]{0,3}[0-9]{4}", "[0-9]{2}BH[0-9]{4}[A-Z]{1,2}"),
    "IT": ("[A-HJ-NPR-TV-Z]{2}[0-9]{3}[A-HJ-NPR-TV-Z]{2}",),
    "LT": ("[A-Z]{3}[0-9]{3}",),
    "LU": ("[A-Z]{2}[0-9]{4}", "[0-9]{4,6}"),
    "LV": ("[A-Z]{2}[0-9]{1,4}",),
    "MX": ("[A-Z]{3}[0-9]{3,4}[A-Z]?", "[A-Z][0-9]{2}[A-Z]{3}"),
    "NL": ("[A-Z]{2}[0-9]{3}[A-Z]", "[A-Z][0-9]{3}[A-Z]{2}", "[0-9]{2}[A-Z]{3}[0-9]",
           "[0-9][A-Z]{3}[0-9]{2}", "[0-9]{2}[A-Z]{4}", "[A-Z]{2}[0-9]{2}[A-Z]{2}",
           "[A-Z]{4}[0-9]{2}", "[A-Z]{3}[0-9]{2}[A-Z]", "[A-Z][0-9]{2}[A-Z]{3}"),
    "NO": ("[A-Z]{2}[0-9]{5}",),
    "PL": ("[A-Z]{2,3}[A-Z0-9]{4,5}",),
    "PT": ("[A-Z]{2}[0-9]{2}[A-Z]{2}", "[0-9]{2}[A-Z]{2}[0-9]{2}", "[0-9]{4}[A-Z]{2}",
           "[A-Z]{2}[0-9]{4}"),
    "RO": ("B[0-9]{2,3}[A-Z]{3}", "[A-Z]{2}[0-9]{2}[A-Z]{3}", "[A-Z]{1,2}[0-9]{3,6}"),
    "RS": ("[A-Z]{2}[0-9]{3,5}[A-Z]{2}",),
    "SE": ("[A-HJ-PR-UW-Z]{3}[0-9]{2}[A-HJ-NPR-UW-Z0-9]",),
    "SI": ("[A-Z]{2}[A-Z0-9]{5}",),
    "SK": ("[A-Z]{2}[0-9]{3}[A-Z]{2}",),
    "TR": ("(0[1-9]|[1-7][0-9]|8[01])([A-Z][0-9]{4,5}|[A-Z]{2}[0-9]{3,4}|[A-Z]{3}[0-9]{2,3})",),
    "UA": ("[ABCEHIKMOPTX]{2}[0-9]{4}[ABCEHIKMOPTX]{2}",),
    "US-CA": ("[0-9][A-Z]{3}[0-9]{3}",),
    "US-FL": ("[A-Z]{3,4}[0-9]{2,3}", "[A-Z][0-9]{2}[0-9A-Z]{3}"),
    "US-NY": ("[A-Z]{3}[0-9]{4}",),
    "US-TX": ("[A-Z]{3}[0-9]{4}", "[A-Z]{2}[0-9][A-Z][0-9]{3}"),
}  # fmt: skip
"""Regular expressions of the usual plates, by ISO 3166 code; not every plate that exists."""

_CLASS_OF = {
    character: frozenset(other for group in CONFUSABLE if character in group for other in group)
    for character in ALPHABET
}


def matches_format(text: str, region: str) -> bool | None:
    """Whether the text has one of the region's formats; None when they are not known.

    A state without formats of its own ("US-OR") is answered with its country's, if there are any.
    """
    patterns = FORMATS.get(region) or FORMATS.get(region.split("-", maxsplit=1)[0])
    if patterns is None:
        return None
    return any(re.fullmatch(pattern, text) for pattern in patterns)


def look_alike(a: str, b: str) -> bool:
    """True when the texts differ only in characters that are easily confused."""
    return len(a) == len(b) and all(
        x == y or y in _CLASS_OF.get(x, frozenset()) for x, y in zip(a, b, strict=True)
    )


def rank_by_format(candidates: Sequence[Candidate], region: str | None) -> tuple[Candidate, ...]:
    """Weigh look-alikes of the best text by the region's formats; best first.

    Only texts whose probability is close to the best one's are weighed, so a confident read stays
    as it was read. The candidates' total probability is kept.
    """
    if region is None or not candidates:
        return tuple(candidates)
    best = candidates[0]
    if matches_format(best.plate, region) is not False:
        return tuple(candidates)
    odds = [
        FORMAT_ODDS
        if c.confidence >= CLOSE_RATIO * best.confidence
        and look_alike(c.plate, best.plate)
        and matches_format(c.plate, region)
        else 1.0
        for c in candidates
    ]
    total = sum(c.confidence for c in candidates)
    weighed = sum(c.confidence * o for c, o in zip(candidates, odds, strict=True))
    if weighed <= 0.0:
        return tuple(candidates)
    ranked = [
        Candidate(plate=c.plate, confidence=c.confidence * o * total / weighed)
        for c, o in zip(candidates, odds, strict=True)
    ]
    return tuple(sorted(ranked, key=lambda c: (-c.confidence, c.plate)))


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions and replacements that turn one text into the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[len(b)]


def is_fragment(a: str, b: str) -> bool:
    """True when one text is a part of the other, as of a plate that is half covered."""
    shorter, longer = sorted((a, b), key=len)
    return MIN_CHARS <= len(shorter) < len(longer) and shorter in longer


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
    return edit_distance(a, b) >= max(3, 0.4 * longest)
