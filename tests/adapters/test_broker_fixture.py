"""The test suite's own broker is what it claims to be."""

from __future__ import annotations

import os
import socket

import pytest

from support.broker import Broker
from support.subscriber import Subscriber


def test_the_session_broker_delivers_a_message(broker: Broker, topic_prefix: str) -> None:
    with Subscriber(broker, f"{topic_prefix}/#") as subscriber:
        subscriber.publish(f"{topic_prefix}/a", b"1")
        assert subscriber.wait_for(1)[0].payload == b"1"


def test_the_broker_runs_as_the_environment_asks(broker: Broker) -> None:
    wanted = os.environ.get("ALPRD_TEST_BROKER") or ("container" if os.environ.get("CI") else None)
    if wanted is None:
        pytest.skip("neither ALPRD_TEST_BROKER nor CI asks for a kind")
    assert broker.kind == wanted


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_comes_back_on_the_same_port_with_its_retained_messages(
    fresh_broker: Broker, end: str
) -> None:
    with Subscriber(fresh_broker, "kept/#") as first:
        first.publish("kept/a", b"1", retain=True)
        first.wait_for(1)
        fresh_broker.wait_for_saved(b"kept/a")
    getattr(fresh_broker, end)()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((fresh_broker.host, fresh_broker.port), timeout=1.0)
    fresh_broker.start()
    with Subscriber(fresh_broker, "kept/#") as second:
        assert second.wait_for(1)[0].payload == b"1"


def test_a_subscriber_with_a_session_receives_what_came_while_it_was_away(
    broker: Broker, topic_prefix: str
) -> None:
    client_id = f"session-{topic_prefix}"
    with Subscriber(broker, f"{topic_prefix}/#", client_id=client_id):
        pass
    with Subscriber(broker, f"other-{topic_prefix}/#") as sender:
        sender.publish(f"{topic_prefix}/a", b"while away")
    with Subscriber(broker, f"{topic_prefix}/#", client_id=client_id) as back:
        assert back.wait_for(1)[0].payload == b"while away"
