"""Plate designs as data: loading designs/*.toml, and texts drawn from their formats.

A format is a short pattern: ``#`` digit, ``%`` digit but 0, ``@`` letter of the design, ``&``
letter or digit, ``{name}`` one of the design's codes, a space a gap, ``~`` a narrow gap, ``*`` a
gap with a seal, ``-`` ``.`` ``+`` drawn separators (hyphen, point, middle dot), ``|`` the break
to the second line, anything else itself. ``A^B^C`` sets A above B, both small, and C large beside
them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import tomllib

from engines.training.plate_words import DIGITS, LETTERS, digit, letter, vanity_text

FOLDER = Path(__file__).resolve().parent / "designs"
NOT_DESIGNS = ("fonts.toml", "strokes.toml", "words.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """One kind of plate. Lengths are parts of the plate's height unless a name says mm."""

    id: str
    region: str
    formats: tuple[str, ...]
    weight: float = 1.0
    size_mm: tuple[float, float] = (520.0, 110.0)
    size_jitter: float = 0.02
    letters: str = LETTERS
    fonts: tuple[str, ...] = ("din",)
    colours: tuple[str, ...] = ("#f4f4f2/#101012",)  # background/text[/border]
    text_height: tuple[float, float] = (0.66, 0.74)  # of the height left for one line
    text_x: tuple[float, float] = (0.045, 0.955)  # of the width beside the bands
    text_y: float = 0.5  # centre of the text block
    line_heights: tuple[float, float] = (1.0, 1.0)  # two lines: relative heights
    gap: float = 0.3  # width of a space, of the cap height
    tracking: tuple[float, float] = (0.04, 0.12)  # between characters, of the cap height
    cell: float = 0.0
    fill: float = 1.0  # how far a short text spreads over the width, by tracking
    bands: tuple[Mapping[str, Any], ...] = ()
    border: float = 0.9  # probability
    border_mm: tuple[float, float] = (2.0, 4.0)
    radius_mm: float = 8.0
    emboss: float = 0.6
    captions: tuple[Mapping[str, Any], ...] = ()
    graphics: tuple[str, ...] = ()
    scenery: tuple[Mapping[str, Any], ...] = ()  # what this very design prints, see plate_scenery
    special: float = 0.0  # probability of an optional plate: only the first caption stays
    special_colours: tuple[str, ...] = ()
    special_words: tuple[str, ...] = ()
    tags: tuple[
        Mapping[str, Any], ...
    ] = ()  # small fixed inscriptions beside the text (IND, GP, ...)
    stickers: float = 0.0
    seal: str = ""  # what a "*" of the format may be, several kinds with spaces between
    picture: float = 0.0  # probability of a picture beside the text
    pale: float = 0.06  # probability of an ink hardly darker or lighter than its ground
    bolts: float = 0.35
    frame: float = 0.15
    vanity: float = 0.0
    vanity_length: tuple[int, int] = (4, 7)
    codes: Mapping[str, str] = field(default_factory=dict)


_NAMES = {f.name for f in fields(Design)}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def parse_designs(data: Mapping[str, Any], source: str) -> list[Design]:
    """Designs of one parsed file; `base` names a template of the same file whose keys are
    inherited.
    """
    bases: Mapping[str, Any] = data.get("base", {})
    out = []
    for entry in data.get("design", []):
        merged: dict[str, Any] = {}
        if "base" in entry:
            if entry["base"] not in bases:
                raise ValueError(
                    f"{source}: design {entry['id']} names base {entry['base']}, "
                    f"known: {sorted(bases)}"
                )
            merged.update(bases[entry["base"]])
        merged.update({key: value for key, value in entry.items() if key != "base"})
        unknown = set(merged) - _NAMES
        if unknown:
            raise ValueError(
                f"{source}: design {entry['id']} has unknown keys {sorted(unknown)}, "
                f"known: {sorted(_NAMES)}"
            )
        out.append(Design(**{key: _frozen(value) for key, value in merged.items()}))
    return out


