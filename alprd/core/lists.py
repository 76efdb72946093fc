"""Named plate lists: reading them, and finding the ones that a plate is on.

How a plate matches an entry, the surest kind first:

1. exact: the same characters, separators and case aside;
2. look-alike: one character differs, and the two are easily confused (O and 0, 8 and B; the classes
   of `alprd.core.plates.CONFUSABLE`);
3. near: one character differs otherwise, or one is missing or too many.

The last two only for lists that are matched fuzzily and for texts of five characters or more. Only
the surest kind that any list gives counts, over all lists: a plate that stands on one list is never
taken for its neighbour on another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alprd.core.plates import CONFUSABLE
from alprd.core.types import ALPHABET

MAX_PLATES: Final = 1_000_000
MAX_PLATE_CHARS: Final = 16
MIN_FUZZY_CHARS: Final = 5
"""In a shorter text one character is too large a part."""

_SEPARATORS: Final = frozenset(" \t-\u2010\u2011\u2012\u2013.\u00b7\u2022:_/")
_LOOK_ALIKES: Final[Mapping[str, str]] = {
    character: "".join(
        sorted(
            {other for group in CONFUSABLE if character in group for other in group} - {character}
        )
    )
    for character in ALPHABET
}


class PlateListError(ValueError):
    """A list cannot be used; the message is `problem; remedy` and quotes no plate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateList:
    """One list.

    Attributes:
        name: as in events.
        plates: normalised texts.
        fuzzy: whether one wrong character still counts.
        drop: events of its plates are not published.
    """

    name: str
    plates: frozenset[str]
    fuzzy: bool = False
    drop: bool = False


def parse_plates(text: str) -> frozenset[str]:
    """The plates of a list's file.

    One per line; case and separators (blank, - . : _ /) do not matter. What follows a `#`, `,` or
    `;` is a remark, and empty lines are skipped.

    Raises:
        PlateListError: naming the first line that holds no plate.
    """
    plates: set[str] = set()
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        entry = line
        for mark in "#,;":
            entry = entry.partition(mark)[0]
        plate = "".join(c for c in entry.upper() if c not in _SEPARATORS)
        if not plate:
            continue
        foreign = next((c for c in plate if c not in ALPHABET), None)
        if foreign is not None:
            raise PlateListError(
                f"line {number}: no plate is read with {foreign!a} in it; write A-Z and 0-9 "
                "as alprd reads them, remarks after a #"
            )
        if len(plate) > MAX_PLATE_CHARS:
            raise PlateListError(
                f"line {number}: {len(plate)} characters are no plate; one per line, at most "
                f"{MAX_PLATE_CHARS}"
            )
        plates.add(plate)
        if len(plates) > MAX_PLATES:
            raise PlateListError(f"more than {MAX_PLATES} plates; split the list")
    return frozenset(plates)


def lists_of(plate: str, lists: Sequence[PlateList]) -> tuple[PlateList, ...]:
    """The lists that the plate is on, in their order, by the surest kind of match."""
    found = tuple(each for each in lists if plate in each.plates)
    fuzzy = [each for each in lists if each.fuzzy]
    if found or not fuzzy or len(plate) < MIN_FUZZY_CHARS:
        return found
    for variants in (_look_alikes(plate), _near(plate)):
        texts = {v for v in variants if len(v) >= MIN_FUZZY_CHARS}
        found = tuple(each for each in fuzzy if not texts.isdisjoint(each.plates))
        if found:
            return found
    return ()


def _look_alikes(plate: str) -> Iterator[str]:
    for i, character in enumerate(plate):
        for other in _LOOK_ALIKES.get(character, ""):
            yield plate[:i] + other + plate[i + 1 :]


def _near(plate: str) -> Iterator[str]:
    for i in range(len(plate) + 1):
        for other in ALPHABET:
            yield plate[:i] + other + plate[i:]
            if i < len(plate):
                yield plate[:i] + other + plate[i + 1 :]
        if i < len(plate):
            yield plate[:i] + plate[i + 1 :]
