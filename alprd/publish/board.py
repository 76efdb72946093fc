"""Latest-value messages: what the device and its cameras are like now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from alprd.core.events import format_time
from alprd.core.types import CameraStatus
from alprd.publish.sink import encode

STATUS_SCHEMA: Final = "alprd.status/1"
EPHEMERAL: Final = frozenset({"health"})
"""Device messages that the next one replaces soon: QoS 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardMessage:
    """The newest message of a topic; an empty payload takes a retained one away."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    schema: str | None


class Board:
    """Keeps the newest message per topic and which of them the broker has not seen yet.

    Any thread writes, the publisher takes; one lock guards both sides.
    """

    def __init__(
        self,
        *,
        prefix: str,
        device_id: str,
        now: Callable[[], datetime],
        on_change: Callable[[], None],
        on_taken_away: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Nothing is there yet.

        Args:
            prefix: first topic level(s).
            device_id: the device's name in topics.
            now: aware wall time.
            on_change: called when there is something to send.
            on_taken_away: told every topic that the broker has emptied for us; by the publisher.
        """
        self._prefix = prefix
        self._device_id = device_id
        self._now = now
        self._on_change = on_change
        self._on_taken_away = on_taken_away
        self._lock = threading.Lock()
        self._latest: dict[str, BoardMessage] = {}
        self._unsent: dict[str, None] = {}  # a set that remembers the order

    def camera_status(self, status: CameraStatus) -> None:
        """Publish retained on <prefix>/<camera>/status."""
        payload = {
            "schema": STATUS_SCHEMA,
            "state": status.state,
            "fps": status.fps,
            "dropped": status.dropped,
            "last_frame_age_s": status.last_frame_age_s,
            "last_error": status.last_error,
            "light": status.light,
            "at": format_time(self._now()),
        }
        self._put(self._status_topic(status.camera_id), encode(payload), 1, STATUS_SCHEMA)

    def forget_camera(self, camera_id: str) -> None:
        """Take the retained status of a camera away that is no longer configured."""
        self._put(self._status_topic(camera_id), b"", 1, None)

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        """Publish on <prefix>/devices/<device>/<name>."""
        self._put(
            f"{self._prefix}/devices/{self._device_id}/{name}",
            encode(payload),
            0 if name in EPHEMERAL else 1,
            payload.get("schema"),
            retain=retain,
        )

    def announce(self, topic: str, payload: bytes) -> None:
        """Publish retained on somebody else's topic; an empty payload takes the message away."""
        self._put(topic, payload, 1, None)

    def take(self, is_held: Callable[[str], bool] = lambda _: False) -> BoardMessage | None:
        """The next message that the broker has not seen; counts as sent from now on.

        Args:
            is_held: whether a topic's messages must wait; must return at once.
        """
        with self._lock:
            for topic in self._unsent:
                if not is_held(topic):
                    del self._unsent[topic]
                    return self._latest[topic]
            return None

    def acknowledged(self, topic: str) -> None:
        """The broker has the topic's message: one that took a status away is not repeated.

        The camera may meanwhile belong to another device, whose status a later connect would take.
        """
        with self._lock:
            latest = self._latest.get(topic)
            if latest is None or latest.payload or topic in self._unsent:
                return
            del self._latest[topic]
        self._on_taken_away(topic)

    def refused(self, topic: str) -> None:
        """The broker does not want the topic's message: it stays to be sent.

        But not one that was to take a message away: what we may not write is not ours.
        """
        with self._lock:
            latest = self._latest.get(topic)
            if latest is None or topic in self._unsent:
                return
            if latest.payload:
                self._unsent[topic] = None
            else:
                del self._latest[topic]

    def all_unsent(self) -> None:
        """After a connect: the broker may have forgotten everything."""
        with self._lock:
            self._unsent = dict.fromkeys(self._latest)

    def is_sent(self, is_held: Callable[[str], bool] = lambda _: False) -> bool:
        """True when `take` has handed out everything that need not wait."""
        with self._lock:
            return all(map(is_held, self._unsent))

    def _status_topic(self, camera_id: str) -> str:
        return f"{self._prefix}/{camera_id}/status"

    def _put(
        self, topic: str, payload: bytes, qos: int, schema: str | None, *, retain: bool = True
    ) -> None:
        message = BoardMessage(topic=topic, payload=payload, qos=qos, retain=retain, schema=schema)
        with self._lock:
            self._latest[topic] = message
            self._unsent.pop(topic, None)
            self._unsent[topic] = None
        self._on_change()
