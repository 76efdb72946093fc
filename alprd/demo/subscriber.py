"""A real MQTT client that hears what the demonstration's daemon publishes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

TOPICS = ("alpr/+/plates", "alpr/+/status")
_ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A message arrived."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class HeardAll:
    """Everything that the broker had taken when `hear_all` was called has arrived."""


class Subscriber:
    """Use as a context manager.

    Args:
        host: the broker's host.
        port: the broker's port.
        post: gets `Heard` and `HeardAll`, in the client's thread.
    """

    def __init__(self, host: str, port: int, post: Callable[[Heard | HeardAll], None]) -> None:
        self._address = host, port
        self._post = post
        self._ready = threading.Event()
        # A topic that only this subscriber uses: the broker keeps the order, so what it sends after
        # everything else says that everything else has come.
        self._last_word = f"demo-subscriber/{uuid.uuid4().hex}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="alprd-demo-subscriber")
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._hear

    def __enter__(self) -> Subscriber:
        """Raises OSError when the broker does not answer."""
        self._client.connect(*self._address)
        self._client.loop_start()
        if not self._ready.wait(_ANSWER_TIMEOUT_S):
            self.__exit__()
            raise OSError(f"the broker gave no answer within {_ANSWER_TIMEOUT_S:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def hear_all(self) -> None:
        """Ask for `HeardAll` after the messages that the broker has taken so far."""
        self._client.publish(self._last_word, qos=1)

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe([(topic, 1) for topic in (*TOPICS, self._last_word)])

    def _hear(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._last_word:
            self._post(HeardAll())
        else:
            self._post(Heard(message.topic, bytes(message.payload)))
