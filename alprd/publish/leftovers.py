"""What a device left on the broker when it had other cameras, another prefix or more features.

A retained message stays for ever, so the topics are remembered in the outbox: what was announced
once and does not belong there any more is taken away, also when that changed while the daemon was
off. Once only: the camera may belong to another device now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Final

import structlog

from alprd.publish.notes import Notes

NOTE: Final = "retained"
MOST_TOPICS: Final = 10_000

log = structlog.get_logger(__name__)


class Leftovers:
    """Used by the main thread (`keep`) and by the publisher thread (`gone`).

    Args:
        notes: remembers.
        device_id: what another device has left (a copied disk) is none of our business.
        take_away: empties a retained topic.
    """

    def __init__(self, notes: Notes, *, device_id: str, take_away: Callable[[str], None]) -> None:
        self._notes = notes
        self._device_id = device_id
        self._take_away = take_away
        self._lock = threading.Lock()
        self._ours: frozenset[str] = frozenset()

    def keep(self, topics: Collection[str]) -> None:
        """These are ours from now on; what was and is not among them is taken away."""
        with self._lock:
            self._ours = frozenset(topics)
            stale = sorted(self._remembered() - self._ours)
            # Before anything is sent there: a crash must not leave what nobody remembers.
            self._remember(self._ours.union(stale))
        for topic in stale:
            log.info("mqtt.topic_taken_away", topic=topic)
            self._take_away(topic)

    def gone(self, topic: str) -> None:
        """The broker has emptied this topic."""
        with self._lock:
            if topic not in self._ours:
                self._remember(self._remembered() - {topic})

    def _remembered(self) -> frozenset[str]:
        note = self._notes.recall(NOTE)
        topics = note.get("topics")
        if note.get("device_id") != self._device_id or not isinstance(topics, list):
            return frozenset()
        return frozenset(topic for topic in topics[:MOST_TOPICS] if _is_topic(topic))

    def _remember(self, topics: Collection[str]) -> None:
        self._notes.remember(NOTE, {"device_id": self._device_id, "topics": sorted(topics)})


def _is_topic(value: object) -> bool:
    return isinstance(value, str) and value != "" and not set(value) & set("+#\x00")
