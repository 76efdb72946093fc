"""What measures this machine; outlives the health threads that ask it, which a reload replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alprd.host import proc
from alprd.host.aside import Aside
from alprd.host.nvml import GpuMeter, PatientGpuMeter
from alprd.host.sample import HostMeter


class Machine:
    """A context manager; used by one thread at a time.

    Args:
        disk_folder: the outbox's folder.
        gpus: asks the driver of discrete GPUs; called in a thread of its own.
        disk_bytes: (free, total) of the folder's file system; called in a thread of its own.
        root: of the file system.
        patience_s: a driver or file system that needs longer for an answer has none.
    """

    def __init__(
        self,
        disk_folder: Path,
        *,
        gpus: Callable[[], GpuMeter] = GpuMeter,
        disk_bytes: Callable[[Path], tuple[int, int] | None] = proc.disk_bytes,
        root: Path = Path("/"),
        patience_s: float = 1.0,
    ) -> None:
        self.meter = HostMeter(root)
        self.disk_folder = disk_folder
        meter = PatientGpuMeter(gpus)
        self._gpus = Aside("gpus", meter.figures, finish=meter.close, patience_s=patience_s)
        self._disk = Aside("disk", lambda: disk_bytes(disk_folder), patience_s=patience_s)
        self._running = ExitStack()

    def __enter__(self) -> Machine:
        self._running.enter_context(self._gpus)
        self._running.enter_context(self._disk)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def gpus(self) -> Mapping[str, Any]:
        """What the driver says; nothing where there is none, or while it hangs."""
        return self._gpus.look() or {}

    def disk_bytes(self) -> tuple[int, int] | None:
        """(free, total) of the outbox's file system; None while it hangs."""
        return self._disk.look()
