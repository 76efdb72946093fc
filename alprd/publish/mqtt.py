"""One connection to one broker: paho-mqtt without its threads and without its memory.

paho keeps unacknowledged messages and sends them again on its own after a reconnect, which would
double what the outbox sends again. So a `Connection` lives for one connection only, with a clean
start and no session expiry, and whatever it did not deliver is forgotten with it: the outbox is the
only truth, so a session kept by the broker could only double events, and commands that were sent
while we were away must not be executed late. The socket is driven by its owner (`turn`), in one
thread; paho's network thread is never started.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from alprd.publish.brokers import Broker, BrokerError, connect_error, refusal_remedy
from alprd.publish.message import Ack, Inbound, Message, Refusal, Will, inbound_of, properties_of
from alprd.publish.tls import tls_context

Version = MQTTProtocolVersion
V5: Final = MQTTProtocolVersion.MQTTv5
V311: Final = MQTTProtocolVersion.MQTTv311
DEFAULT_RECEIVE_MAXIMUM: Final = 65535
FIXED_HEADER_BYTES: Final = 5
WITHOUT_RETAINED: Final = 2
MARK: Final = "alprd/mark"
READS_PER_TURN: Final = 64
MAX_INBOUND: Final = 1000
"""Messages kept for the owner; whoever floods us loses the rest of the flood."""


class _Socket(Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...


class _Client(Client):
    """Remembers its bare socket: paho forgets to close it when a WebSocket's handshake fails."""

    bare: socket.socket | None = None

    def _create_socket_connection(self) -> socket.socket:
        self.bare = super()._create_socket_connection()
        return self.bare


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
        self.left_by_peer = False
        """True when the broker ended the connection, not a time-out or ourselves."""
        self.receive_maximum = DEFAULT_RECEIVE_MAXIMUM
        self.maximum_packet_bytes: int | None = None
        self._keepalive_s = keepalive_s
        self._client_id = client_id
        self._acks: deque[Ack] = deque()
        self._inbound: deque[Inbound] = deque()
        self._asked: dict[int, list[str]] = {}
        self._refused_filters: list[str] = []
        self._marks: set[int] = set()
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=protocol,
            clean_session=True if protocol == V311 else None,
            transport="tcp" if broker.websocket_path is None else "websockets",
            reconnect_on_failure=False,
        )
        if broker.websocket_path is not None:
            self._client.ws_set_options(path=broker.websocket_path)
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
        self._client.on_message = self._note_message
        self._client.on_subscribe = self._note_suback
        self._client.on_unsubscribe = self._note_unsuback

    def open(self) -> None:
        """Connect and send CONNECT. Blocks; raises BrokerError."""
        context = tls_context(self.broker) if self.broker.tls else None
        if context is not None:
            self._client.tls_set_context(context)
        try:
            self._client.connect(self.broker.host, self.broker.port, self._keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: an impossible host name
            if context is not None:
                context.close_last()
            if self._client.bare is not None:
                self._client.bare.close()
            raise BrokerError(connect_error(self.broker, error)) from error

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
        if sock is None or self.lost is not None or not self.broker.tls:
            return False
        return bool(sock.pending()) if hasattr(sock, "pending") else False

    def turn(self, *, readable: bool, writable: bool) -> None:
        """Read, write and keep alive; what came of it stands in `accepted`, `lost`, `take_acks`."""
        try:
            if readable:
                self._read()
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

    def _read(self) -> None:
        """Take what has come.

        paho takes hardly more than one message at a time, and coming back for each one costs a wait
        for the interpreter while inference computes.
        """
        for _ in range(READS_PER_TURN):
            had = len(self._inbound) + len(self._acks)
            self._client.loop_read()
            if len(self._inbound) + len(self._acks) == had:
                return

    def publish(self, message: Message) -> int | None:
        """Send a message; returns its id for `take_acks`, None when the connection is lost."""
        properties = properties_of(message) if self.protocol == V5 else None
        info = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.close(f"{self.broker}: connection lost while sending")
            return None
        return info.mid

    def subscribe(self, filters: Collection[str]) -> int | None:
        """Ask for messages, QoS 1, without retained ones; they come by `take_inbound`.

        Returns:
            The id of the question, whose answer comes by `take_acks`; None when there is none.
        """
        asked = sorted(filters)
        if not asked:
            return None
        if self.protocol == V5:
            options = SubscribeOptions(qos=1, retainHandling=WITHOUT_RETAINED)
            _, mid = self._client.subscribe([(each, options) for each in asked])
        else:
            _, mid = self._client.subscribe([(each, 1) for each in asked])
        if mid is not None:
            self._asked[mid] = asked
        return mid

    def unsubscribe(self, filters: Collection[str]) -> None:
        """Ask for them no more."""
        if filters:
            self._client.unsubscribe(sorted(filters))

    def mark(self) -> int | None:
        """Put a mark behind what was sent so far; None when there is no connection.

        A subscription that never was is taken back: of what goes with QoS 0 a broker says nothing,
        but this it answers once everything before it has arrived.
        """
        _, mid = self._client.unsubscribe(MARK)
        if mid is not None:
            self._marks.add(mid)
        return mid

    def has_passed(self, mark: int) -> bool:
        """Whether the broker has taken everything before the mark."""
        return mark not in self._marks

    def take_refused_filters(self) -> list[str]:
        """What the broker does not let us hear, since the last call."""
        taken, self._refused_filters = self._refused_filters, []
        return taken

    def take_inbound(self) -> list[Inbound]:
        """What others sent since the last call, in the order in which it came."""
        taken = list(self._inbound)
        self._inbound.clear()
        return taken

    def packet_bytes(self, message: Message) -> int:
        """The size on the wire, at most three bytes too much."""
        packed = properties_of(message).pack() if self.protocol == V5 else b""
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
        self.left_by_peer = str(reason) != "Keep alive timeout"
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
        refusal = Refusal(code=reason.value, text=str(reason)) if reason.is_failure else None
        self._acks.append(Ack(mid=mid, refusal=refusal))

    def _note_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        inbound = inbound_of(message)
        if inbound is not None and len(self._inbound) < MAX_INBOUND:
            self._inbound.append(inbound)

    def _note_unsuback(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        _reasons: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._marks.discard(mid)

    def _note_suback(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reasons: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._acks.append(Ack(mid=mid, refusal=None))
        asked = self._asked.pop(mid, [])
        self._refused_filters += [
            each for each, reason in zip(asked, reasons, strict=False) if reason.is_failure
        ]
