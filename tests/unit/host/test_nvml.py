"""Discrete GPUs through NVIDIA's library, which may be missing, and drivers that tell little."""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from alprd.host.nvml import GpuMeter, PatientGpuMeter


class _Error(Exception):
    """The library's own."""


def library(*, driver: bool = True, deaf: frozenset[str] = frozenset(), slowed: int = 0) -> Any:
    """NVIDIA's library as it answers for one GPU; it needs a GPU, which no test machine has."""
    made: Any = ModuleType("pynvml")
    made.NVMLError = _Error
    made.NVML_CLOCK_SM = 1
    made.NVML_TEMPERATURE_GPU = 0
    made.nvmlClocksThrottleReasonSwThermalSlowdown = 0x20
    made.nvmlClocksThrottleReasonHwThermalSlowdown = 0x40
    answers: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "gpu",
        "nvmlDeviceGetName": b"NVIDIA T4",
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37, memory=5),
        "nvmlDeviceGetClockInfo": 1590,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=1024 * 2048, total=1024 * 8192),
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetPowerUsage": 68_500,
        "nvmlDeviceGetCurrentClocksThrottleReasons": slowed,
    }

    def answer(name: str) -> Any:
        def asked(*_: object) -> Any:
            if name in deaf or not driver:
                raise _Error(name)
            return answers[name]

        return asked

    for name in answers:
        setattr(made, name, answer(name))
    return made


def test_a_machine_without_the_library_or_driver_has_no_figures() -> None:
    for load in (
        lambda: importlib.import_module("alprd.no_such_library"),
        lambda: library(driver=False),
    ):
        meter = GpuMeter(load)
        assert not meter.available
        assert meter.figures() == {}
        meter.close()


def test_a_gpu_tells_load_clock_memory_temperature_and_power() -> None:
    meter = GpuMeter(library)
    assert meter.available
    assert meter.figures() == {
        "gpu": [{"name": "NVIDIA T4", "on": True, "load_pct": 37, "mhz": [1590]}],
        "gpu_memory": [{"name": "gpu0", "used_kb": 2048, "total_kb": 8192}],
        "temperatures": [{"name": "gpu0", "c": 61.0, "max_c": None}],
        "power": {
            "input_mw": None,
            "rails": [{"name": "gpu0", "mw": 68500.0, "mean_mw": None, "peak_mw": None}],
        },
        "throttling": {"active": False, "reasons": []},
    }
    meter.close()
    assert meter.figures() == {}


def test_a_slowdown_has_its_reason() -> None:
    figures = GpuMeter(lambda: library(slowed=0x60)).figures()
    assert figures["throttling"] == {"active": True, "reasons": ["GPU much too hot", "GPU too hot"]}


@pytest.mark.parametrize("name", ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetClockInfo"])
def test_what_a_driver_cannot_tell_is_unknown_and_not_zero(name: str) -> None:
    (gpu,) = GpuMeter(lambda: library(deaf=frozenset({name}))).figures()["gpu"]
    assert gpu["load_pct" if "Utilization" in name else "mhz"] is None


def test_a_driver_that_is_gone_gives_nothing() -> None:
    gone = frozenset({"nvmlDeviceGetCount", "nvmlShutdown"})
    meter = GpuMeter(lambda: library(deaf=gone))
    assert meter.figures() == {}
    meter.close()


def test_a_driver_that_is_loaded_late_or_goes_and_comes_back_is_found() -> None:
    now_s, answers = [0.0], [False]
    made: list[float] = []

    def make() -> GpuMeter:
        made.append(now_s[0])
        return GpuMeter(lambda: library(driver=answers[0]))

    meter = PatientGpuMeter(make, clock=lambda: now_s[0])
    for at_s in (0.0, 5.0, 59.0):
        now_s[0] = at_s
        assert meter.figures() == {}
    answers[0] = True
    assert meter.figures() == {}
    now_s[0] = 60.0
    assert "gpu" in meter.figures()
    now_s[0] = 65.0
    assert "gpu" in meter.figures()
    assert made == [0.0, 60.0]
    meter.close()


def test_a_driver_whose_library_surprised_is_opened_anew_a_minute_later() -> None:
    now_s = [0.0]
    libraries = [library(), library()]
    meter = PatientGpuMeter(lambda: GpuMeter(lambda: libraries.pop(0)), clock=lambda: now_s[0])
    del libraries[0].nvmlDeviceGetName
    with pytest.raises(AttributeError):
        meter.figures()
    assert meter.figures() == {}
    now_s[0] = 60.0
    assert "gpu" in meter.figures()
