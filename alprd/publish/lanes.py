"""Which waiting event goes next: new ones first, old ones trickled in between.

Each of the two lanes is in the order of numbers. With a share of 1 there is one lane only.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from alprd.publish.rows import OutboxRow

OLD_AFTER_S: Final = 60.0


class Claims(Protocol):
    """Where rows come from; each is handed out once."""

    def claim(self, after_seq: int, before_seq: int | None) -> list[OutboxRow]:
        """Some rows between two numbers, both exclusive, in order."""

    def first_younger_than(self, age_s: float) -> int | None:
        """The lowest number of a row that is at most so old."""


class Lanes:
    """Made for one connection; owned by the publisher thread.

    Args:
        claims: the outbox.
        share: of the messages, for old events while new ones wait.
    """

    def __init__(self, claims: Claims, *, share: float) -> None:
        self._claims = claims
        self._share = share
        self._credit = 0.0
        self._old: deque[OutboxRow] = deque()
        self._new: deque[OutboxRow] = deque()
        self._before_seq: int | None = None
        self._more_old = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is at hand; there may be more in the outbox."""
        return not self._old and not self._new

    def next(self) -> OutboxRow | None:
        """The row to send now; None when there is none."""
        self._fill()
        if self._old and self._new:
            self._credit += self._share
            if self._credit < 1.0:
                return self._new.popleft()
            self._credit -= 1.0
            return self._old.popleft()
        lane = self._old or self._new
        return lane.popleft() if lane else None

    def _fill(self) -> None:
        """Ask only when a lane runs dry: looking for the boundary takes several questions."""
        if self._share >= 1.0:
            if not self._new:
                self._new.extend(self._claims.claim(0, None))
        elif not self._new:
            first_new = self._claims.first_younger_than(OLD_AFTER_S)
            self._before_seq = first_new
            if first_new is not None:
                self._new.extend(self._claims.claim(first_new - 1, None))
            self._fill_old()
        elif self._more_old:
            self._fill_old()

    def _fill_old(self) -> None:
        if not self._old:
            self._old.extend(self._claims.claim(0, self._before_seq))
            self._more_old = bool(self._old)
