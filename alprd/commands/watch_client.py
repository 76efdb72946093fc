"""A subscriber in one thread: connects, polls, connects again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from types import TracebackType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from alprd.commands.common import CommandError
from alprd.commands.watch_record import Recorded
from alprd.ports import Clock
from alprd.publish.brokers import Broker, BrokerError, connect_error
from alprd.publish.tls import tls_context

RETRY_S = 2.0
CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 30


class Subscriber:
    """Everything that `alprd watch` hears, in the order of arrival.

    `connection` says in a few words how it stands with the broker. A broker that refuses us before
    we ever were connected is an error; one that is away is waited for.

    Args:
        brokers: in order of preference.
        prefix: first topic level(s).
        tracks: whether live tracks are wanted too.
        session: client id of a session that the broker keeps; None starts a new one each time.
        clock: monotonic seconds.
        sleep: pauses between attempts.
    """

    def __init__(
        self,
        brokers: Sequence[Broker],
        prefix: str,
        *,
        tracks: bool = False,
        session: str | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._brokers = tuple(brokers)
        self._prefix = prefix
        self._tracks = tracks
        self._session = session
        self._clock = clock
        self._sleep = sleep
        self._attempt = 0
        self._client: mqtt.Client | None = None
        self._retry_at_s = clock()
        self._heard: list[Recorded] = []
        self._was_connected = False
        self._refusal: str | None = None
        self.connection = "connecting"
        self.interruptions = 0
        """How often the connection was lost; without a session nothing is heard meanwhile."""

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def poll(self, timeout_s: float) -> list[Recorded]:
        """What was heard within `timeout_s`. Raises CommandError when the broker refuses us."""
        if self._client is None:
            self._connect(timeout_s)
        if self._client is not None:
            result = self._client.loop(timeout_s)
            if self._refusal is not None:
                self._refused(self._refusal)
            elif result is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lost(f"{self._broker}: {mqtt.error_string(result).rstrip('.')}")
        heard, self._heard = self._heard, []
        return heard

    @property
    def _broker(self) -> Broker:
        return self._brokers[self._attempt % len(self._brokers)]

    def _connect(self, timeout_s: float) -> None:
        wait_s = self._retry_at_s - self._clock()
        if wait_s > 0.0:
            self._sleep(min(wait_s, timeout_s))
            return
        broker = self._broker
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._session or "",
            clean_session=self._session is None,
            transport="tcp" if broker.websocket_path is None else "websockets",
            reconnect_on_failure=False,
        )
        if broker.websocket_path is not None:
            client.ws_set_options(path=broker.websocket_path)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        try:
            if broker.tls:
                client.tls_set_context(tls_context(broker))
            client.connect(broker.host, broker.port, KEEPALIVE_S)
        except BrokerError as error:
            self._lost(str(error))
        except (OSError, ValueError) as error:  # ValueError: an impossible host name
            self._lost(connect_error(broker, error))
        else:
            self._client = client

    def _refused(self, reason: str) -> None:
        if not self._was_connected:
            raise CommandError(
                f"{self._broker} refuses: {reason}; give --username and --password-file, or the "
                "daemon's own configuration with --config"
            )
        self._refusal = None
        self._lost(f"{self._broker} refuses: {reason}")

    def _lost(self, reason: str) -> None:
        self._client = None
        self.interruptions += self._was_connected
        self._attempt += 1
        self._retry_at_s = self._clock() + RETRY_S
        self.connection = f"{reason}; trying again"

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._was_connected = True
        client.subscribe(
            [
                (f"{self._prefix}/+/plates", 1),
                (f"{self._prefix}/+/status", 1),
                (f"{self._prefix}/devices/+/availability", 1),
                (f"{self._prefix}/devices/+/gaps", 1),
                *([(f"{self._prefix}/+/tracks", 0)] if self._tracks else []),
            ]
        )

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _mid: int,
        reasons: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if all(reason.is_failure for reason in reasons):
            self.connection = (
                f"connected to {self._broker}, which does not let this user read "
                f"{self._prefix}/#; see its access list"
            )
        else:
            self.connection = f"connected to {self._broker}"

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        self._heard.append(
            Recorded(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retain=message.retain,
                received_at=_now(),
            )
        )


def _now() -> datetime:
    """To the millisecond, as a recording says it: both give the same audit."""
    at = datetime.now(timezone.utc)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
