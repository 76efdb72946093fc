"""What goes over a connection, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

JSON: Final = "application/json"
TEXT: Final = "text/plain"
UTF8_PAYLOAD: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says in our name when we vanish; retained, QoS 1."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to send.

    `user`, `correlation`, `expiry_s` and `content_type` are MQTT 5's and dropped on 3.1.1; without
    `is_text` the payload is not declared to be UTF-8.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    content_type: str = JSON
    is_text: bool = True
    user: Mapping[str, str] = field(default_factory=dict)
    expiry_s: int | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One message that somebody sent to a topic we subscribed to; nothing about it is checked."""

    topic: str
    payload: bytes
    retain: bool
    response_topic: str | None
    correlation: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the broker did not take a message; `code` is MQTT 5's reason code."""

    code: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The broker's answer to a QoS 1 message; `refusal` is None when it took the message."""

    mid: int
    refusal: Refusal | None


def inbound_of(message: MQTTMessage) -> Inbound | None:
    """None for a topic that is no text."""
    try:
        topic = message.topic
    except UnicodeDecodeError:
        return None
    properties = message.properties
    return Inbound(
        topic=topic,
        payload=bytes(message.payload),
        retain=message.retain,
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
    )


def properties_of(message: Message) -> Any:  # noqa: ANN401 - paho leaves them untyped
    """The properties of an MQTT 5 PUBLISH."""
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.is_text:
        properties.PayloadFormatIndicator = UTF8_PAYLOAD
    properties.ContentType = message.content_type
    if message.user:
        properties.UserProperty = list(message.user.items())
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    return properties
