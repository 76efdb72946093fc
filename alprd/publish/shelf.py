"""The outbox as the publisher sees it, over all its connections and through disk troubles."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

import structlog

from alprd.core.events import RANDOM_BYTES, uuid7
from alprd.ports import Clock, OutboxError
from alprd.publish.ballast import DELETE_ROWS
from alprd.publish.gaps import Gap
from alprd.publish.message import Refusal
from alprd.publish.outbox import Outbox
from alprd.publish.outbox_file import OutboxDamagedError
from alprd.publish.rows import OutboxRow, Unwanted

FETCH_ROWS: Final = 64
FETCH_GAPS: Final = 32
GAP_EVERY_S: Final = 5.0
"""Drops that go on are announced this often, as one range each time."""

REMOVE_WITHIN_S: Final = 0.02
MAINTAIN_EVERY_S: Final = 1.0
PASSING_CODES: Final = frozenset({0x80, 0x83, 0x91, 0x97})
"""Refusals that may pass by themselves: unspecified, this broker's own, id in use, quota."""

_Answer = TypeVar("_Answer")

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Offer:
    """Parked events are being offered again: those after one number and up to another."""

    after_seq: int = 0
    upto_seq: int | None = None
    """None: not known yet."""
    events: int = 0


class Shelf:
    """Owned by the publisher thread.

    What the broker has taken but the disk does not let go (it is full or read-only) is remembered
    here, so that it is not sent again on the next connection. However much there is to do, a turn
    does a part of it: the inference thread waits for the file meanwhile, the watchdog for a turn.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        clock: Clock,
        now: Callable[[], datetime],
        retry_s: float = 1.0,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._now = now
        self._retry_s = retry_s
        self._retry_at_s = clock()
        self._retry_read_at_s = clock()
        self._gaps_at_s = clock()
        self._maintain_at_s = clock()
        self._taken: set[int] = set()
        self._taken_since_s: float | None = None
        self._taken_gaps: set[str] = set()
        self._gaps_out: set[str] = set()
        self._unwanted: dict[int, Unwanted] = {}
        self._offer: _Offer | None = None
        self._is_behind = False
        self.error: str | None = None
        """Why the outbox cannot be used at the moment."""
        self.published = 0
        """Events that brokers took."""
        self.refused = 0
        """Events that brokers did not want, each time they did not."""
        self.last_refusal: str | None = None
        """Topic and reason of the newest parked event; None when none is parked."""

    @property
    def kept_back(self) -> int:
        """Rows that the broker has answered and that a crash now would send again."""
        return len(self._taken) + len(self._unwanted)

    @property
    def is_hurried(self) -> bool:
        """Whether there is more to do at once, although nothing comes from the broker."""
        if self._clock() < self._retry_at_s:
            return False
        return self.kept_back > 0 or self._is_behind or self._offer is not None

    @property
    def is_offering(self) -> bool:
        """Whether parked events are still to be offered again."""
        return self._offer is not None

    @property
    def is_settled(self) -> bool:
        """Whether the file says the same as the broker."""
        left = self._taken or self._taken_gaps or self._unwanted
        return self.error is None and not left

    def new_connection(self) -> None:
        """What the last connection had claimed is free again; gaps go out at once."""
        self._gaps_at_s = self._clock()
        self._gaps_out.clear()
        self._unwanted.clear()  # another broker may want them
        self._outbox.release(keep=self._taken)

    def claim(self, after_seq: int, before_seq: int | None) -> list[OutboxRow]:
        """The next rows to send, in order; empty also while the file cannot be read."""
        return self._read(
            lambda: self._outbox.claim(after_seq, FETCH_ROWS, before_seq=before_seq), []
        )

    def first_younger_than(self, age_s: float) -> int | None:
        """The lowest number of a waiting event that is at most so old."""
        return self._read(lambda: self._outbox.first_younger_than(age_s), None)

    def take_gaps(self) -> list[Gap]:
        """What is to be announced, once in a while; the same ones again after a new connection."""
        if self._clock() < self._gaps_at_s:
            return []
        self._gaps_at_s = self._clock() + GAP_EVERY_S
        nothing: list[Gap] = []
        out = self._gaps_out | self._taken_gaps
        gaps = self._ask(lambda: self._outbox.take_gaps(FETCH_GAPS, self._new_id, but=out), nothing)
        if len(gaps) == FETCH_GAPS:
            self._gaps_at_s = self._clock()
        self._gaps_out.update(gap.gap_id for gap in gaps)
        return gaps

    def gap_refused(self, gap_id: str) -> None:
        """The broker does not want this announcement; `take_gaps` gives it again later."""
        self._gaps_out.discard(gap_id)

    def remove(
        self, seqs: Collection[int], gap_ids: Collection[str] = (), *, at_least: int = 1
    ) -> None:
        """Let go what the broker has taken, and what could not go before.

        Args:
            seqs: events that the broker has taken.
            gap_ids: announcements that it has taken.
            at_least: a removal waits for so many events, but never long: each costs a wait for
                the disk.
        """
        self.published += len(seqs)
        self._taken.update(seqs)
        if self._taken and self._taken_since_s is None:
            self._taken_since_s = self._clock()
        self._taken_gaps.update(gap_ids)
        self._gaps_out.difference_update(gap_ids)
        if self.is_settled or self._clock() < self._retry_at_s:
            return
        if (
            len(self._taken) < at_least
            and not self._taken_gaps
            and not self._unwanted
            and self._taken_since_s is not None
            and self._clock() - self._taken_since_s < REMOVE_WITHIN_S
        ):
            return
        try:
            if self._taken:
                some = sorted(islice(self._taken, DELETE_ROWS))
                self._outbox.delete(some)
                self._taken.difference_update(some)
            elif self.error is not None:
                self._outbox.probe()
            if self._taken_gaps:
                self._outbox.delete_gaps(sorted(self._taken_gaps))
                self._taken_gaps.clear()
            if self._unwanted:
                unwanted = list(islice(self._unwanted.values(), DELETE_ROWS))
                self._outbox.park(unwanted)
                for seq, _, _ in unwanted:
                    del self._unwanted[seq]
            self._outbox.give_space_back()
        except OutboxError as error:
            self.note(error)
            return
        if self._taken or self._unwanted:
            return
        self._taken_since_s = None
        if self.error is not None:
            self.error = None
            log.info("outbox.usable_again")

    def park(self, refused: Sequence[tuple[OutboxRow, Refusal]]) -> None:
        """Put events aside that the broker does not want, at the next `remove`; the queue goes on.

        While the disk does not let them, they stay claimed, so that they are not sent again.
        """
        if not refused:
            return
        for row, refusal in refused:
            self._unwanted[row.seq] = row.seq, refusal.text, refusal.code in PASSING_CODES
        self.refused += len(refused)
        row, refusal = refused[-1]
        self.last_refusal = f"{row.topic}: {refusal.text}"
        log.warning(
            "mqtt.events_parked",
            topic=row.topic,
            seq=row.seq,
            reason=refusal.text,
            events=len(refused),
        )

    def offer_parked_again(self) -> None:
        """All of them, in order: the broker is another one, or somebody wants it tried.

        Those that it does not want this time either are not offered a second time.
        """
        self._offer = _Offer()
        self._offer_some()

    def _offer_some(self) -> None:
        offer = self._offer
        if offer is None or self._clock() < self._retry_at_s:
            return
        try:
            if offer.upto_seq is None:
                offer.upto_seq = self._outbox.last_parked()
            back: list[int] = []
            if offer.upto_seq > offer.after_seq:
                back = self._outbox.unpark(after_seq=offer.after_seq, upto_seq=offer.upto_seq)
        except OutboxError as error:
            self.note(error)
            return
        if back:
            offer.after_seq = back[-1]
            offer.events += len(back)
            return
        self._offer = None
        if offer.events:
            log.info("mqtt.parked_offered_again", events=offer.events)

    def maintain(self) -> None:
        """Go on with what is offered again, and once in a while look for what is due.

        That is what is too old, what was refused for the moment, and a trouble that has passed.
        """
        self._offer_some()
        if self._clock() < self._retry_at_s:
            return
        if self._clock() < self._maintain_at_s and not self._is_behind:
            return
        self._maintain_at_s = self._clock() + MAINTAIN_EVERY_S
        self._is_behind = False
        try:
            done = self._outbox.drop_aged()
            if self._outbox.counts().parked:
                done += self._outbox.unpark_due()
                self.last_refusal = self._outbox.last_refusal()
            else:
                self.last_refusal = None
        except OutboxError as error:
            self.note(error)
            return
        if not self.is_settled:
            self.remove(())  # there may be no connection whose answers would bring this about
        self._is_behind = done > 0 or self.kept_back > 0

    def note(self, error: OutboxError) -> None:
        """Remember a trouble with the file; the next try comes a little later.

        Raises:
            OutboxDamagedError: it is one that does not pass.
        """
        if isinstance(error, OutboxDamagedError):
            raise error
        if str(error) != self.error:
            log.error("outbox.unusable", reason=str(error))
        self.error = str(error)
        self._retry_at_s = self._clock() + self._retry_s

    def _read(self, question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        """A disk that takes nothing can still be read: only a failed reading puts off the next."""
        if self._clock() < self._retry_read_at_s:
            return otherwise
        try:
            return question()
        except OutboxError as error:
            self.note(error)
            self._retry_read_at_s = self._retry_at_s
            return otherwise

    def _ask(self, question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        if self._clock() < self._retry_at_s:
            return otherwise
        try:
            return question()
        except OutboxError as error:
            self.note(error)
            return otherwise

    def _new_id(self) -> str:
        return uuid7(self._now(), os.urandom(RANDOM_BYTES))
