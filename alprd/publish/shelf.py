"""The outbox as the publisher sees it, over all its connections and through disk troubles."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

import structlog

from alprd.ports import Clock, OutboxError
from alprd.publish.outbox import OutboxReader, OutboxRow
from alprd.publish.outbox_file import OutboxDamagedError

FETCH_ROWS: Final = 64

log = structlog.get_logger(__name__)


class Shelf:
    """Owned by the publisher thread.

    Rows that the broker has taken but that the disk does not let go (it is full or read-only) are
    remembered here, so that they are not sent again on the next connection.
    """

    def __init__(self, reader: OutboxReader, *, clock: Clock, retry_s: float = 1.0) -> None:
        self._reader = reader
        self._clock = clock
        self._retry_s = retry_s
        self._retry_at_s = clock()
        self._taken: set[int] = set()
        self.error: str | None = None
        """Why the outbox cannot be used at the moment."""
        self.published = 0
        """Events that brokers took."""
        self.refused = 0
        """Events that brokers did not want; they stay."""

    @property
    def is_settled(self) -> bool:
        """Whether the file says the same as the broker."""
        return self.error is None and not self._taken

    def fetch(self, after_seq: int) -> list[OutboxRow]:
        """The next rows to send, in order; empty also while the file cannot be read."""
        if self._clock() < self._retry_at_s:
            return []
        try:
            return self._reader.pending(after_seq, FETCH_ROWS)
        except OutboxError as error:
            self.note(error)
            return []

    def is_taken(self, seq: int) -> bool:
        """Whether the broker has this row already."""
        return seq in self._taken

    def remove(self, seqs: Set[int]) -> None:
        """Let rows go that the broker has taken, and those that could not go before."""
        self.published += len(seqs)
        self._taken |= seqs
        if (not self._taken and self.error is None) or self._clock() < self._retry_at_s:
            return
        try:
            self._reader.delete(sorted(self._taken))
            self._reader.give_space_back()
        except OutboxError as error:
            self.note(error)
            return
        self._taken.clear()
        if self.error is not None:
            self.error = None
            log.info("outbox.usable_again")

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
