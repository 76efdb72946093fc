"""One text out of many reads of the same plate.

Reads of differing length are aligned to the text that the others agree with most; then every
position is decided by the weighted logarithmic mean of the reads' posteriors. The frames of one
pass are correlated (same dirt, same angle, same network), so a hundred of them count as about two
independent ones, and the result is never surer than the reader's own `quality` allows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.plates import MAX_CHARS, clearly_different, edit_distance, rank_by_format
from alprd.core.regions import choose_region, region_posterior, sharpened
from alprd.core.twins import settle_twins
from alprd.core.types import ALPHABET, BLANK, Candidate, PlateRead, Region

CORRELATION: Final = 0.5
"""Of two frames of one pass; n frames are worth n / (1 + (n - 1) * CORRELATION)."""

TRUST: Final = 0.995
"""Of a single read's posterior at one position, beyond what the reader says of itself."""

MISSING_BLANK: Final = 0.8
"""Posterior of "no character here" that a read casts for a position that it skipped."""

MISSING_BLANK_AT_END: Final = 0.5
"""The same at either end of the text, where a half-covered plate skips characters too."""

NOTHING_BETWEEN: Final = 0.998
"""Posterior of "nothing between two characters" that a read casts when it saw nothing there."""

GAP_COST: Final = 0.75
"""Of skipping a character in the alignment; a replacement costs at most 1."""

CANDIDATES: Final = 5
CANDIDATE_MIN: Final = 0.01
"""A further text less probable than this is not worth publishing."""

_ALL: Final = tuple(product(range(2 * CANDIDATES), range(CANDIDATES + 1)))
_LIKELY: Final = tuple((i, j) for i, j in _ALL if (i + 1) * (j + 1) <= 2 * CANDIDATES)
"""Prefix and character, each by rank, that can be among the best prefixes with one character more:
every other pair has too many better ones, as long as no two of a rank are equally probable."""

MEDOID_TEXTS: Final = 8
_INDEX_OF: Final = {character: i for i, character in enumerate(ALPHABET)}

Posteriors = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ballot:
    """One read and how much it counts.

    Attributes:
        read: what was read.
        weight: any positive scale, the same for all ballots.
        expected: regions whose plates are expected where it was read.
    """

    read: PlateRead
    weight: float
    expected: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The text that a pass's reads add up to.

    Reads are counted by and compared with what they say themselves (`plate`): a text that a
    region's serials made of it (`published`) may be one that no single read gave.

    Attributes:
        plate: the most probable text by the reads alone.
        char_confidences: one per character of `plate`.
        published: `plate` with its look-alikes settled by their neighbours and the region's
            serials; mostly the same.
        published_char_confidences: one per character of `published`.
        confidence: probability that all of `published` is right, 0..1.
        candidates: most probable texts, best first; the first is `published`.
        region: None when the reader has no such output or is not sure.
        region_seen: the same by the reads alone, whatever is expected.
    """

    plate: str
    char_confidences: tuple[float, ...]
    published: str
    published_char_confidences: tuple[float, ...]
    confidence: float
    candidates: tuple[Candidate, ...]
    region: Region | None
    region_seen: Region | None


def read_weight(read: PlateRead, width_px: float) -> float:
    """How much a read counts apart from its sharpness: size, detector score, own quality."""
    quality = 1.0 if read.quality is None else read.quality
    return float(width_px**1.5 * max(read.score, 0.05) * (0.02 + 0.98 * quality))


def read_confidence(read: PlateRead) -> float:
    """How probably a single read is right: its own quality, else its posteriors' product."""
    if read.quality is not None:
        return read.quality
    text = [_INDEX_OF[character] for character in read.text]
    return float(np.prod([read.char_probs[i, k] for i, k in enumerate(text)]))