@functools.cache
def load_designs() -> tuple[Design, ...]:
    """Every design of designs/*.toml, in order of file and place."""
    out: list[Design] = []
    for path in sorted(FOLDER.glob("*.toml")):
        if path.name not in NOT_DESIGNS:
            out += parse_designs(tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    ids = [design.id for design in out]
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise ValueError(f"design ids used twice: {sorted(twice)}")
    return tuple(out)


@functools.cache
def _weights() -> np.ndarray:
    weights = np.array([design.weight for design in load_designs()])
    return weights / weights.sum()


def choose_design(rng: np.random.Generator) -> Design:
    """One design, by weight."""
    designs = load_designs()
    return designs[int(rng.choice(len(designs), p=_weights()))]


def free_text(rng: np.random.Generator, *, lines: int = 1) -> str:
    """A pattern-free text, mostly of 4 to 10 characters, with random gaps and separators."""
    length = int(rng.integers(4, 11)) if rng.random() < 0.92 else int(rng.integers(lines, 4))
    kind = rng.random()
    if kind < 0.3 and length > 3:
        text = vanity_text(rng, 3, 8)
    elif kind < 0.4:
        text = "".join(digit(rng) for _ in range(min(length, 8)))
    else:
        share = float(rng.choice([0.3, 0.5, 0.7]))
        text = "".join(
            letter(rng, LETTERS) if rng.random() < share else digit(rng) for _ in range(length)
        )
    cuts = (
        sorted(
            int(c)
            for c in rng.choice(
                np.arange(1, len(text)), size=int(rng.integers(0, 3)), replace=False
            )
        )
        if len(text) > 3
        else []
    )
    seps = [" ", " ", "-", "~", ".", "*", "+"]
    middle = max(len(text) // 2 + int(rng.integers(-1, 2)), 1) if lines == 2 else -1
    out = []
    for index, char in enumerate(text):
        if index == middle and index > 0:
            out.append("|")
        elif index in cuts:
            out.append(seps[int(rng.integers(len(seps)))])
        out.append(char)
    return "".join(out)


def expand(rng: np.random.Generator, design: Design) -> str:
    """A text of the design, gaps and separators still in it."""
    return draw_text(rng, design)[0]


def draw_text(rng: np.random.Generator, design: Design) -> tuple[str, bool]:
    """A text of the design, and whether a format says which of its characters are letters."""
    pattern = design.formats[int(rng.integers(len(design.formats)))]
    if pattern.startswith("free"):
        return free_text(rng, lines=2 if pattern == "free2" else 1), False
    if design.vanity and rng.random() < design.vanity and "|" not in pattern:
        text = vanity_text(rng, *design.vanity_length)
        if len(text) > 3 and rng.random() < 0.25:
            cut = int(rng.integers(1, len(text)))
            text = f"{text[:cut]}{'* -'[int(rng.integers(3))]}{text[cut:]}"
            if len(text) > 6 and rng.random() < 0.3:
                text = text.replace(" ", "  ")
        return text, False
    out: list[str] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "{":
            end = pattern.index("}", index)
            choices = design.codes[pattern[index + 1 : end]].split()
            out.append(choices[int(rng.integers(len(choices)))])
            index = end
        elif char == "#":
            out.append(digit(rng))
        elif char == "%":
            out.append(DIGITS[int(rng.integers(1, 10))])
        elif char == "@":
            out.append(letter(rng, design.letters))
        elif char == "&":
            out.append(letter(rng, design.letters) if rng.random() < 0.5 else digit(rng))
        else:
            out.append(char)
        index += 1
    return "".join(out), "&" not in pattern


def plain(text: str) -> str:
    """Main characters only, top line before bottom line."""
    return "".join(char for char in text if char in LETTERS or char in DIGITS)
