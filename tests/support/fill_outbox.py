"""Puts events into an installed daemon's outbox while it does not run: fill_outbox.py COUNT.

Runs with the daemon's interpreter as its user, beside plate_events.py.
"""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path

from plate_events import plate_event  # type: ignore[import-not-found]

from alprd.publish.outbox import Outbox
from alprd.publish.rows import Bounds
from alprd.publish.sink import OutboxSink


def main(count: str) -> None:
    """All of them durable when it returns."""
    with Outbox(
        Path("/var/lib/alprd/outbox.sqlite"),
        bounds=Bounds(max_events=10_000, max_bytes=10**9, max_age_s=1e9),
        now=lambda: datetime.now(timezone.utc),
        boot_id=None,
    ) as outbox:
        sink = OutboxSink(
            outbox,
            wake_publisher=lambda: None,
            prefix="alpr",
            device_id="machine",
            software="alprd",
            models={},
        )
        sink.add([plate_event(number) for number in range(int(count))])


if __name__ == "__main__":
    main(*sys.argv[1:])
