"""Which broker is called, when, in which version."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from alprd.publish.brokers import Broker, BrokerError
from alprd.publish.dial import STEADY_AFTER_S, Dialler
from alprd.publish.mqtt import V5, V311, Connection, Version, Will


def broker(host: str) -> Broker:
    return Broker(host=host, port=1883, tls=False, username=None, password=None)


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Scripted(Connection):
    """A connection whose `open` does what the test says; nothing goes to the network."""

    error: BrokerError | None = None
    gate: threading.Event | None = None

    def open(self) -> None:
        if self.gate is not None:
            self.gate.wait(10.0)
        if self.error is not None:
            raise self.error


@dataclass
class Phone:
    """A dialler with all its surroundings."""

    hosts: tuple[str, ...] = ("a",)
    unreachable: set[str] = field(default_factory=set)
    gate: threading.Event | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    calls: list[tuple[str, Version]] = field(default_factory=list)
    made: list[Scripted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = threading.Event()
        self.dialler = Dialler(
            [broker(host) for host in self.hosts],
            self.connect,
            clock=self.clock,
            random=lambda: 1.0,
            retry_min_s=1.0,
            retry_max_s=8.0,
            on_progress=self.progress.set,
        )

    def connect(self, broker: Broker, *, protocol: Version) -> Connection:
        self.calls.append((broker.host, protocol))
        connection = Scripted(
            broker,
            protocol=protocol,
            client_id="x",
            will=Will(topic="t", payload=b""),
            keepalive_s=30,
            connect_timeout_s=1.0,
        )
        connection.gate = self.gate
        if broker.host in self.unreachable:
            connection.error = BrokerError(f"{broker.host}: away")
        self.made.append(connection)
        return connection

    def try_once(self) -> Connection | None:
        """One attempt, from its start to its end; None when it failed or is not due."""
        before = len(self.calls)
        self.progress.clear()
        self.dialler.step()
        if len(self.calls) == before:
            return None
        assert self.progress.wait(10.0)
        return self.dialler.step()


def test_a_connection_is_handed_out_once_it_is_open() -> None:
    phone = Phone()
    connection = phone.try_once()
    assert connection is phone.made[0]
    assert phone.calls == [("a", V5)]


def test_brokers_are_tried_in_order_without_a_pause_between_them() -> None:
    phone = Phone(hosts=("a", "b", "c"), unreachable={"a", "b"})
    assert phone.try_once() is None
    assert phone.dialler.last_error == "a: away"
    assert phone.try_once() is None
    connection = phone.try_once()
    assert connection is not None
    assert connection.broker.host == "c"
    assert phone.dialler.pauses == 0


def test_pauses_double_up_to_the_longest_one() -> None:
    phone = Phone(unreachable={"a"})
    pauses = []
    for _ in range(6):
        phone.try_once()
        pauses.append(phone.dialler.next_step_in_s)
        assert phone.try_once() is None  # not due yet
        phone.clock.now_s += pauses[-1]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert len(phone.calls) == 6


def test_a_fleet_does_not_come_back_all_at_once() -> None:
    phone = Phone(unreachable={"a"})
    phone.dialler._random = lambda: 0.0
    phone.try_once()
    assert phone.dialler.next_step_in_s == 0.5


def lose(phone: Phone, *, lasted_s: float) -> float:
    connection = phone.try_once()
    assert connection is not None
    connection.accepted = True
    phone.dialler.accepted()
    connection.close("gone")
    phone.dialler.lost(connection, lasted_s=lasted_s)
    pause_s = phone.dialler.next_step_in_s
    phone.clock.now_s += pause_s
    return pause_s


def test_a_broker_that_throws_us_out_at_once_is_called_less_and_less_often() -> None:
    phone = Phone()
    assert [lose(phone, lasted_s=1.0) for _ in range(3)] == [1.0, 2.0, 4.0]


def test_a_steady_connection_starts_the_pauses_anew() -> None:
    phone = Phone()
    assert [lose(phone, lasted_s=1.0) for _ in range(3)] == [1.0, 2.0, 4.0]
    assert lose(phone, lasted_s=STEADY_AFTER_S) == 1.0


def test_after_a_loss_the_preferred_broker_is_tried_first() -> None:
    phone = Phone(hosts=("a", "b"), unreachable={"a"})
    phone.try_once()
    lose(phone, lasted_s=60.0)
    phone.try_once()
    assert [host for host, _ in phone.calls] == ["a", "b", "a"]


def test_a_broker_that_refuses_mqtt_5_is_called_at_once_with_3_1_1_and_always_from_then_on() -> (
    None
):
    phone = Phone()
    connection = phone.try_once()
    assert connection is not None
    connection.refused_version = True
    connection.close("refused")
    phone.dialler.lost(connection, lasted_s=0.0)
    assert phone.dialler.next_step_in_s == 0.0
    lose(phone, lasted_s=60.0)
    phone.try_once()
    assert [version for _, version in phone.calls] == [V5, V311, V311]


def test_hurry_ends_a_pause() -> None:
    phone = Phone(unreachable={"a"})
    phone.try_once()
    phone.dialler.hurry()
    assert phone.dialler.next_step_in_s == 0.0


def test_an_attempt_that_is_no_longer_wanted_closes_its_connection_itself() -> None:
    phone = Phone(gate=threading.Event())
    phone.dialler.step()
    (connection,) = phone.made
    phone.dialler.close()
    assert connection.lost is None
    assert phone.gate is not None
    phone.gate.set()
    for thread in threading.enumerate():
        if thread.name == "mqtt-connect":
            thread.join(10.0)
    assert connection.lost == "not needed any more"


def hang_up(phone: Phone, connection: Connection) -> None:
    connection.lost, connection.left_by_peer = "hung up", True
    phone.dialler.lost(connection, lasted_s=0.0)


def test_a_broker_that_hangs_up_on_version_5_is_called_with_3_1_1_once_and_then_with_5_again() -> (
    None
):
    phone = Phone()
    for _ in range(2):
        first = phone.try_once()
        assert first is not None
        hang_up(phone, first)
        second = phone.try_once()  # at once
        assert second is not None
        second.accepted = True
        hang_up(phone, second)
        phone.clock.now_s += 60.0
    assert [version for _, version in phone.calls] == [V5, V311, V5, V311]


def test_a_broker_that_hangs_up_on_both_versions_is_called_again_after_a_pause() -> None:
    phone = Phone()
    for version in (V5, V311):
        connection = phone.try_once()
        assert connection is not None
        assert connection.protocol == version
        hang_up(phone, connection)
    assert phone.try_once() is None
    assert phone.dialler.pauses == 1


def test_after_a_move_to_the_preferred_broker_nothing_is_wrong_any_more() -> None:
    phone = Phone(hosts=("a", "b"), unreachable={"a"})
    phone.try_once()
    connection = phone.try_once()
    assert connection is not None
    assert phone.dialler.last_error == "a: away"
    phone.dialler.moved_to(broker("a"))
    assert phone.dialler.last_error is None
