"""Some devices of a fleet in one process, each with an event per second, until told to stop.

python fleet_child.py FOLDER URL FIRST COUNT. A line on standard input ends the events; then it
waits until everything is delivered and prints a JSON object: device -> how many were durable.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import structlog

from support.device import Device
from support.plate_events import plate_event


def main(folder: str, url: str, first: str, count: str) -> None:
    """Ends when all is delivered, or after two minutes."""
    # Nobody reads standard output before the end, and a full pipe would stop whoever logs.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    durable: dict[str, int] = {}
    with ExitStack() as running:
        devices = {}
        for index in range(int(first), int(first) + int(count)):
            name = f"edge-{index:03d}"
            devices[name] = running.enter_context(
                Device(Path(folder), url, device_id=name, settings={"reconnect_max_s": 5.0})
            )
        number = 0
        started_s = time.monotonic()
        while not told.is_set():
            number += 1
            for position, (name, device) in enumerate(devices.items()):
                due_s = started_s + number - 1 + position / len(devices)
                told.wait(max(0.0, due_s - time.monotonic()))
                if told.is_set():
                    break
                # Ids of devices must not meet: the device's number is part of its events'.
                base = (int(first) + position) * 1_000_000
                device.sink.add([plate_event(base + number, camera_id=f"cam-{name}")])
                durable[name] = number
        for device in devices.values():
            device.wait_until(lambda stats: stats.connected and stats.pending == 0, 120.0)
    print(json.dumps(durable), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
