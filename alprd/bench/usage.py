"""What a measurement costs the machine: processor time, memory, and the GPU's where it tells."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MIB = 1 << 20
_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """What the driver says of the GPU at one moment; None where it does not say.

    Attributes:
        percent: of the last moments in which a kernel ran.
        used_bytes: of its memory, by everybody.
    """

    percent: float | None
    used_bytes: int | None


AskGpu = Callable[[], GpuSample]


class Usage:
    """Measures from entering to leaving.

    Args:
        ask_gpu: gives a sample; None where there is no GPU to ask.
    """

    def __init__(self, ask_gpu: AskGpu | None) -> None:
        self._ask_gpu = ask_gpu
        self._samples: list[GpuSample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="usage", daemon=True)
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def __enter__(self) -> Usage:
        if self._ask_gpu is not None:
            self._thread.start()
        self._cpu_before_s = time.process_time()
        self._before_s = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall_s = time.perf_counter() - self._before_s
        self.cpu_s = time.process_time() - self._cpu_before_s
        self._stop.set()
        if self._ask_gpu is not None:
            self._thread.join()

    @property
    def gpu_percent(self) -> float | None:
        """Median of the samples."""
        told = [sample.percent for sample in self._samples if sample.percent is not None]
        return statistics.median(told) if told else None

    @property
    def gpu_peak_bytes(self) -> int | None:
        """Most memory in use on the GPU, by everybody."""
        told = [sample.used_bytes for sample in self._samples if sample.used_bytes is not None]
        return max(told) if told else None

    def _sample(self) -> None:
        while self._ask_gpu is not None:
            self._samples.append(self._ask_gpu())
            if self._stop.wait(_SAMPLE_S):
                return


def peak_rss_bytes(path: Path = Path("/proc/self/status")) -> int:
    """The most memory that this process has had since its start."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def rss_bytes(path: Path = Path("/proc/self/statm")) -> int:
    """The memory that this process has now."""
    return int(path.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
