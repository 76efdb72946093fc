"""Passes over counting lines: every pass counted once per crossing, however many plates showed it.

A car shows a plate at its front and one at its rear, and a plate that was lost begins a new track;
all tracks of one pass share its account here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from alprd.core.counting import LineCount, Places, count
from alprd.core.tracking import Track
from alprd.core.types import Crossing

MAX_CROSSINGS: Final = 64
"""Remembered of one pass; who drives to and fro more often is counted no further."""


class Ledger:
    """Belongs to one pipeline and its thread; only `counts` may be read by others."""

    def __init__(self) -> None:
        self.counts: Mapping[str, LineCount] = {}
        """Replaced, never changed: health reads it from its own thread."""
        self._of: dict[int, tuple[Crossing, ...]] = {}

    @property
    def remembers(self) -> bool:
        """Whether any pass is known here."""
        return bool(self._of)

    def enter(self, pass_id: int, crossed: Iterable[Crossing]) -> tuple[Crossing, ...]:
        """Count what of these was not known of the pass yet.

        Nobody crosses a line the same way twice without having come back in between, so of several
        such crossings in a row the first one counts.

        Returns:
            The crossings that were counted, oldest first.
        """
        known = self._of.get(pass_id, ())
        merged = _alternating([*known, *crossed])[:MAX_CROSSINGS]
        new = _beyond(known, merged)
        if new:
            self._of[pass_id] = merged
            self.counts = count(self.counts, new)
        return new

    def enter_track(self, track: Track, places: Places) -> bool:
        """Count what a track with a verdict crossed; whether it is now first on a wrong way."""
        known = {c.line for c in self._of.get(track.pass_id, ()) if c.wrong_way}
        new = self.enter(track.pass_id, places.crossed(track.path, track.last.frame_size))
        return any(c.wrong_way and c.line not in known for c in new)

    def begin(self, lines: Collection[str]) -> None:
        """These lines are not where they were: nobody has crossed them yet; their counts stay."""
        self._of = {
            k: tuple(c for c in crossed if c.line not in lines) for k, crossed in self._of.items()
        }

    def keep(self, pass_ids: Collection[int]) -> None:
        """Forget all other passes; their counts stay."""
        if len(self._of) > len(pass_ids) or not self._of.keys() <= set(pass_ids):
            self._of = {k: v for k, v in self._of.items() if k in pass_ids}


def _alternating(crossed: Iterable[Crossing]) -> tuple[Crossing, ...]:
    """In order of time, without those that repeat the one before on the same line."""
    last: dict[str, str] = {}
    kept = []
    for crossing in sorted(crossed, key=lambda c: (c.t_s, c.line, c.label)):
        if last.get(crossing.line) != crossing.label:
            last[crossing.line] = crossing.label
            kept.append(crossing)
    return tuple(kept)


def _beyond(known: Iterable[Crossing], merged: Iterable[Crossing]) -> tuple[Crossing, ...]:
    """Of the merged ones those that are more, by line and label, than were known; the newest."""
    left: dict[tuple[str, str], int] = {}
    for crossing in known:
        key = crossing.line, crossing.label
        left[key] = left.get(key, 0) + 1
    new = []
    for crossing in merged:
        key = crossing.line, crossing.label
        if left.get(key, 0) > 0:
            left[key] -= 1
        else:
            new.append(crossing)
    return tuple(new)
