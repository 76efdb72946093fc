"""Composing ahead: the next batches are made on a stream and thread of their own while the net

learns from the last one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from engines.training.detector_compose import Batch

Make = Callable[[float], Batch]


class Direct:
    """Composes each batch when it is asked for."""

    def __init__(self, make: Make) -> None:
        self.make, self.mosaic = make, 0.0

    def next(self) -> Batch:
        return self.make(self.mosaic)

    def close(self) -> None:
        return


class Ahead:
    """Stays up to `depth` batches ahead; `mosaic` is read whenever a batch is begun."""

    def __init__(self, make: Make, device: torch.device, depth: int) -> None:
        self.make, self.device, self.mosaic = make, device, 0.0
        self.stream = torch.cuda.Stream(device)
        self.room = threading.Semaphore(depth)
        self.ready: queue.SimpleQueue[tuple[Batch, torch.cuda.Event] | Exception] = (
            queue.SimpleQueue()
        )
        self.stopped = False
        # what the composer reads was written on this stream
        self.stream.wait_stream(torch.cuda.current_stream(device))
        self.thread = threading.Thread(target=self._work, name="composer", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
                while self.room.acquire() and not self.stopped:
                    batch = self.make(self.mosaic)
                    done = torch.cuda.Event()
                    done.record(self.stream)
                    self.ready.put((batch, done))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the batch
            self.ready.put(error)

    def next(self) -> Batch:
        item = self.ready.get()
        if isinstance(item, Exception):
            raise RuntimeError("composing a batch failed") from item
        batch, done = item
        self.room.release()
        here = torch.cuda.current_stream(self.device)
        here.wait_event(done)
        for name in (field.name for field in fields(batch)):
            value = getattr(batch, name)
            if isinstance(value, Tensor):
                # the allocator must not give this memory back to the composer while it is read here
                value.record_stream(here)
        return batch

    def close(self) -> None:
        self.stopped = True
        self.room.release()
        self.thread.join()


def source(make: Make, device: torch.device, depth: int) -> Direct | Ahead:
    """Ahead by `depth` batches on a GPU; on a CPU, or with depth 0, each when it is asked for."""
    return Ahead(make, device, depth) if depth and device.type == "cuda" else Direct(make)
