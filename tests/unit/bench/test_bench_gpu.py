"""Which GPU the benchmark asks, and what it measures of it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from alprd.bench import gpu
from alprd.bench.gpu import GpuLimits, asking_gpu
from alprd.bench.usage import GpuSample
from alprd.ports import EngineError
from support.cuda_on_cpu import CpuDevice


class NvmlError(Exception):
    """As pynvml's."""


def nvml(monkeypatch: pytest.MonkeyPatch, percents: list[int]) -> None:
    """A machine with GPUs that are told apart by what they have to do."""
    places = {f"0000:{index:02X}:00.0".encode(): index for index in range(len(percents))}
    library = SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(percents),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByPciBusId=lambda place: places[place],
        nvmlDeviceGetUtilizationRates=lambda index: SimpleNamespace(gpu=percents[index]),
        nvmlDeviceGetMemoryInfo=lambda index: SimpleNamespace(used=1 + index),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)


def cuda_on(monkeypatch: pytest.MonkeyPatch, place: str | Exception) -> None:
    class CudaError(Exception):
        pass

    def device(_index: int) -> SimpleNamespace:
        if isinstance(place, Exception):
            raise CudaError(place)
        return SimpleNamespace(pci_bus_id=lambda: place)

    driver = SimpleNamespace(init=lambda: None, Device=device, Error=CudaError)
    monkeypatch.setattr(gpu, "import_pycuda", lambda: driver)


def asked() -> GpuSample:
    with asking_gpu() as ask:
        assert ask is not None
        return ask()


def test_the_gpu_that_cuda_takes_is_asked_though_it_is_another_one_of_the_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvml(monkeypatch, [10, 20, 30])
    cuda_on(monkeypatch, "0000:02:00.0")
    assert asked() == GpuSample(percent=30.0, used_bytes=3)


def test_the_only_gpu_is_asked_without_a_start_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> None:
        raise AssertionError("a bench on the CPU must not start CUDA")

    nvml(monkeypatch, [10])
    monkeypatch.setattr(gpu, "import_pycuda", forbidden)
    assert asked() == GpuSample(percent=10.0, used_bytes=1)


@pytest.mark.parametrize("without", ["PyCUDA", "a GPU for CUDA"])
def test_without_cuda_the_first_gpu_is_asked(monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    def missing() -> None:
        raise EngineError("pycuda is not installed")

    nvml(monkeypatch, [10, 20])
    if without == "PyCUDA":
        monkeypatch.setattr(gpu, "import_pycuda", missing)
    else:
        cuda_on(monkeypatch, RuntimeError("no device"))
    assert asked() == GpuSample(percent=10.0, used_bytes=1)


def test_nothing_is_uploaded_where_cpu_and_gpu_share_the_memory() -> None:
    assert GpuLimits(CpuDevice(integrated=True)).upload_s(4096) is None
    apart_s = GpuLimits(CpuDevice(integrated=False)).upload_s(4096)
    assert apart_s is not None
    assert apart_s > 0.0
