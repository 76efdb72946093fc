"""The way back to the preferred broker, while a later one of the list is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from alprd.ports import Clock
from alprd.publish.brokers import Broker
from alprd.publish.dial import Attempt, Connect
from alprd.publish.mqtt import Connection, Version

ANSWER_TIMEOUT_S: Final = 10.0

log = structlog.get_logger(__name__)


class Homing:
    """Tries the earlier brokers beside the connection that works; owned by the publisher thread.

    Args:
        brokers: in order of preference.
        connect: makes a connection, not opened yet.
        protocol_of: the version of MQTT to ask a broker for.
        clock: monotonic seconds.
        random: uniform in 0..1, so that a fleet does not go home all at once.
        every_s: how long a try that failed is not repeated.
        on_progress: called from another thread when `step` has something to do.
    """

    def __init__(
        self,
        brokers: Sequence[Broker],
        connect: Connect,
        *,
        protocol_of: Callable[[Broker], Version],
        clock: Clock,
        random: Callable[[], float],
        every_s: float,
        on_progress: Callable[[], None],
    ) -> None:
        self._brokers = tuple(brokers)
        self._connect = connect
        self._protocol_of = protocol_of
        self._clock = clock
        self._random = random
        self._every_s = every_s
        self._on_progress = on_progress
        self._waiting_for: list[Broker] = []
        self._attempt: Attempt | None = None
        self._candidate: Connection | None = None
        self._since_s = 0.0
        self._next_at_s = 0.0

    def arrived(self) -> None:
        """A connection was made: the next try is a whole period away."""
        self.close()
        self._schedule()

    def step(self, current: Broker) -> Connection | None:
        """Do what there is to do; an accepted connection to a broker that is preferred."""
        if self._candidate is not None:
            return self._ask(self._candidate)
        if self._attempt is not None:
            self._look_at(self._attempt)
        elif self._waiting_for:
            broker = self._waiting_for.pop(0)
            connection = self._connect(broker, protocol=self._protocol_of(broker))
            self._since_s = self._clock()
            self._attempt = Attempt(connection, self._on_progress)
        elif self._clock() >= self._next_at_s and current != self._brokers[0]:
            self._waiting_for = list(self._brokers[: self._brokers.index(current)])
            self._schedule()
        return None

    def close(self) -> None:
        """Give up what is under way."""
        if self._attempt is not None:
            self._attempt.abandon()
        if self._candidate is not None:
            self._candidate.close("not needed any more")
        self._attempt = self._candidate = None
        self._waiting_for = []

    def _schedule(self) -> None:
        self._next_at_s = self._clock() + self._every_s * (0.75 + 0.5 * self._random())

    def _look_at(self, attempt: Attempt) -> None:
        if not attempt.done:
            return
        self._attempt = None
        if attempt.error is None:
            self._candidate = attempt.connection
        else:
            log.info("mqtt.preferred_still_away", reason=str(attempt.error))

    def _ask(self, candidate: Connection) -> Connection | None:
        # Nothing waits for this socket alone; it does not block, and looking costs little.
        candidate.turn(readable=True, writable=candidate.wants_write)
        if candidate.accepted and candidate.lost is None:
            self._candidate = None
            self._waiting_for = []
            return candidate
        if candidate.lost is None and self._clock() - self._since_s > ANSWER_TIMEOUT_S:
            candidate.close(f"{candidate.broker}: no answer to CONNECT")
        if candidate.lost is not None:
            log.info("mqtt.preferred_still_away", reason=candidate.lost)
            candidate.close(candidate.lost)
            self._candidate = None
        return None
