"""Which country, and state, a vehicle's plate is from: a vote over its reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from alprd.core.types import Region

REGION_MIN: Final = 0.4
"""A region less probable than this is not worth publishing."""
STATE_MIN: Final = 0.6
"""A state ("US-CA") less probable than this is left out: the country alone is published."""

_REGION_CODE: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")


def vote_region(
    reads: Sequence[Sequence[tuple[str, float]]], weights: Sequence[float]
) -> Region | None:
    """The country with the greatest weighted probability, with its state where that is sure.

    Plates of neighbouring states differ in a caption that a small picture does not show: what is
    spread over several of a country's states is still sure to be that country.

    Args:
        reads: of each read its (code, probability) pairs; a read without any does not vote.
        weights: of each read, at least 0.

    Returns:
        None when nothing is known or "unknown" wins.
    """
    total = 0.0
    mass: dict[str, float] = {}
    for regions, weight in zip(reads, weights, strict=True):
        if not regions:
            continue
        total += weight
        for code, probability in regions:
            mass[code] = mass.get(code, 0.0) + weight * probability
    if total <= 0.0:
        return None
    countries: dict[str, float] = {}
    for code, share in mass.items():
        country = _country(code)
        countries[country] = countries.get(country, 0.0) + share
    country = min(countries, key=lambda name: (-countries[name], name))
    confidence = min(1.0, countries[country] / total)
    # The reader's own "unknown" is no code and says that the region is not known.
    if confidence < REGION_MIN or not _REGION_CODE.fullmatch(country):
        return None
    states = [c for c in mass if c != country and _country(c) == country]
    state = min(states, key=lambda name: (-mass[name], name), default=country)
    sure = min(1.0, mass.get(state, 0.0) / total)
    if sure >= STATE_MIN and _REGION_CODE.fullmatch(state):
        return Region(code=state, confidence=sure)
    return Region(code=country, confidence=confidence)


def _country(code: str) -> str:
    return code.split("-", maxsplit=1)[0]
