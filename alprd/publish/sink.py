"""From a `PlateEvent` to a durable row: the `EventSink` of the inference thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from alprd.core.events import to_payload
from alprd.core.types import PlateEvent
from alprd.publish.outbox import Outbox
from alprd.publish.rows import NewRow


def encode(payload: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON; NaN and infinity are errors, because JSON knows neither.

    A lone surrogate (a byte of a file's name that is not UTF-8) becomes "?": an odd name must not
    cost the message, nor the thread that sends it.
    """
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


class _Build(Protocol):
    def __call__(self, event: PlateEvent, *, seq: int) -> dict[str, Any]: ...


class OutboxSink:
    """Writes events into the outbox and wakes the publisher; used by the inference thread."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        wake_publisher: Callable[[], None],
        prefix: str,
        device_id: str,
        software: str,
        models: Mapping[str, str],
        on_stored: Callable[[str, int], None] | None = None,
    ) -> None:
        """Bind what every event of this device has in common.

        Args:
            outbox: where they become durable.
            wake_publisher: called after events became durable.
            prefix: the first topic level(s).
            device_id: the device's name.
            software: name and version, "alprd 0.1.0".
            models: name of each model in use -> "sha256:...".
            on_stored: told the id and the number of every event that became durable.
        """
        self._on_stored = on_stored
        self._outbox = outbox
        self._wake_publisher = wake_publisher
        self._prefix = prefix
        self._build: _Build = partial(
            to_payload, device_id=device_id, software=software, models=dict(models)
        )

    def add(self, events: Sequence[PlateEvent]) -> None:
        """Return once the events are on disk, in order. Raises OutboxError: none was added."""
        if not events:
            return
        seqs = self._outbox.add([self._row(event) for event in events])
        self._wake_publisher()
        if self._on_stored is not None:
            for event, seq in zip(events, seqs, strict=True):
                self._on_stored(event.event_id, seq)

    def add_lost(self, count: int) -> None:
        """Let numbers without events tell consumers of a loss. Raises OutboxError: nobody knows."""
        self._outbox.add_lost(count)
        self._wake_publisher()

    def _row(self, event: PlateEvent) -> NewRow:
        return NewRow(
            topic=f"{self._prefix}/{event.camera_id}/plates",
            event_id=event.event_id,
            build=lambda seq: encode(self._build(event, seq=seq)),
        )
