"""What the GPU says of itself, and what it takes alone: the bare engine, a frame's way to it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from alprd.bench.usage import AskGpu, GpuSample
from alprd.inference.cuda import Device
from alprd.inference.gpu import import_pycuda
from alprd.inference.gpu_network import DeviceNetwork
from alprd.inference.network import Network
from alprd.ports import EngineError

_UPLOADS = 32
_UPLOAD_TURNS = 5


@contextmanager
def asking_gpu() -> Iterator[AskGpu | None]:
    """A way to ask the GPU that CUDA takes, through NVIDIA's own library; None without either."""
    try:
        library: Any = importlib.import_module("pynvml")
    except ImportError:
        yield None
        return
    try:
        library.nvmlInit()
    except library.NVMLError:  # no driver, or one that does not fit the library
        yield None
        return
    try:
        gpu = _gpu_of_cuda(library)

        def ask() -> GpuSample:
            return GpuSample(
                percent=_told(
                    library, lambda: float(library.nvmlDeviceGetUtilizationRates(gpu).gpu)
                ),
                used_bytes=_told(library, lambda: int(library.nvmlDeviceGetMemoryInfo(gpu).used)),
            )

        yield ask
    finally:
        library.nvmlShutdown()


def _gpu_of_cuda(library: Any) -> Any:  # noqa: ANN401 -- a library without types
    """The handle of CUDA's first GPU, which need not be the library's first."""
    if library.nvmlDeviceGetCount() > 1:
        # Only then: a bench on the CPU alone should not start CUDA.
        try:
            cuda = import_pycuda()
        except EngineError:
            return library.nvmlDeviceGetHandleByIndex(0)
        try:
            cuda.init()
            place = cuda.Device(0).pci_bus_id()
        except cuda.Error:
            return library.nvmlDeviceGetHandleByIndex(0)
        return library.nvmlDeviceGetHandleByPciBusId(place.encode("ascii"))
    return library.nvmlDeviceGetHandleByIndex(0)


def _told(library: Any, question: Any) -> Any:  # noqa: ANN401 -- a library without types
    try:
        return question()
    except library.NVMLError:
        return None


class GpuLimits:
    """Measures the GPU without anything around it; for the thread that uses the models.

    Args:
        device: that the models run on.
    """

    def __init__(self, device: Device) -> None:
        self._device = device

    def bare_s(self, network: Network, count: int, for_s: float) -> float:
        """Seconds of one run of the engine, one run after the other, nothing copied.

        Args:
            network: of the backend on the GPU.
            count: rows of one run.
            for_s: how long to measure, about.

        Raises:
            EngineError: it failed, or is no network of a GPU.
        """
        engine = _on_device(network)
        with self._device.current():
            stream = self._device.stream()

            def took_s(runs: int) -> float:
                started_s = time.perf_counter()
                for _ in range(runs):
                    engine.enqueue(count, stream)
                stream.synchronize()
                return time.perf_counter() - started_s

            took_s(2)
            runs = max(5, int(for_s / 5 / max(took_s(4) / 4, 1e-6)))
            return median(took_s(runs) / runs for _ in range(5))

    def upload_s(self, size: int) -> float | None:
        """Seconds in which so many bytes of pinned memory come to the GPU, at full bandwidth.

        None where CPU and GPU share the memory: nothing is copied there.

        Raises:
            EngineError: the GPU failed.
        """
        device = self._device
        if device.integrated:
            return None
        with device.current():
            memory = device.pinned(size, "the bench")
            address = device.allocate(size, "the bench")
            stream = device.stream()
            times = []
            for _ in range(_UPLOAD_TURNS):
                started_s = time.perf_counter()
                for _ in range(_UPLOADS):
                    device.upload(address, memory, stream)
                stream.synchronize()
                times.append((time.perf_counter() - started_s) / _UPLOADS)
            device.free(address)
            device.free_pinned(memory)
        return median(times)


def _on_device(network: Network) -> DeviceNetwork:
    if not hasattr(network, "enqueue"):
        raise EngineError("the bench was given a network that does not run on the GPU")
    engine: Any = network
    found: DeviceNetwork = engine
    return found
