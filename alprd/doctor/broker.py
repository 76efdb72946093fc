"""The broker: can this device connect, publish and hear its commands?"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from alprd.config import Settings
from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.publish.brokers import Broker, BrokerError, brokers_of
from alprd.publish.message import Message, Will
from alprd.publish.mqtt import V5, V311, Connection, Version

_TIMEOUT_S = 10.0
_TURN_S = 0.1


def brokers(settings: Settings) -> list[Finding]:
    """One line per entry of mqtt.url; where one works, the others are at most a warning."""
    listed = brokers_of(settings.mqtt)
    found = []
    for number, broker in enumerate(listed):
        name = "broker" if len(listed) == 1 else f"broker {number + 1}"
        try:
            found.append(_broker(name, broker, settings))
        except BrokerError as error:
            found.append(problem(name, str(error)))
    if all(finding.level == "problem" for finding in found):
        return found
    return [warning(f.check, f.text) if f.level == "problem" else f for f in found]


def _broker(name: str, broker: Broker, settings: Settings) -> Finding:
    for protocol in (V5, V311):
        connection = _connected(broker, protocol, settings)
        if connection.refused_version and protocol == V5:
            continue
        if not connection.accepted:
            return problem(name, connection.lost or f"{broker}: no answer; is this an MQTT port?")
        try:
            return _allowed(name, connection, settings)
        finally:
            connection.disconnect()
            _turn(connection)
    return problem(name, f"{broker}: speaks neither MQTT 5 nor 3.1.1")


def _connected(broker: Broker, protocol: Version, settings: Settings) -> Connection:
    device = f"{settings.mqtt.prefix}/devices/{settings.device_id}"
    client_id = settings.mqtt.client_id or f"alprd-{settings.device_id}"
    connection = Connection(
        broker,
        protocol=protocol,
        # Another id than the daemon's, which would lose its connection.
        client_id=f"{client_id}-doctor-{os.getpid()}",
        will=Will(topic=f"{device}/res/doctor", payload=b""),
        keepalive_s=30,
        connect_timeout_s=_TIMEOUT_S,
    )
    connection.open()
    _until(connection, lambda: connection.accepted)
    return connection


def _allowed(name: str, connection: Connection, settings: Settings) -> Finding:
    """Publish where answers and alerts go, listen where commands come.

    What came on the topics of events, states and health would be taken for one, or take the
    retained one away: of those nothing is known. An empty alert of a kind that is not says nothing.
    """
    prefix = settings.mqtt.prefix
    device = f"{prefix}/devices/{settings.device_id}"
    places = [
        device,
        *(f"{prefix}/{camera.id}" for camera in settings.cameras),
    ]
    asked: dict[int, str] = {}
    tries = [
        *(Message(topic=f"{place}/res/doctor", payload=b"{}", qos=1) for place in places),
        Message(topic=f"{device}/alerts/doctor", payload=b"", qos=1, retain=True),
    ]
    for message in tries:
        mid = connection.publish(message)
        if mid is not None:
            asked[mid] = message.topic
    filters = [f"{place}/cmd/+" for place in places]
    listening = connection.subscribe(filters)
    waiting = {*asked, *([] if listening is None else [listening])}
    refused: list[str] = []

    def answered() -> bool:
        for ack in connection.take_acks():
            waiting.discard(ack.mid)
            if ack.refusal is not None and ack.mid in asked:
                refused.append(f"to publish on {asked[ack.mid]} ({ack.refusal.text})")
        return not waiting

    _until(connection, answered)
    refused += [f"to subscribe to {each}" for each in connection.take_refused_filters()]
    if refused:
        return problem(
            name,
            f"{connection.broker} does not allow {', '.join(sorted(refused))}; mend the broker's "
            "access list, see etc/mosquitto/acl",
        )
    if connection.lost is not None:
        return problem(name, connection.lost)
    if waiting:
        return problem(name, f"{connection.broker}: connected, but it answers no message")
    said = f"{connection.broker}: connected with MQTT {connection.protocol_name}"
    if connection.protocol == V311:
        return warning(
            name, f"{said}, which does not tell what a broker's access list throws away; use MQTT 5"
        )
    return ok(
        name,
        f"{said}, may answer and alert, subscribed to commands; not tried, because a test would be "
        "taken for a real one: plates, status, health (a running daemon tells)",
    )


def _until(connection: Connection, is_over: Callable[[], bool]) -> None:
    give_up_at_s = time.monotonic() + _TIMEOUT_S
    while not is_over() and connection.lost is None and time.monotonic() < give_up_at_s:
        _turn(connection)


def _turn(connection: Connection) -> None:
    number = connection.fileno()
    if number is None:
        return
    writing = [number] if connection.wants_write else []
    readable, writable, _ = select.select(
        [number], writing, [], 0.0 if connection.has_buffered_input else _TURN_S
    )
    connection.turn(
        readable=bool(readable) or connection.has_buffered_input, writable=bool(writable)
    )
