"""The calls of NVIDIA's driver, to a stand-in for its library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alprd.cameras import gpu_driver
from alprd.cameras.gpu_driver import CudaDriver, GpuError

OUT_OF_MEMORY = 2


class Library:
    """Succeeds at everything but what `failing` names; a handle or address is a new number."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failing: set[str] = set()
        self._made = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name == "cuGetErrorString":
                arguments[1]._obj.value = b"out of memory"
                return 0
            if name in self.failing:
                return OUT_OF_MEMORY
            if name.endswith("Create") or "Alloc" in name or name.endswith("Retain"):
                self._made += 1
                arguments[0]._obj.value = self._made
            return 0

        setattr(self, name, call)
        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(gpu_driver.ctypes, "CDLL", lambda _name: made)
    return made


def test_who_waits_for_the_gpu_sleeps(library: Library) -> None:
    driver = CudaDriver()
    with driver.current():
        stream = driver.new_stream()
    library.calls.clear()
    with driver.current():
        driver.synchronize(stream)
    assert not library.named("cuStreamSynchronize"), "it would spin"
    ((event, recorded_on),) = library.named("cuEventRecord")
    assert recorded_on == stream
    assert library.named("cuEventSynchronize") == [(event,)]


def test_a_copy_into_memory_is_there_when_the_call_returns(library: Library) -> None:
    driver = CudaDriver()
    library.calls.clear()
    driver.fetch((4096, 256), np.zeros((2, 16), np.uint8))
    names = [name for name, _ in library.calls]
    assert names == [
        "cuCtxPushCurrent_v2",
        "cuMemcpy2DAsync_v2",
        "cuEventRecord",
        "cuEventSynchronize",
        "cuCtxPopCurrent_v2",
    ]
    copy_stream = library.named("cuMemcpy2DAsync_v2")[0][1]
    assert library.named("cuEventRecord")[0][1] == copy_stream


def test_each_stream_has_an_event_that_sleeps_and_goes_with_it(library: Library) -> None:
    driver = CudaDriver()
    library.calls.clear()
    with driver.current():
        one, other = driver.new_stream(), driver.new_stream()
    assert [flags for _, flags in library.named("cuEventCreate")] == [3, 3]
    with driver.current():
        driver.synchronize(one)
        driver.synchronize(other)
    waited = [event for (event,) in library.named("cuEventSynchronize")]
    assert len(set(waited)) == 2
    driver.destroy_stream(one)
    driver.destroy_stream(other)
    assert [event for (event,) in library.named("cuEventDestroy_v2")] == waited
    assert library.named("cuStreamDestroy_v2") == [(one,), (other,)]


def test_a_stream_that_the_gpu_does_not_give_leaves_nothing_behind(library: Library) -> None:
    driver = CudaDriver()
    library.failing = {"cuStreamCreate"}
    with pytest.raises(GpuError, match="out of memory"), driver.current():
        driver.new_stream()
    assert len(library.named("cuEventDestroy_v2")) == 1
    assert library.calls[-1][0] == "cuCtxPopCurrent_v2"