def vote(ballots: Sequence[Ballot]) -> Vote | None:
    """The text that the ballots add up to; None without ballots.

    Reads that are clearly something else than what most of them say are left out.
    """
    ballots = [b for b in ballots if b.read.text and b.weight > 0.0]
    if not ballots:
        return None
    reference = _medoid(ballots)
    ballots = [b for b in ballots if not clearly_different(b.read.text, reference)]
    weights = _with_sharpness(ballots)
    columns = _pool(ballots, weights, reference)
    found = _best_texts(columns)
    as_read = [Candidate(plate=text, confidence=p) for text, (p, _) in found.items()]
    seen = [b.read.regions for b in ballots]
    likely = [sharpened(b.read.regions, b.expected) for b in ballots]
    by_reads = region_posterior(seen, weights.tolist(), as_read)
    regions = region_posterior(likely, weights.tolist(), as_read) if likely != seen else by_reads
    ranked = rank_by_format(settle_twins(as_read, regions), regions)
    if not ranked:
        return None
    plate, best = as_read[0].plate, ranked[0]
    allowed = _allowed_confidence(ballots, weights, {plate, best.plate})
    # The pool says how the texts compare; how far the best may be believed say the reads.
    total = sum(p for p, _ in found.values())
    scale = allowed / total if total > 0.0 else 0.0
    confidence = best.confidence * scale
    chars = found[best.plate][1]
    if best.plate != plate:
        # What the format says of the whole text it says of every character in it.
        chars = tuple(max(p, confidence) for p in chars)
    return Vote(
        plate=plate,
        char_confidences=found[plate][1],
        published=best.plate,
        published_char_confidences=chars,
        confidence=confidence,
        candidates=tuple(
            Candidate(plate=c.plate, confidence=c.confidence * scale)
            for i, c in enumerate(ranked[:CANDIDATES])
            if i == 0 or c.confidence * scale >= CANDIDATE_MIN
        ),
        region=choose_region(regions),
        region_seen=choose_region(by_reads),
    )


def surely_differ(a: Vote, b: Vote) -> bool:
    """True when two texts differ in a character of which both are sure."""
    if len(a.plate) != len(b.plate):
        return False
    return any(
        x != y and min(p, q) >= 0.9
        for x, y, p, q in zip(a.plate, b.plate, a.char_confidences, b.char_confidences, strict=True)
    )


def _medoid(ballots: Sequence[Ballot]) -> str:
    """The text nearest to all others by weight; of equals the heaviest, then the first in order."""
    weight_of: dict[str, float] = {}
    for ballot in ballots:
        weight_of[ballot.read.text] = weight_of.get(ballot.read.text, 0.0) + ballot.weight
    if len(weight_of) == 1:
        return ballots[0].read.text
    texts = sorted(weight_of, key=lambda text: (-weight_of[text], text))
    return min(
        texts[:MEDOID_TEXTS],
        key=lambda text: (
            sum(weight * edit_distance(text, other) for other, weight in weight_of.items()),
            -weight_of[text],
            text,
        ),
    )


def _with_sharpness(ballots: Sequence[Ballot]) -> Posteriors:
    """(K,) weights; sharpness has no absolute scale, so it counts relative to the sharpest read."""
    sharpest = max(b.read.sharpness for b in ballots)
    if sharpest <= 0.0:
        return np.array([b.weight for b in ballots])
    return np.array([b.weight * (0.3 + 0.7 * b.read.sharpness / sharpest) for b in ballots])


def _independent_reads(weights: Posteriors) -> float:
    """How many independent reads the weighted, correlated ones are worth, from 1 upwards."""
    count = float(weights.sum() ** 2 / (weights**2).sum())
    return count / (1.0 + (count - 1.0) * CORRELATION)


def _allowed_confidence(
    ballots: Sequence[Ballot], weights: Posteriors, plates: Collection[str]
) -> float:
    """What the single reads' own confidence permits for a text that they agree on.

    The reader's estimate for the whole text, where it has one, else its posteriors' product.
    """
    agreeing = [
        (w, read_confidence(b.read))
        for b, w in zip(ballots, weights, strict=True)
        if b.read.text in plates
    ]
    if not agreeing:
        return 1.0
    mean = sum(w * p for w, p in agreeing) / sum(w for w, _ in agreeing)
    independent = _independent_reads(np.array([w for w, _ in agreeing]))
    return float(1.0 - (1.0 - mean) ** independent)


def _pool(ballots: Sequence[Ballot], weights: Posteriors, reference: str) -> Posteriors:
    """(2 n + 1, 37) posteriors: a gap before, the first character, a gap, ..., a gap at the end."""
    logs = _log_columns([ballot.read for ballot in ballots], reference)
    logs *= weights[:, None, None]
    log_mean = np.add.reduce(logs, axis=0) / weights.sum() * _independent_reads(weights)
    pooled = np.exp(log_mean - log_mean.max(axis=1, keepdims=True))
    return np.asarray(pooled / pooled.sum(axis=1, keepdims=True))


