"""What bounds the pipeline: the bare networks' own time, and the way of a frame to the GPU."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alprd.inference.network import Network, Outputs


class TimedNetwork:
    """A network whose own time in the pipeline is added up; used by one thread.

    Attributes:
        seconds: in its calls.
        cpu_s: the same as time of the processor, of the calling thread alone.
        rows: that it was given.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.max_batch = network.max_batch
        self.reset()

    def reset(self) -> None:
        """Begin to add up anew."""
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.rows = 0

    def run(self, rows: NDArray[np.float32], count: int) -> Outputs:
        """As the network's."""
        started_s, cpu_before_s = time.perf_counter(), time.thread_time()
        outputs = self._network.run(rows, count)
        self.seconds += time.perf_counter() - started_s
        self.cpu_s += time.thread_time() - cpu_before_s
        self.rows += count
        return outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bare engine's seconds for one batch; None where nobody can tell.

    Attributes:
        batch: rows of the detector.
        detector_s: of one call with so many rows.
        upload_s: of one frame from pinned memory to the GPU.
    """

    batch: int
    detector_s: float
    upload_s: float | None

    @property
    def detector_fps(self) -> float:
        """Frames per second of the bare detector."""
        return self.batch / self.detector_s

    @property
    def fps(self) -> float:
        """The lower one."""
        if self.upload_s is None:
            return self.detector_fps
        return min(self.detector_fps, 1.0 / self.upload_s)


def random_rows(shape: tuple[int, ...], count: int) -> NDArray[np.float32]:
    """(count, *shape) values 0..1: zeros would let some networks be faster than they are."""
    return np.random.default_rng(1).random((count, *shape), np.float32)


def bare_s(network: Network, rows: NDArray[np.float32], count: int) -> float:
    """Seconds of one call with nothing around it; rows as long as the network's buffer."""
    started_s = time.perf_counter()
    network.run(rows, count)
    return time.perf_counter() - started_s
