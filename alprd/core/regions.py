"""Which country, and state, a vehicle's plate is from: what its pictures say, and its text.

The reader sees colours, bands and captions; the text has the form of some regions' serials and not
of others'. Both are weighed against each other as probabilities, so a form ranks what the pictures
leave open, and no text makes a region impossible.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alprd.core.formats import free_likelihood, text_likelihood
from alprd.core.types import Candidate, Region

REGION_MIN: Final = 0.35
"""A country, or a state ("US-CA"), less probable than this is not worth publishing: of a country
its name alone is then, else nothing. Who wants only what is surer goes by the confidence."""

UNKNOWN: Final = "unknown"
"""The reader's label for a plate of no region that it knows; no code, and never published."""

LEAST: Final = 1e-4
"""Probability of a region that the pictures say nothing of, relative to the whole."""

EXPECTED_ODDS: Final = 8.0
"""How much likelier a region is that the camera's owner expects than the reader, which knows
plates from everywhere, takes it for."""

_REGION_CODE: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How much each kind of evidence counts; fitted on train texts that were held out.

    Attributes:
        picture: exponent of what the reader says of the pictures.
        text: exponent of the text's likelihood. The reader has read the text, too: what its form
            tells is in both, and both in full would count it twice.
        unknown: odds of a plate from nowhere. A quarter of the plates that the reader is trained on
            are; on roads few are.
        floor: a text counts as at most so much less likely of one region than of another: reads err
            by a character, serials are older, newer or rarer than anybody's table.
    """

    picture: float = 0.85
    text: float = 0.5
    unknown: float = 0.1
    floor: float = 1e-3


EVIDENCE: Final = Evidence()


def sharpened(
    regions: Sequence[tuple[str, float]], expected: Collection[str]
) -> tuple[tuple[str, float], ...]:
    """What a read says of the region where some are expected; best first.

    None is forbidden: a foreign plate that the picture shows clearly stays foreign.

    Args:
        regions: (code, probability) pairs.
        expected: codes; a country ("US") stands for its states, too.
    """
    if not expected or not regions:
        return tuple(regions)
    raised = [
        (code, p * (EXPECTED_ODDS if code in expected or _country(code) in expected else 1.0))
        for code, p in regions
    ]
    before, after = sum(p for _, p in regions), sum(p for _, p in raised)
    if after <= 0.0:
        return tuple(regions)
    scaled = [(code, p * before / after) for code, p in raised]
    return tuple(sorted(scaled, key=lambda pair: (-pair[1], pair[0])))


def vote_region(
    reads: Sequence[Sequence[tuple[str, float]]],
    weights: Sequence[float],
    texts: Sequence[Candidate] = (),
) -> Region | None:
    """The region that the reads of one plate, and the texts that they add up to, make probable.

    Args:
        reads: of each read its (code, probability) pairs; a read without any does not vote.
        weights: of each read, at least 0.
        texts: what the plate's text may be; none leaves the decision to the pictures.

    Returns:
        None when nothing is known or no region is probable enough.
    """
    return choose_region(region_posterior(reads, weights, texts))


def region_posterior(
    reads: Sequence[Sequence[tuple[str, float]]],
    weights: Sequence[float],
    texts: Sequence[Candidate] = (),
    evidence: Evidence = EVIDENCE,
) -> dict[str, float]:
    """Probability of every region that any read names ("unknown" included), 1 in all.

    Empty when no read names one. The arguments are `vote_region`'s.
    """
    seen = _picture(reads, weights)
    if not seen:
        return {}
    told = _text(texts, seen, evidence.floor)
    scores = {
        code: evidence.picture * math.log(share) + evidence.text * told.get(code, 0.0)
        for code, share in seen.items()
    }
    if UNKNOWN in scores:
        scores[UNKNOWN] += math.log(evidence.unknown)
    top = max(scores.values())
    raised = {code: math.exp(score - top) for code, score in scores.items()}
    total = sum(raised.values())
    return {code: value / total for code, value in raised.items()}


def choose_region(posterior: Mapping[str, float]) -> Region | None:
    """The most probable country, with its state where that is sure; None where none is.

    Plates of neighbouring states differ in a caption that a small picture does not show: what is
    spread over several of a country's states is still sure to be that country.
    """
    countries: dict[str, float] = {}
    for code, share in posterior.items():
        country = _country(code)
        countries[country] = countries.get(country, 0.0) + share
    if not countries:
        return None
    country = min(countries, key=lambda name: (-countries[name], name))
    confidence = min(1.0, countries[country])
    if confidence < REGION_MIN or not _REGION_CODE.fullmatch(country):
        return None
    states = [c for c in posterior if c != country and _country(c) == country]
    state = min(states, key=lambda name: (-posterior[name], name), default=country)
    sure = min(1.0, posterior.get(state, 0.0))
    if sure >= REGION_MIN and _REGION_CODE.fullmatch(state):
        return Region(code=state, confidence=sure)
    return Region(code=country, confidence=confidence)


def _picture(
    reads: Sequence[Sequence[tuple[str, float]]], weights: Sequence[float]
) -> dict[str, float]:
    """Weighted mean probability of every code that is named; {} where nothing votes."""
    total = 0.0
    mass: dict[str, float] = {}
    for regions, weight in zip(reads, weights, strict=True):
        if not regions or weight <= 0.0:
            continue
        total += weight
        for code, probability in regions:
            mass[code] = mass.get(code, 0.0) + weight * probability
    return {code: max(share / total, LEAST) for code, share in mass.items()} if total > 0.0 else {}


def _text(texts: Sequence[Candidate], seen: Mapping[str, float], floor: float) -> dict[str, float]:
    """Log-likelihood of the text by region; regions without known serials count as an average."""
    whole = sum(text.confidence for text in texts)
    if whole <= 0.0:
        return {}
    found: dict[str, float] = {}
    free = [free_likelihood(text.plate) for text in texts]
    for code in seen:
        each = [text_likelihood(t.plate, code, f) for t, f in zip(texts, free, strict=True)]
        known = [like for like in each if like is not None]
        if len(known) == len(texts):
            found[code] = sum(t.confidence * p for t, p in zip(texts, known, strict=True)) / whole
    if not found:
        return {}
    middle, most = sum(found.values()) / len(found), max(found.values())
    if most <= 0.0:
        return {}
    return {code: math.log(max(found.get(code, middle) / most, floor)) for code in seen}


def _country(code: str) -> str:
    return code.split("-", maxsplit=1)[0]