def _log_columns(reads: Sequence[PlateRead], reference: str) -> Posteriors:
    """(K, 2 n + 1, 37) logarithms of what each read says of every position and between them."""
    n = len(reference)
    columns = np.empty((2 * n + 1, BLANK + 1))
    columns[0::2] = _blank_row(NOTHING_BETWEEN)
    columns[1::2] = _blank_row(MISSING_BLANK)
    columns[1] = columns[2 * n - 1] = _blank_row(MISSING_BLANK_AT_END)
    logs = np.repeat(np.log(columns)[None], len(reads), axis=0)
    # The characters of all reads at once, for they are few and there are many reads.
    lengths = [len(read.char_probs) for read in reads]
    trust = np.repeat([_trust(read) for read in reads], lengths)[:, None]
    probs = np.concatenate([read.char_probs for read in reads], dtype=np.float64)
    probs = np.clip(probs, 0.0, 1.0)
    probs /= np.maximum(probs.sum(axis=1, keepdims=True), 1e-9)
    probs = trust * probs + (1.0 - trust) / (BLANK + 1)
    log_probs, end = np.log(probs), 0
    for read, length, said in zip(reads, lengths, logs, strict=True):
        start, end = end, end + length
        if read.text == reference:
            said[1::2] = log_probs[start:end]
            continue
        for column, row in _align(probs[start:end], reference):
            said[column] = log_probs[start + row]
    return logs


def _trust(read: PlateRead) -> float:
    """Of the read's posterior at one position."""
    quality = 1.0 if read.quality is None else max(read.quality, 1e-3)
    return float(TRUST * quality ** (1.0 / max(1, len(read.text))))


def _blank_row(blank: float) -> Posteriors:
    row = np.full(BLANK + 1, (1.0 - blank) / BLANK)
    row[BLANK] = blank
    return row


def _align(probs: Posteriors, reference: str) -> list[tuple[int, int]]:
    """Pairs of (column, row of the read's posteriors); of several extra characters the last counts.

    The cheapest edit path; of equal ones that with replacements nearest the end.
    """
    n, m = len(reference), len(probs)
    change = 1.0 - probs[:, [_INDEX_OF[character] for character in reference]]
    cost = np.zeros((m + 1, n + 1))
    cost[:, 0] = GAP_COST * np.arange(m + 1)
    cost[0, :] = GAP_COST * np.arange(n + 1)
    for j in range(1, m + 1):
        for i in range(1, n + 1):
            cost[j, i] = min(
                cost[j - 1, i - 1] + change[j - 1, i - 1],
                cost[j - 1, i] + GAP_COST,
                cost[j, i - 1] + GAP_COST,
            )
    pairs: list[tuple[int, int]] = []
    j, i = m, n
    while j > 0 or i > 0:
        if j > 0 and i > 0 and cost[j, i] == cost[j - 1, i - 1] + change[j - 1, i - 1]:
            j, i = j - 1, i - 1
            pairs.append((2 * i + 1, j))
        elif j > 0 and (i == 0 or cost[j, i] == cost[j - 1, i] + GAP_COST):
            j -= 1
            pairs.append((2 * i, j))
        else:
            i -= 1
    pairs.reverse()
    return pairs


def _best_texts(columns: Posteriors) -> dict[str, tuple[float, tuple[float, ...]]]:
    """The most probable texts, best first: text -> (probability, probability of each character).

    Positions are independent, so keeping the best few prefixes finds the best few texts exactly
    but for texts that arise in several ways; those are added up.
    """
    beam: list[tuple[float, str, tuple[float, ...]]] = [(1.0, "", ())]
    best = np.argsort(-columns, axis=1, kind="stable")[:, : CANDIDATES + 1]
    probable = np.take_along_axis(columns, best, axis=1).tolist()
    for kinds, shares in zip(best.tolist(), probable, strict=True):
        letters = [ALPHABET[k] if k != BLANK else "" for k in kinds]
        held = len(beam)
        falls = _falls([p for p, _, _ in beam]) and _falls(shares)
        grown = [
            (-(beam[i][0] * shares[j]), beam[i][1] + letters[j], i, j)
            for i, j in (_LIKELY if falls else _ALL)
            if i < held
        ]
        grown.sort()
        beam = [
            (-p, text, (*beam[i][2], shares[j]) if letters[j] else beam[i][2])
            for p, text, i, j in grown[: 2 * CANDIDATES]
        ]
    texts: dict[str, tuple[float, tuple[float, ...]]] = {}
    for p, text, chars in beam:
        if not 0 < len(text) <= MAX_CHARS or not math.isfinite(p):
            continue
        known = texts.get(text)
        texts[text] = (p, chars) if known is None else (known[0] + p, known[1])
    return dict(sorted(texts.items(), key=lambda item: (-item[1][0], item[0])))


def _falls(values: Sequence[float]) -> bool:
    """Whether each value is less than the one before, and the last one is above 0."""
    return values[-1] > 0.0 and all(map(operator.gt, values, values[1:]))
