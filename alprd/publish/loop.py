"""What the publisher thread does: dial, carry, watch the clock; all of it in one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Event
from typing import Final

import structlog

from alprd.config.models import MqttSettings
from alprd.ports import Beat, Clock, OutboxError
from alprd.publish.board import Board
from alprd.publish.brokers import Broker, brokers_of
from alprd.publish.courier import ONLINE, Courier, Station
from alprd.publish.dial import Dialler
from alprd.publish.homing import Homing
from alprd.publish.message import Will
from alprd.publish.mqtt import Connection, Version
from alprd.publish.outbox import Outbox
from alprd.publish.post import Post
from alprd.publish.shelf import Shelf
from alprd.publish.spare import SpareLane
from alprd.publish.suspects import Suspects
from alprd.publish.waker import Waker

CONNECT_TIMEOUT_S: Final = 10.0
GOODBYE_S: Final = 1.0
IDLE_WAIT_S: Final = 0.5
HURRIED_WAIT_S: Final = 0.01
COUNT_EVERY_S: Final = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStats:
    """A snapshot for health, info and people; texts name the remedy and no credentials.

    Attributes:
        connected: whether a broker has accepted the session.
        broker: the last one that did, and the version of MQTT.
        connects: since start.
        pending: events that wait in the outbox.
        published: events that brokers took, since start.
        refused: events that brokers did not want, each time they did not, since start.
        parked: events that are kept apart because a broker refused them.
        dropped: events that a bound of the outbox has cost.
        lost: numbers that a damaged outbox file has cost, whether delivered before or not.
        last_refusal: topic and reason of the newest parked event.
        given_up: topics that the broker does not take; each is tried again, ever more rarely.
        set_aside: where a damaged outbox file lies.
        outbox_error: why the outbox cannot be used at the moment.
        last_error: why events do not flow.
    """

    connected: bool = False
    broker: str | None = None
    protocol: str | None = None
    connects: int = 0
    pending: int = 0
    published: int = 0
    refused: int = 0
    parked: int = 0
    dropped: int = 0
    lost: int = 0
    last_refusal: str | None = None
    given_up: tuple[str, ...] = ()
    set_aside: str | None = None
    outbox_error: str | None = None
    last_error: str | None = None


class PublishLoop:
    """Made and run by the publisher thread; only `stats` is read by others."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        settings: MqttSettings,
        station: Station,
        board: Board,
        post: Post,
        spare: SpareLane,
        waker: Waker,
        beat: Beat,
        retry_min_s: float,
        clock: Clock,
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._station = station
        self._board = board
        self._post = post
        self._spare = spare
        self._waker = waker
        self._beat = beat
        self._clock = clock
        self._client_id = settings.client_id or f"alprd-{station.device_id}"
        self._shelf = Shelf(outbox, clock=clock, now=now)
        self._suspects = Suspects(clock=clock)
        brokers = brokers_of(settings)
        self._dialler = Dialler(
            brokers,
            self._new_connection,
            clock=clock,
            random=random,
            retry_min_s=retry_min_s,
            retry_max_s=settings.reconnect_max_s,
            on_progress=waker.wake,
        )
        self._homing = Homing(
            brokers,
            self._new_connection,
            protocol_of=self._dialler.protocol_of,
            clock=clock,
            random=random,
            every_s=settings.preferred_retry_s,
            on_progress=waker.wake,
        )
        self._connection: Connection | None = None
        self._courier: Courier | None = None
        self._last_broker: Broker | None = None
        self._opened_at_s = 0.0
        self._counted_at_s = clock() - COUNT_EVERY_S
        self._dropped_told: int | None = None
        self._to_count: list[Event] = []
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

    def offer_parked_again(self, *counted: Event) -> None:
        """Whatever a broker has refused is tried once more.

        Args:
            counted: set once all of it has been offered and `stats` knows so.
        """
        self._to_count.extend(counted)
        self._suspects.forget()
        self._shelf.offer_parked_again()

    def turn(self, wait_s: float = IDLE_WAIT_S) -> None:
        """Wait for something to do, at most `wait_s`, and do it."""
        self._beat()
        if self._shelf.is_hurried:
            wait_s = min(wait_s, HURRIED_WAIT_S)
        if self._connection is None:
            self._dial(wait_s)
        else:
            self._drive(self._connection, wait_s)
        self._shelf.maintain()
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
            if self._courier is not None:
                self._courier.take_acks()
            connection.close("stopped")
            self._connection = self._courier = None
        self._let_go(give_up_at_s)
        self._homing.close()
        self._dialler.close()
        self._publish_stats(connected=False)

    def _let_go(self, give_up_at_s: float) -> None:
        """What the broker has taken is not to come again after the next start."""
        self._shelf.remove(())
        while self._shelf.is_hurried and self._shelf.kept_back and self._clock() < give_up_at_s:
            self._beat()
            self._shelf.remove(())

    def _new_connection(self, broker: Broker, *, protocol: Version) -> Connection:
        return Connection(
            broker,
            protocol=protocol,
            client_id=self._client_id,
            will=Will(topic=self._station.availability_topic, payload=b"offline"),
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
        if self._courier is not None and self._courier.is_hurried:
            wait_s = min(wait_s, HURRIED_WAIT_S)
        self._pump(connection, wait_s)
        if connection.accepted and connection.lost is None:
            if self._courier is None:
                self._courier = self._welcome(connection)
            self._courier.turn()
            preferred = self._homing.step(connection.broker)
            if preferred is not None:
                self._move(connection, self._courier, preferred)
                return
        self._check_patience(connection)
        if connection.lost is not None:
            if self._courier is not None:
                # An answer that came with the last bytes still counts.
                self._courier.take_acks()
                self._shelf.remove(())
                if connection.left_by_peer:
                    self._suspect(self._courier)
            self._homing.close()
            self._dialler.lost(connection, lasted_s=self._clock() - self._opened_at_s)
            connection.close(connection.lost)
            self._connection = self._courier = None
            self._publish_stats(connected=False)

    def _suspect(self, courier: Courier) -> None:
        topic = self._suspects.hung_up(courier.unanswered, courier.unproven)
        if topic is not None:
            log.error(
                "mqtt.topic_given_up",
                topic=topic,
                reason="the broker closes the connection at messages on it",
                remedy="check the broker's access list and limits",
            )

    def _move(self, old: Connection, courier: Courier, new: Connection) -> None:
        """Leave a broker for one that is preferred; what it has not answered goes to the other."""
        log.info("mqtt.moving", broker=str(old.broker), to=str(new.broker))
        courier.is_closing = True
        self._wait_while(old, courier, lambda: not courier.is_drained)
        # `stopped` would be wrong, and `online` must not stay there for ever.
        courier.announce("offline")
        self._wait_while(old, courier, lambda: courier.announcing)
        old.disconnect()
        self._wait_while(old, courier, lambda: True)
        old.close("moved to a preferred broker")
        self._dialler.moved_to(new.broker)
        self._connection, self._courier = new, None
        self._opened_at_s = self._clock()

    def _wait_while(
        self, connection: Connection, courier: Courier, holds: Callable[[], bool]
    ) -> None:
        give_up_at_s = self._clock() + GOODBYE_S
        while connection.lost is None and holds() and self._clock() < give_up_at_s:
            self._beat()
            self._pump(connection, 0.1)
            courier.take_acks()

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
        self._homing.arrived()
        if connection.broker != self._last_broker:
            # At the start, too: somebody may have mended what an event was refused for.
            self._last_broker = connection.broker
            self.offer_parked_again()
        # A broker that was restarted without persistence has forgotten what was retained.
        self._board.all_unsent()
        courier = Courier(
            connection,
            self._station,
            shelf=self._shelf,
            board=self._board,
            post=self._post,
            spare=self._spare,
            suspects=self._suspects,
            clock=self._clock,
        )
        courier.announce(ONLINE)
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
            self.count()

    def count(self) -> None:
        """Have the figures true at this moment; else they are a quarter of a second old."""
        self._publish_stats(connected=self._courier is not None)

    def _publish_stats(self, *, connected: bool) -> None:
        self._counted_at_s = self._clock()
        counts = None
        try:
            counts = self._outbox.counts()
        except OutboxError as error:
            self._shelf.note(error)
        if counts is not None:
            if self._dropped_told is not None and counts.dropped > self._dropped_told:
                log.warning(
                    "outbox.dropped", total=counts.dropped, remedy="see [outbox] for its bounds"
                )
            self._dropped_told = counts.dropped
            self.stats = replace(
                self.stats,
                pending=counts.pending,
                parked=counts.parked,
                dropped=counts.dropped,
                lost=counts.lost,
            )
        aside = self._outbox.set_aside
        self.stats = replace(
            self.stats,
            connected=connected,
            published=self._shelf.published,
            refused=self._shelf.refused,
            last_refusal=self._shelf.last_refusal,
            given_up=self._suspects.given_up,
            set_aside=None if aside is None else str(aside),
            outbox_error=self._shelf.error,
            last_error=self._shelf.error or self._dialler.last_error,
        )
        if counts is not None and not self._shelf.is_offering:
            for counted in self._to_count:
                counted.set()
            self._to_count.clear()
