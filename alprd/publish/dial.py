"""Chooses which broker to call, when, and in which version of MQTT; never blocks its owner."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from alprd.ports import Clock
from alprd.publish.brokers import Broker, BrokerError
from alprd.publish.mqtt import V5, V311, Connection, Version

STEADY_AFTER_S: Final = 30.0
"""A connection that lasted this long starts the back-off anew when it is lost."""

log = structlog.get_logger(__name__)


class Connect(Protocol):
    """A factory of connections."""

    def __call__(self, broker: Broker, *, protocol: Version) -> Connection:
        """Make a connection that is not opened yet."""


class Attempt:
    """One `Connection.open` in a thread of its own: names may take long to resolve.

    The connection belongs to that thread until `result` is there, then to whoever takes it; a
    connection that nobody wants any more is closed by the thread itself.
    """

    def __init__(self, connection: Connection, on_done: Callable[[], None]) -> None:
        self.connection = connection
        self.error: BrokerError | None = None
        self._on_done = on_done
        self._lock = threading.Lock()
        self._done = False
        self._abandoned = False
        try:
            # A daemon thread: a resolver that hangs must not hold up the end of the process.
            threading.Thread(target=self._run, name="mqtt-connect", daemon=True).start()
        except RuntimeError as error:  # this machine has no thread left
            self.error = BrokerError(f"{connection.broker}: cannot connect now ({error})")
            self._done = True

    @property
    def done(self) -> bool:
        """Whether `connection` or `error` can be looked at."""
        with self._lock:
            return self._done

    def abandon(self) -> None:
        """Nobody wants it any more."""
        with self._lock:
            self._abandoned = True
            done = self._done
        if done:
            self.connection.close("not needed any more")

    def _run(self) -> None:
        try:
            self.connection.open()
        except BrokerError as error:
            self.error = error
        except Exception as error:
            log.exception("mqtt.connect_crashed", broker=str(self.connection.broker))
            self.error = BrokerError(f"{self.connection.broker}: {type(error).__name__}: {error}")
        with self._lock:
            self._done = True
            abandoned = self._abandoned
        if abandoned:
            self.connection.close("not needed any more")
        else:
            self._on_done()


class Dialler:
    """Owned by the publisher thread.

    The brokers are tried in order of preference without a pause; when none of them takes us, the
    pause before the next round grows up to `retry_max_s`, with jitter, so that a fleet does not
    come back all at once after its broker was away.
    """

    def __init__(
        self,
        brokers: Sequence[Broker],
        connect: Connect,
        *,
        clock: Clock,
        random: Callable[[], float],
        retry_min_s: float,
        retry_max_s: float,
        on_progress: Callable[[], None],
    ) -> None:
        """Nothing is called yet.

        Args:
            brokers: in order of preference; at least one.
            connect: makes a connection, not opened yet.
            clock: monotonic seconds.
            random: uniform in 0..1, for the jitter.
            retry_min_s: the first pause.
            retry_max_s: the longest pause.
            on_progress: called from another thread when `step` has something to do.
        """
        self._brokers = tuple(brokers)
        self._connect = connect
        self._clock = clock
        self._random = random
        self._retry_min_s = retry_min_s
        self._retry_max_s = retry_max_s
        self._on_progress = on_progress
        self._protocols: dict[Broker, Version] = dict.fromkeys(self._brokers, V5)
        self._once_v311: Broker | None = None
        self._index = 0
        self._rounds = 0
        self._next_at_s = clock()
        self._attempt: Attempt | None = None
        self.pauses = 0
        """How many times no broker was left to try at once."""
        self.last_error: str | None = None
        """Why there is no connection; None when all is well."""

    @property
    def next_step_in_s(self) -> float:
        """How long `step` has nothing to do; `on_progress` may come earlier."""
        if self._attempt is not None:
            return math.inf
        return max(0.0, self._next_at_s - self._clock())

    def step(self) -> Connection | None:
        """Start or finish an attempt; returns a connection whose CONNACK is still to come."""
        if self._attempt is None:
            if self._clock() >= self._next_at_s:
                broker = self._brokers[self._index]
                protocol = V311 if broker == self._once_v311 else self._protocols[broker]
                connection = self._connect(broker, protocol=protocol)
                self._attempt = Attempt(connection, self._on_progress)
            return None
        if not self._attempt.done:
            return None
        attempt, self._attempt = self._attempt, None
        if attempt.error is not None:
            self._once_v311 = None
            self._failed(str(attempt.error))
            return None
        return attempt.connection

    def accepted(self) -> None:
        """The broker took us."""
        self.last_error = None

    def lost(self, connection: Connection, *, lasted_s: float) -> None:
        """A connection that `step` gave is no more, or was refused."""
        reason = connection.lost or "connection lost"
        if connection.refused_version and connection.protocol == V5:
            log.info("mqtt.fallback", broker=str(connection.broker), protocol="3.1.1")
            self._protocols[connection.broker] = V311
            self._next_at_s = self._clock()
        elif self._hung_up_on_v5(connection):
            # Some that know only 3.1.1 do it so; others were only just going down. So the older
            # version is tried, but the next connection asks for the newer one again.
            self._once_v311 = connection.broker
            self._next_at_s = self._clock()
            return
        elif connection.accepted:
            if lasted_s >= STEADY_AFTER_S:
                self._rounds = 0
            self._index = 0
            self._pause(reason)
        else:
            self._failed(reason)
        self._once_v311 = None

    def _hung_up_on_v5(self, connection: Connection) -> bool:
        return not connection.accepted and connection.left_by_peer and connection.protocol == V5

    def protocol_of(self, broker: Broker) -> Version:
        """The version of MQTT that it is known to speak."""
        return self._protocols[broker]

    def moved_to(self, broker: Broker) -> None:
        """The owner has made a connection by itself."""
        self._index = self._brokers.index(broker)
        self.last_error = None

    def hurry(self) -> None:
        """Make the next attempt now."""
        self._next_at_s = self._clock()

    def close(self) -> None:
        """Give up an attempt under way."""
        if self._attempt is not None:
            self._attempt.abandon()
            self._attempt = None

    def _failed(self, reason: str) -> None:
        self._index = (self._index + 1) % len(self._brokers)
        if self._index == 0:
            self._pause(reason)
        else:
            self.last_error = reason
            self._next_at_s = self._clock()
            log.warning("mqtt.unavailable", reason=reason, retry_in_s=0.0)

    def _pause(self, reason: str) -> None:
        self.last_error = reason
        # The exponent is capped, because 2.0 ** 1024 is an error.
        longest_s = min(self._retry_max_s, self._retry_min_s * 2.0 ** min(self._rounds, 32))
        pause_s = longest_s * (0.5 + 0.5 * self._random())
        self._rounds += 1
        self.pauses += 1
        self._next_at_s = self._clock() + pause_s
        log.warning("mqtt.unavailable", reason=reason, retry_in_s=round(pause_s, 1))
