"""The GPU's context as PyCUDA shows it: taken once, given back whatever happened."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alprd.inference import cuda as cuda_module
from alprd.inference.cuda import Cuda
from alprd.inference.cuda_graphs import GraphError
from alprd.ports import EngineError, EngineUnavailable
from alprd.stillness import STILLNESS


class CudaError(Exception):
    pass


class ScarceError(CudaError):
    pass


class Driver(ModuleType):
    """A `pycuda.driver`; `held` is what was taken and not given back.

    One that is `lost` fails whatever is asked; one that `refuses` takes no kernels.
    """

    Error = CudaError
    MemoryError = ScarceError

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.released = 0
        self.held = 0
        self.pushed = 0
        self.lost = False
        self.refuses = False
        self.get_driver_version = lambda: 12_020
        self.device_attribute = SimpleNamespace(MULTIPROCESSOR_COUNT=0, INTEGRATED=1)
        self.host_alloc_flags = SimpleNamespace(DEVICEMAP=1, PORTABLE=2)
        self.event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)
        driver = self

        class Ordering:
            """A stream or an event: gone with the last reference, if its context is current."""

            handle = 1 << 40

            def __init__(self, _flags: int) -> None:
                driver.held += 1

            def __del__(self) -> None:
                driver.held -= driver.pushed > 0

        self.Stream = self.Event = Ordering
        self.Context = SimpleNamespace(pop=self.pop, synchronize=self.asked)

        class Device:
            count = staticmethod(lambda: 1)

            def __init__(self, number: int) -> None:
                assert number == 0

            name = staticmethod(lambda: "Orin")
            compute_capability = staticmethod(lambda: (8, 7))
            total_memory = staticmethod(lambda: 8 << 30)
            get_attribute = staticmethod(lambda _: 1)
            retain_primary_context = staticmethod(self.retain)

        self.Device = Device

    def init(self) -> None:
        pass

    def asked(self) -> None:
        if self.lost:
            raise CudaError("an illegal memory access was encountered")

    def retain(self) -> SimpleNamespace:
        self.held += 1
        return SimpleNamespace(push=self.push, detach=self.release)

    def push(self) -> None:
        self.pushed += 1

    def pop(self) -> None:
        self.pushed -= 1

    def release(self) -> None:
        self.held -= 1
        self.pushed -= 1
        self.released += 1
        self.asked()

    def module_from_buffer(self, _ptx: bytes) -> Any:
        if self.refuses:
            raise CudaError("unsupported toolchain")
        return SimpleNamespace(get_function=lambda _: SimpleNamespace(prepare=lambda _: None))

    def mem_alloc(self, _size: int) -> Any:
        self.held += 1
        number = self.held

        class Block:
            __int__ = staticmethod(lambda: number)
            free = staticmethod(self.free)

        return Block()

    def free(self) -> None:
        self.held -= 1
        self.asked()

    def pagelocked_empty(self, size: int, _type: Any, mem_flags: int) -> Any:
        assert mem_flags
        self.held += 1

        class Pinned(np.ndarray):
            base = SimpleNamespace(free=self.free)

        return np.zeros(size, np.uint8).view(Pinned)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", made)
    return made


def busy() -> Cuda:
    """With memory of both kinds."""
    cuda = Cuda()
    with cuda.current():
        for _ in range(2):
            cuda.allocate(8, "a test")
            cuda.pinned(8, "a test")
            cuda.stream()
            cuda.event()
    return cuda


def test_a_closed_gpu_has_given_everything_back(driver: Driver) -> None:
    cuda = busy()
    assert driver.held == 9
    cuda.close()
    cuda.close()
    assert (driver.held, driver.pushed) == (0, 0)
    with pytest.raises(EngineError, match="given back"), cuda.current():
        pass


def test_a_gpu_that_failed_is_given_back_without_a_word_more(driver: Driver) -> None:
    """The next one gets a context that is good again; the first error is the one that is told."""
    cuda = busy()
    driver.lost = True
    with pytest.raises(EngineUnavailable, match="illegal memory access"), cuda.current():
        cuda.synchronize()
    cuda.close()
    cuda.close()
    assert driver.released == 1
    assert (driver.held, driver.pushed) == (0, 0)


def test_kernels_that_the_driver_refuses_are_told_and_leave_no_context(driver: Driver) -> None:
    driver.refuses = True
    with pytest.raises(EngineError, match=r"kernels are refused by the driver of Orin"):
        Cuda()
    assert driver.held == 0


def test_a_driver_that_is_too_old_is_told_before_a_context_is_taken(driver: Driver) -> None:
    driver.get_driver_version = lambda: 11_030
    with pytest.raises(EngineError, match=r"runs CUDA 11\.3.*11\.4 or later") as refused:
        Cuda()
    assert not isinstance(refused.value, EngineUnavailable)
    assert driver.held == 0


def test_who_waits_for_the_whole_gpu_ends_nobodys_capture(driver: Driver) -> None:
    """The driver takes it for the end of every capture in the context."""
    stills: list[bool] = []

    def asked() -> None:
        with STILLNESS.captured() as still:
            stills.append(still)

    cuda = Cuda()
    driver.Context.synchronize = asked
    with cuda.current():
        cuda.synchronize()
        asked()
    assert stills == [False, True]
    cuda.close()


def test_work_is_captured_on_the_stream_that_it_is_given(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    made = SimpleNamespace(capture=lambda *given: asked.append(given))
    monkeypatch.setattr(cuda_module, "GraphDriver", lambda: made)
    driver.Stream = lambda _flags: SimpleNamespace(handle=1 << 40)  # type: ignore[attr-defined]
    cuda = Cuda()
    with cuda.current():
        work = [].clear
        cuda.capture(cuda.stream(), work)
    assert asked == [(1 << 40, work)]
    cuda.close()


def test_a_driver_without_graphs_is_no_reason_not_to_start(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise GraphError("this NVIDIA driver has no CUDA graphs")

    monkeypatch.setattr(cuda_module, "GraphDriver", missing)
    driver.Stream = lambda _flags: SimpleNamespace(handle=1)  # type: ignore[attr-defined]
    cuda = Cuda()
    with cuda.current(), pytest.raises(GraphError, match="no CUDA graphs"):
        cuda.capture(cuda.stream(), [].clear)
    cuda.close()
