"""Texts of somebody's choice: what is spelt on plates, made-up words, digits for letters."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import tomllib

WORDS = Path(__file__).resolve().parent / "designs" / "words.toml"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
CONFUSED_DIGITS = "0018815526673"
CONFUSED_LETTERS = "OOIIBBSSZZQDDGTUVVYEFMMNNWWHHCLJPRAX"
LEET = dict(zip("OIZESGTBALAEO", "0123567841430", strict=True))


@functools.cache
def _pool(name: str) -> tuple[str, ...]:
    """A list of words.toml."""
    return tuple(tomllib.loads(WORDS.read_text(encoding="utf-8"))[name].split())


def _one(rng: np.random.Generator, name: str) -> str:
    pool = _pool(name)
    return pool[int(rng.integers(len(pool)))]


def letter(rng: np.random.Generator, letters: str) -> str:
    """One of the letters; one in four is of those that are easily confused."""
    if rng.random() < 0.25:
        confused = [c for c in CONFUSED_LETTERS if c in letters]
        if confused:
            return confused[int(rng.integers(len(confused)))]
    return letters[int(rng.integers(len(letters)))]


def digit(rng: np.random.Generator) -> str:
    """A digit; one in four is of those that are easily confused."""
    pool = CONFUSED_DIGITS if rng.random() < 0.25 else DIGITS
    return pool[int(rng.integers(len(pool)))]


def syllables(rng: np.random.Generator, length: int) -> str:
    """A made-up word that can be spoken."""
    word = _one(rng, "onsets") if rng.random() < 0.75 else ""
    while len(word) < length:
        word += _one(rng, "nuclei")
        word += _one(rng, "codas") if rng.random() < 0.45 else _one(rng, "onsets")
    return word[:length]


def _spelt(rng: np.random.Generator, shortest: int, longest: int) -> str:
    """Words and numbers as people put them together, of a length that fits; empty if none does."""
    for _ in range(12):
        kind = rng.random()
        if kind < 0.25:
            text = _one(rng, "words")
        elif kind < 0.5:
            text = _one(rng, "words") + _one(rng, "words")
        elif kind < 0.68:
            text = _one(rng, "words") + _one(rng, "numbers")
        elif kind < 0.8:
            text = _one(rng, "numbers") + _one(rng, "words")
        elif kind < 0.9:
            text = _one(rng, "words") + _one(rng, "links") + _one(rng, "words")
        else:
            text = _one(rng, "links") + _one(rng, "words")
        if rng.random() < 0.12:  # without its vowels but the first
            text = text[0] + "".join(c for c in text[1:] if c not in "AEIOU")
        if shortest <= len(text) <= longest:
            return text
    return ""


def vanity_text(rng: np.random.Generator, shortest: int, longest: int) -> str:
    """A text of somebody's choice: spelt, made up or wholly random; digits stand in for letters
    now and then, as people do.

    What is likely in such texts is what the reader goes by where two characters look alike, so a
    zero inside a word and an I inside a number have to be as rare here as on the road.
    """
    length = max(int(rng.integers(shortest, longest + 1)), int(rng.integers(shortest, longest + 1)))
    kind = rng.random()
    if kind < 0.2:
        return "".join(
            letter(rng, LETTERS) if rng.random() < 0.55 else digit(rng) for _ in range(length)
        )
    if kind < 0.32:  # abbreviations: letters without a rule
        chars = [letter(rng, LETTERS) for _ in range(length)]
    elif kind < 0.38 and length > 3:  # a letter again and again
        chars = list(syllables(rng, length))
        start = int(rng.integers(0, length - 2))
        stop = min(start + int(rng.integers(2, 5)), length)
        chars[start:stop] = chars[start] * (stop - start)
    elif kind < 0.55:
        chars = list(syllables(rng, length))
    else:
        chars = list(_spelt(rng, shortest, longest) or syllables(rng, length))
    if rng.random() < 0.2:
        for index in range(len(chars)):
            alike = chars[index] in "OI"
            if chars[index] in LEET and rng.random() < (0.06 if alike else 0.3):
                chars[index] = LEET[chars[index]]
    # initials are followed by a number as often as not, other words now and then
    if kind < 0.55 and rng.random() < (0.5 if kind < 0.32 else 0.25) and length > 2:
        count = int(rng.integers(1, min(4, length)))
        digits = [digit(rng) for _ in range(count)]
        chars = digits + chars[count:] if rng.random() < 0.4 else chars[:-count] + digits
    return "".join(chars)


def without_twins(text: str) -> str:
    """A free text for a face whose 1 and I, 0 and O are one glyph: those are what stands on both
    sides of them, or on the only one; between a letter and a digit they stay what they were.
    """
    out = list(text)
    start = 0
    while start < len(text):
        stop = start
        while stop < len(text) and text[stop] in "01OI":
            stop += 1
        if stop == start:
            start += 1
            continue
        beside = [text[i] for i in (start - 1, stop) if 0 <= i < len(text)]
        sides = {c in DIGITS for c in beside if c in LETTERS or c in DIGITS}
        if len(sides) == 1:
            table = str.maketrans("OI", "01") if sides.pop() else str.maketrans("01", "OI")
            out[start:stop] = text[start:stop].translate(table)
        start = stop
    return "".join(out)
