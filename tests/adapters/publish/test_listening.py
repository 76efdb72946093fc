"""Hearing what others send to the device, on brokers that allow it, forbid it, or hang up at it."""

from __future__ import annotations

import json
from pathlib import Path

from structlog.testing import capture_logs

from alprd.publish.message import Inbound
from support.broker import Broker
from support.device import Device
from support.link import Faults, Link, Pipe
from support.subscriber import Subscriber

SUBACK, NOT_AUTHORIZED = 9, 0x87


def numbers(subscriber: Subscriber) -> list[int]:
    return [json.loads(m.payload)["seq"] for m in subscriber.messages if "/plates" in m.topic]


def test_what_is_subscribed_to_may_change_while_the_connection_lasts(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    heard: list[Inbound] = []
    wanted = frozenset({f"{topic_prefix}/a/cmd/+"})
    with (
        Subscriber(broker, f"{topic_prefix}/#") as other,
        Device(
            tmp_path,
            broker.url,
            prefix=topic_prefix,
            subscriptions=lambda: wanted,
            on_message=heard.append,
        ) as device,
    ):
        other.publish(f"{topic_prefix}/a/cmd/old", b"", retain=True)
        device.wait_until(lambda stats: stats.connected)
        device.wait_until(lambda _: other.publish(f"{topic_prefix}/a/cmd/x", b"1") or heard)
        wanted = frozenset({f"{topic_prefix}/b/cmd/+"})
        device.publisher.wake()
        heard.clear()
        device.wait_until(lambda _: other.publish(f"{topic_prefix}/b/cmd/y", b"2") or heard)

        def hears_the_new_ones_alone() -> bool:
            """The broker keeps their order, so the old one would have come first."""
            heard.clear()
            other.publish(f"{topic_prefix}/a/cmd/x", b"3")
            other.publish(f"{topic_prefix}/b/cmd/y", b"4")
            device.wait_until(lambda _: b"4" in [message.payload for message in heard])
            return b"3" not in [message.payload for message in heard]

        # The broker may take the new subscription a moment before the end of the old one.
        device.wait_until(lambda _: hears_the_new_ones_alone())
        assert {message.payload for message in heard} <= {b"2", b"4"}
        assert not any(message.topic.endswith("/old") for message in heard)
        assert device.publisher.stats().connects == 1
        other.publish(f"{topic_prefix}/a/cmd/old", b"", retain=True)


class RefusingLink(Link):
    """Turns the broker's consent to a subscription into a refusal, as others than Mosquitto do."""

    async def _put(self, data: bytes, pipe: Pipe) -> None:
        if data[0] >> 4 == SUBACK:
            data = data[:-1] + bytes([NOT_AUTHORIZED])
        await super()._put(data, pipe)


def test_a_broker_that_lets_us_hear_nothing_is_named_and_gets_the_events(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    topic = f"{topic_prefix}/gate/cmd/+"
    with (
        capture_logs() as logs,
        Subscriber(broker, f"{topic_prefix}/+/plates") as subscriber,
        RefusingLink(broker.port) as link,
        Device(
            tmp_path, link.url, prefix=topic_prefix, subscriptions=lambda: frozenset({topic})
        ) as device,
    ):
        device.add(1, 2)
        subscriber.wait_until(lambda _: numbers(subscriber) == [1, 2])
        device.wait_until(lambda _: "mqtt.subscription_refused" in [line["event"] for line in logs])
        assert device.publisher.stats().connects == 1
    refused = [line for line in logs if line["event"] == "mqtt.subscription_refused"]
    assert [line["topic"] for line in refused] == [topic]
    assert "commands.enabled" in refused[0]["remedy"]


def test_a_broker_that_hangs_up_at_a_subscription_still_gets_the_events(
    fresh_broker: Broker, tmp_path: Path
) -> None:
    faults = Faults(hang_up_at=b"alpr/gate/cmd/+")
    with (
        Link(fresh_broker.port, faults) as link,
        Subscriber(fresh_broker, "alpr/+/plates") as subscriber,
        Device(tmp_path, link.url, subscriptions=lambda: frozenset({"alpr/gate/cmd/+"})) as device,
    ):
        device.add(1, 2, 3)
        subscriber.wait_until(lambda _: set(numbers(subscriber)) == {1, 2, 3}, 30.0)
        stats = device.wait_until(lambda stats: stats.connected and stats.pending == 0, 30.0)
        assert stats.parked == 0
        device.add(4)
        subscriber.wait_until(lambda _: 4 in numbers(subscriber), 30.0)
        assert device.publisher.stats().connects <= 8
