"""One connection to one broker: paho-mqtt without its threads and without its memory.

paho keeps unacknowledged messages and sends them again on its own after a reconnect, which would
double what the outbox sends again. So a `Connection` lives for one connection only, with a clean
session, and whatever it did not deliver is forgotten with it: the outbox is the only truth. The
socket is driven by its owner (`turn`), in one thread; paho's network thread is never started.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from alprd.publish.brokers import Broker, BrokerError, connect_error, refusal_remedy

Version = MQTTProtocolVersion
V5: Final = MQTTProtocolVersion.MQTTv5
V311: Final = MQTTProtocolVersion.MQTTv311
DEFAULT_RECEIVE_MAXIMUM: Final = 65535
UTF8_PAYLOAD: Final = 1
FIXED_HEADER_BYTES: Final = 5


class _Socket(Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says in our name when we vanish; retained, QoS 1."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to send; `user` are MQTT 5 user properties, dropped on 3.1.1."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    content_type: str
    user: Mapping[str, str]
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The broker's answer to a QoS 1 message; `refusal` is None when it took the message."""

    mid: int
    refusal: str | None


class _TlsContext(ssl.SSLContext):
    """Remembers the socket that it wrapped: paho forgets to close it when the handshake fails."""

    _last: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401 - as its base
        """As the base class does."""
        self._last = super().wrap_socket(*args, **kwargs)
        return self._last

    def close_last(self) -> None:
        """Close the socket of a handshake that failed."""
        if self._last is not None:
            self._last.close()


class Connection:
    """A session with one broker, from the TCP connect until it is lost; never used again.

    `open` blocks and may run in a thread of its own; everything else belongs to the one thread
    that drives the connection afterwards.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        protocol: Version,
        client_id: str,
        will: Will,
        keepalive_s: int,
        connect_timeout_s: float,
    ) -> None:
        self.broker = broker
        self.protocol = protocol
        self.accepted = False
        """True once the broker has accepted the session (a refused CONNACK is not connected)."""
        self.lost: str | None = None
        """Why there is no connection any more, with the remedy; None while there is one."""
        self.refused_version = False
        """True when the broker does not speak `protocol`."""
        self.receive_maximum = DEFAULT_RECEIVE_MAXIMUM
        self.maximum_packet_bytes: int | None = None
        self._keepalive_s = keepalive_s
        self._client_id = client_id
        self._acks: deque[Ack] = deque()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=protocol,
            clean_session=True if protocol == V311 else None,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = connect_timeout_s
        # The owner limits what is in flight; paho must not hold anything back by itself.
        self._client.max_inflight_messages = DEFAULT_RECEIVE_MAXIMUM
        self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        if broker.username is not None:
            self._client.username_pw_set(broker.username, broker.password)
        # The callbacks only take notes: whatever they find is acted upon outside of paho.
        self._client.on_connect = self._note_connack
        self._client.on_disconnect = self._note_disconnect
        self._client.on_publish = self._note_ack

    def open(self) -> None:
        """Connect and send CONNECT. Blocks; raises BrokerError."""
        context = self._tls_context() if self.broker.tls else None
        if context is not None:
            self._client.tls_set_context(context)
        try:
            self._client.connect(self.broker.host, self.broker.port, self._keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: an impossible host name
            if context is not None:
                context.close_last()
            raise BrokerError(connect_error(self.broker, error)) from error

    def _tls_context(self) -> _TlsContext:
        """Certificates and server names are always checked."""
        context = _TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        ca_file = self.broker.ca_file
        try:
            if ca_file is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(ca_file)
        except OSError as error:  # an SSLError is one, too
            raise BrokerError(
                f"{self.broker}: mqtt.ca_file {ca_file} cannot be used ({error});"
                " it must be a readable PEM file with the authority's certificate"
            ) from error
        return context

    @property
    def protocol_name(self) -> str:
        """The version of MQTT, as people write it."""
        return "5" if self.protocol == V5 else "3.1.1"

    def fileno(self) -> int | None:
        """The socket to wait on; None when the connection is lost."""
        sock: _Socket | None = self._client.socket()
        return None if sock is None or self.lost is not None else sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait for the socket to take them."""
        return self._client.want_write()

    @property
    def has_buffered_input(self) -> bool:
        """Whether TLS holds decrypted bytes, for which the socket never becomes readable."""
        sock = self._client.socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def turn(self, *, readable: bool, writable: bool) -> None:
        """Read, write and keep alive; what came of it stands in `accepted`, `lost`, `take_acks`."""
        try:
            if readable:
                self._client.loop_read()
            if writable:
                self._client.loop_write()
            self._client.loop_misc()
        except Exception as error:  # noqa: BLE001 - paho's parser raises anything on garbage
            self.close(
                f"{self.broker}: does not speak MQTT ({type(error).__name__}: {error});"
                " check host and port of mqtt.url"
            )
        if self.lost is None and self._client.socket() is None:
            self.lost = f"{self.broker}: connection lost"

    def publish(self, message: Message) -> int | None:
        """Send a message; returns its id for `take_acks`, None when the connection is lost."""
        properties = self._properties(message) if self.protocol == V5 else None
        info = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.close(f"{self.broker}: connection lost while sending")
            return None
        return info.mid

    def packet_bytes(self, message: Message) -> int:
        """The size on the wire, at most three bytes too much."""
        packed = self._properties(message).pack() if self.protocol == V5 else b""
        topic = 2 + len(message.topic.encode())
        return FIXED_HEADER_BYTES + topic + 2 + len(packed) + len(message.payload)

    def take_acks(self) -> list[Ack]:
        """The answers since the last call, in the order in which they came."""
        taken = list(self._acks)
        self._acks.clear()
        return taken

    def disconnect(self) -> None:
        """Say good-bye (the broker drops the will); `lost` is set once it is on its way."""
        self._client.disconnect()

    def close(self, reason: str) -> None:
        """Cut the connection without a word; the broker publishes the will."""
        if self.lost is None:
            self.lost = reason
        sock: _Socket | None = self._client.socket()
        if sock is not None:
            sock.close()

    def _properties(self, message: Message) -> Any:  # noqa: ANN401 - paho leaves them untyped
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = UTF8_PAYLOAD
        properties.ContentType = message.content_type
        if message.user:
            properties.UserProperty = list(message.user.items())
        if message.expiry_s is not None:
            properties.MessageExpiryInterval = message.expiry_s
        return properties

    def _note_connack(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.refused_version = str(reason) == "Unsupported protocol version"
            self.lost = f"{self.broker}: refused: {reason}; {refusal_remedy(str(reason))}"
            return
        self.receive_maximum = getattr(properties, "ReceiveMaximum", DEFAULT_RECEIVE_MAXIMUM)
        self.maximum_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        self.accepted = True

    def _note_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self.lost is not None:
            return
        if flags.is_disconnect_packet_from_server:
            self.lost = f"{self.broker}: disconnected us: {reason}; {refusal_remedy(str(reason))}"
        else:
            self.lost = f"{self.broker}: connection lost ({reason})"

    def _note_ack(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._acks.append(Ack(mid=mid, refusal=str(reason) if reason.is_failure else None))
