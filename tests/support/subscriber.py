"""A real MQTT subscriber with a session that outlives its connection."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

SESSION_S = 3600
TIMEOUT_S = 15.0


class Address(Protocol):
    """Where a broker listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Received:
    """One message as it came.

    `again` marks what the broker itself sent a second time, because it had not seen our
    acknowledgement; what a publisher has sent twice comes without that mark.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    again: bool
    user: dict[str, str]
    content_type: str | None
    payload_format: int | None
    expiry_s: int | None
    correlation: bytes | None = None


class Subscriber:
    """Collects everything under some topics, QoS 1, also across broker restarts."""

    def __init__(
        self,
        broker: Address,
        *topics: str,
        client_id: str | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._news = threading.Condition()
        self._received: list[Received] = []
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"subscriber-{uuid.uuid4().hex[:12]}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    @property
    def messages(self) -> list[Received]:
        """Everything so far, in the order of arrival."""
        with self._news:
            return list(self._received)

    def on(self, topic: str) -> list[Received]:
        """What came on one topic so far."""
        return [message for message in self.messages if message.topic == topic]

    def wait_until(
        self, predicate: Callable[[list[Received]], object], timeout_s: float = TIMEOUT_S
    ) -> list[Received]:
        """Until the predicate holds for all messages so far; returns them."""
        with self._news:
            if not self._news.wait_for(lambda: predicate(self._received), timeout_s):
                seen = "\n".join(f"{m.topic}: {m.payload[:200]!r}" for m in self._received[-20:])
                raise AssertionError(
                    f"not seen in {timeout_s:g} s; {len(self._received)} messages, last:\n{seen}"
                )
            return list(self._received)

    def wait_for(self, count: int, timeout_s: float = TIMEOUT_S) -> list[Received]:
        """Until at least `count` messages have come; returns all of them."""
        return self.wait_until(lambda messages: len(messages) >= count, timeout_s)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        wait: bool = True,
    ) -> None:
        """Send something oneself; returns when the broker has it, or at once."""
        properties: Any = Properties(PacketTypes.PUBLISH)
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        sent = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if wait:
            sent.wait_for_publish(TIMEOUT_S)

    def __enter__(self) -> Subscriber:
        properties: Any = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_S
        self._client.connect(
            self._broker.host, self._broker.port, clean_start=False, properties=properties
        )
        self._client.loop_start()
        if not self._subscribed.wait(TIMEOUT_S):
            self.__exit__()
            raise AssertionError("the broker did not acknowledge the subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not reason.is_failure:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        properties = message.properties
        with self._news:
            self._received.append(
                Received(
                    topic=message.topic,
                    payload=message.payload,
                    qos=message.qos,
                    retain=message.retain,
                    again=message.dup,
                    user=dict(getattr(properties, "UserProperty", [])),
                    content_type=getattr(properties, "ContentType", None),
                    payload_format=getattr(properties, "PayloadFormatIndicator", None),
                    expiry_s=getattr(properties, "MessageExpiryInterval", None),
                    correlation=getattr(properties, "CorrelationData", None),
                )
            )
            self._news.notify_all()
