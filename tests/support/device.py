"""The publishing half of a device: outbox, sink and publisher thread, wired as the daemon does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alprd.config.models import MqttSettings
from alprd.publish.age import since_boot_s
from alprd.publish.outbox import Outbox
from alprd.publish.rows import Bounds
from alprd.publish.sink import OutboxSink
from alprd.publish.thread import PublisherStats, PublisherThread
from support.plate_events import plate_event

DEVICE_ID = "edge-07"


def utc_now() -> datetime:
    """The real time."""
    return datetime.now(timezone.utc)


class Device:
    """Entering starts the publisher, leaving stops it; the outbox stays open until `close`."""

    def __init__(
        self,
        folder: Path,
        url: str | tuple[str, ...],
        *,
        prefix: str = "alpr",
        device_id: str = DEVICE_ID,
        settings: Mapping[str, Any] | None = None,
        now: Callable[[], datetime] = utc_now,
        boot_s: Callable[[], float] = since_boot_s,
        boot_id: str | None = "this-boot",
        max_events: int = 1_000_000,
        max_bytes: int = 1024**3,
        max_age_s: float = 1e9,
        backlog_share: float = 0.25,
        flush_timeout_s: float = 10.0,
        **publisher: Any,
    ) -> None:
        self.path = folder / f"{device_id}.sqlite"
        self.failures: list[Exception] = []
        self.beats: list[float] = []
        self._news = threading.Event()
        self.outbox = Outbox(
            self.path,
            bounds=Bounds(max_events=max_events, max_bytes=max_bytes, max_age_s=max_age_s),
            now=now,
            boot_id=boot_id,
            boot_s=boot_s,
        )
        self.publisher = PublisherThread(
            MqttSettings(
                url=url, prefix=prefix, client_id=f"{prefix}-{device_id}", **settings or {}
            ),
            outbox=self.outbox,
            device_id=device_id,
            beat=lambda: self.beats.append(time.monotonic()),
            on_failure=self.failures.append,
            flush_timeout_s=flush_timeout_s,
            retry_min_s=0.05,
            backlog_share=backlog_share,
            now=now,
            **publisher,
        )
        self.sink = OutboxSink(
            self.outbox,
            wake_publisher=self.publisher.wake,
            prefix=prefix,
            device_id=device_id,
            software="alprd test",
            models={"plate-detector": "sha256:1", "plate-reader": "sha256:2"},
        )

    def add(self, *numbers: int, camera_id: str = "gate") -> None:
        """Make the passes with these numbers durable."""
        self.sink.add([plate_event(number, camera_id=camera_id) for number in numbers])

    def wait_until(
        self, predicate: Callable[[PublisherStats], object], timeout_s: float = 15.0
    ) -> PublisherStats:
        """Until the publisher's own view of itself fits."""
        give_up_at = time.monotonic() + timeout_s
        while not predicate(stats := self.publisher.stats()):
            if self.failures:
                raise AssertionError("the publisher has ended") from self.failures[0]
            if time.monotonic() > give_up_at:
                raise AssertionError(f"not so within {timeout_s:g} s: {stats}")
            self._news.wait(0.02)  # never set: statistics are a snapshot, nobody announces them
        return stats

    @property
    def pending(self) -> int:
        """Rows in the outbox."""
        return self.outbox.counts().pending

    def close(self) -> None:
        """Release the outbox, and what a publisher that never ran had opened."""
        self.publisher._waker.close()
        self.outbox.close()

    def __enter__(self) -> Device:
        self.publisher.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.publisher.__exit__()
        self.close()
