"""What the publisher thread does: dial, carry, watch the clock; all of it in one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from alprd.config.models import MqttSettings
from alprd.ports import Beat, Clock, OutboxError
from alprd.publish.board import Board
from alprd.publish.brokers import Broker, brokers_of
from alprd.publish.courier import Courier
from alprd.publish.dial import Dialler
from alprd.publish.mqtt import Connection, Version, Will
from alprd.publish.outbox import OutboxReader
from alprd.publish.shelf import Shelf
from alprd.publish.waker import Waker

CONNECT_TIMEOUT_S: Final = 10.0
GOODBYE_S: Final = 1.0
IDLE_WAIT_S: Final = 0.5
COUNT_EVERY_S: Final = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStats:
    """A snapshot for health and people; `last_error` names the remedy and no credentials.

    `published`, `refused` and `connects` count since start: `refused` events were not wanted by
    the broker (they stay in the outbox and are offered again on the next connection). `dropped`
    ones fell to the outbox's bound.
    """

    connected: bool = False
    broker: str | None = None
    protocol: str | None = None
    connects: int = 0
    pending: int = 0
    published: int = 0
    refused: int = 0
    dropped: int = 0
    last_error: str | None = None


class PublishLoop:
    """Made and run by the publisher thread; only `stats` is read by others."""

    def __init__(
        self,
        reader: OutboxReader,
        *,
        settings: MqttSettings,
        board: Board,
        waker: Waker,
        device_id: str,
        beat: Beat,
        health_expiry_s: int,
        retry_min_s: float,
        clock: Clock,
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._board = board
        self._waker = waker
        self._beat = beat
        self._health_expiry_s = health_expiry_s
        self._clock = clock
        self._now = now
        self._client_id = settings.client_id or f"alprd-{device_id}"
        self._availability_topic = f"{settings.prefix}/devices/{device_id}/availability"
        self._shelf = Shelf(reader, clock=clock)
        self._dialler = Dialler(
            brokers_of(settings),
            self._new_connection,
            clock=clock,
            random=random,
            retry_min_s=retry_min_s,
            retry_max_s=settings.reconnect_max_s,
            on_progress=waker.wake,
        )
        self._connection: Connection | None = None
        self._courier: Courier | None = None
        self._opened_at_s = 0.0
        self._counted_at_s = clock() - COUNT_EVERY_S
        self._dropped_told: int | None = None
        self.stats = PublisherStats()

    @property
    def all_sent(self) -> bool:
        """Whether a broker is there and has taken everything."""
        return self._courier is not None and self._courier.idle

    @property
    def pauses(self) -> int:
        """How many times there was nothing left but to wait and dial again later."""
        return self._dialler.pauses

    def hurry(self) -> None:
        """Do not wait for the next attempt."""
        if self._connection is None:
            self._dialler.hurry()

    def turn(self, wait_s: float = IDLE_WAIT_S) -> None:
        """Wait for something to do, at most `wait_s`, and do it."""
        self._beat()
        if self._connection is None:
            self._dial(wait_s)
        else:
            self._drive(self._connection, wait_s)
        self._count()

    def say_goodbye(self) -> None:
        """`stopped`, a clean disconnect, and no socket or thread is left behind."""
        give_up_at_s = self._clock() + GOODBYE_S
        if self._courier is not None:
            self._courier.announce("stopped")
        while self._courier is not None and self._courier.announcing:
            if self._clock() >= give_up_at_s:
                break
            self.turn(0.1)
        connection = self._connection
        if connection is not None:
            connection.disconnect()
            while connection.lost is None and self._clock() < give_up_at_s:
                self._pump(connection, 0.1)
            connection.close("stopped")
            self._connection = self._courier = None
        self._dialler.close()
        self._publish_stats(connected=False)

    def _new_connection(self, broker: Broker, *, protocol: Version) -> Connection:
        return Connection(
            broker,
            protocol=protocol,
            client_id=self._client_id,
            will=Will(topic=self._availability_topic, payload=b"offline"),
            keepalive_s=self._settings.keepalive_s,
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )

    def _dial(self, wait_s: float) -> None:
        self._connection = self._dialler.step()
        if self._connection is not None:
            self._opened_at_s = self._clock()
            return
        self._waker.wait(min(wait_s, self._dialler.next_step_in_s))

    def _drive(self, connection: Connection, wait_s: float) -> None:
        self._pump(connection, wait_s)
        if connection.accepted and connection.lost is None:
            if self._courier is None:
                self._courier = self._welcome(connection)
            self._courier.turn()
        self._check_patience(connection)
        if connection.lost is not None:
            if self._courier is not None:
                # An answer that came with the last bytes still counts.
                self._courier.take_acks()
            self._dialler.lost(connection, lasted_s=self._clock() - self._opened_at_s)
            connection.close(connection.lost)
            self._connection = self._courier = None
            self._publish_stats(connected=False)

    def _pump(self, connection: Connection, wait_s: float) -> None:
        if connection.has_buffered_input:
            wait_s = 0.0
        readable, writable = self._waker.wait(
            wait_s, connection.fileno(), for_write=connection.wants_write
        )
        connection.turn(readable=readable or connection.has_buffered_input, writable=writable)

    def _welcome(self, connection: Connection) -> Courier:
        self._dialler.accepted()
        log.info(
            "mqtt.connected",
            broker=str(connection.broker),
            protocol=connection.protocol_name,
            client_id=self._client_id,
        )
        # A broker that was restarted without persistence has forgotten what was retained.
        self._board.all_unsent()
        courier = Courier(
            connection,
            self._shelf,
            self._board,
            availability_topic=self._availability_topic,
            max_inflight=self._settings.max_inflight,
            health_expiry_s=self._health_expiry_s,
            clock=self._clock,
            now=self._now,
        )
        courier.announce("online")
        self.stats = replace(
            self.stats,
            broker=str(connection.broker),
            protocol=connection.protocol_name,
            connects=self.stats.connects + 1,
        )
        self._publish_stats(connected=True)
        return courier

    def _check_patience(self, connection: Connection) -> None:
        if connection.lost is not None:
            return
        if not connection.accepted:
            if self._clock() - self._opened_at_s > CONNECT_TIMEOUT_S:
                connection.close(
                    f"{connection.broker}: connected but did not answer CONNECT within"
                    f" {CONNECT_TIMEOUT_S:g} s; is it an MQTT broker?"
                )
        elif self._courier is not None and self._courier.waits_s > self._settings.ack_timeout_s:
            # paho would wait for ever: on a live socket it never asks again.
            connection.close(
                f"{connection.broker}: no acknowledgement within"
                f" {self._settings.ack_timeout_s:g} s (mqtt.ack_timeout_s); connecting again"
            )

    def _count(self) -> None:
        if self._clock() - self._counted_at_s >= COUNT_EVERY_S:
            self._publish_stats(connected=self._courier is not None)

    def _publish_stats(self, *, connected: bool) -> None:
        self._counted_at_s = self._clock()
        pending, dropped = self.stats.pending, self.stats.dropped
        try:
            counts = self._reader.counts()
        except OutboxError as error:
            self._shelf.note(error)
        else:
            pending, dropped = counts.pending, counts.dropped
        if self._dropped_told is not None and dropped > self._dropped_told:
            log.warning("outbox.dropped", total=dropped, remedy="raise outbox.max_events")
        self._dropped_told = dropped
        self.stats = replace(
            self.stats,
            connected=connected,
            pending=pending,
            dropped=dropped,
            published=self._shelf.published,
            refused=self._shelf.refused,
            last_error=self._shelf.error or self._dialler.last_error,
        )
