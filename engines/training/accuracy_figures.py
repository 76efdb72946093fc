"""A measured figure, what is wanted of it, and how far it may differ between machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]

BORDERLINE_CASES = 2
"""Of a counted figure: CPUs and ONNX Runtime versions differ in the last digits of a sum, and a
case in a few hundred lies so near to a threshold, or to a second text, that it falls either way."""

RENDERED_BORDERLINE = 0.01
"""Of rendered cases, as a share: FreeType and Pillow versions also move edges of glyphs a little.
"""

SMOOTH = 0.003
"""Of a figure in which every case counts a little (AP, calibration): absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table.

    Attributes:
        key: its name in the ratchet; stable.
        what: for people.
        of: the set it was measured on.
        value: a share (0..1), or a rate.
        cases: how many plates, pictures or vehicles it is made of.
        slack: how far it may be worse than the accepted one before that means something.
        wanted: the floor (or ceiling) that is promised; None for none.
        better: which way is up.
        share: shown in per cent.
        note: said beside it.
    """

    key: str
    what: str
    of: str
    value: float
    cases: int
    slack: float
    wanted: float | None = None
    better: Better = "higher"
    share: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the promised floor is kept; None without one."""
        if self.wanted is None:
            return None
        return not worse(self.value, self.wanted, self.better)


def worse(value: float, limit: float, better: Better) -> bool:
    """Whether a value lies on the wrong side of a limit (not a number counts as wrong)."""
    return not (value >= limit if better == "higher" else value <= limit)


def counted(cases: int) -> float:
    """Slack of a share or rate over so many real cases."""
    return BORDERLINE_CASES / max(cases, 1)


def share_of(hits: int, cases: int) -> float:
    """hits / cases; 0 of nothing."""
    return hits / cases if cases else 0.0


def table(figures: list[Figure]) -> str:
    """The figures as text, one a line."""
    rows = [("what", "set", "measured", "cases", "floor", "met", "")]
    last = ""
    for figure in figures:
        mark = {True: "yes", False: "NO", None: ""}[figure.met]
        limit = "" if figure.wanted is None else shown(figure.wanted, figure)
        rows.append(
            (
                figure.what if figure.what != last else "",
                figure.of,
                shown(figure.value, figure),
                str(figure.cases),
                limit,
                mark,
                figure.note,
            )
        )
        last = figure.what
    widths = [max(len(row[k]) for row in rows) for k in range(6)]
    aligned = ("<", "<", ">", ">", ">", "<")
    return "\n".join(
        "  ".join(f"{row[k]:{aligned[k]}{widths[k]}}" for k in range(6)).rstrip()
        + (f"  {row[6]}" if row[6] else "")
        for row in rows
    )


def shown(value: float, figure: Figure) -> str:
    """A value as the figure is written: in per cent, or as a rate."""
    return f"{100 * value:.1f} %" if figure.share else f"{value:.4f}"
