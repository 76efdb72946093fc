"""Events at a steady rate, from a thread of their own."""

from __future__ import annotations

import itertools
import threading
import time

from alprd.ports import OutboxError
from support.device import Device
from support.plate_events import plate_event


class Load:
    """Adds passes with the numbers `first`, ... while entered.

    `durable` holds the ids of those that were accepted, `refused` counts the others.
    """

    def __init__(self, device: Device, *, per_s: float, first: int = 1) -> None:
        self.durable: list[str] = []
        self.refused = 0
        self._device = device
        self._per_s = per_s
        self._numbers = itertools.count(first)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        started_s = time.monotonic()
        for index, number in enumerate(self._numbers):
            due_s = started_s + index / self._per_s
            if self._stop.wait(max(0.0, due_s - time.monotonic())):
                return
            try:
                self._device.add(number)
            except OutboxError:
                self.refused += 1
                continue
            self.durable.append(plate_event(number).event_id)
