"""Discrete NVIDIA GPUs, through NVIDIA's own library where it is installed (nvidia-ml-py).

The Python package and the driver are both optional. What the driver does not tell is None.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import structlog

from alprd.ports import Clock

log = structlog.get_logger(__name__)

_Found = TypeVar("_Found")

Figures = dict[str, Any]

_RETRY_S = 60.0

# Slowdowns that somebody should look into; a power cap that does its work is none of them.
_SLOWDOWNS = {
    "nvmlClocksThrottleReasonSwThermalSlowdown": "GPU too hot",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "GPU much too hot",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "GPU power brake",
    "nvmlClocksThrottleReasonHwSlowdown": "GPU slowdown",
}


class GpuMeter:
    """Asks the driver about all GPUs; used by one thread, which must `close` it.

    Args:
        load: imports the library; raises ImportError where it is missing.
    """

    def __init__(
        self, load: Callable[[], ModuleType] = lambda: importlib.import_module("pynvml")
    ) -> None:
        self._library: Any = None
        try:
            library: Any = load()
        except ImportError:
            return
        try:
            library.nvmlInit()
        except library.NVMLError as error:  # no driver, or one that does not fit the library
            log.debug("nvml.unavailable", error=str(error))
            return
        self._library = library

    @property
    def available(self) -> bool:
        """Whether a driver answers."""
        return self._library is not None

    def close(self) -> None:
        """Let go of the driver."""
        library, self._library = self._library, None
        if library is not None:
            _asked(library, library.nvmlShutdown)

    def figures(self) -> Figures:
        """What the GPUs say, by their name in the health message; only what they say."""
        library = self._library
        count = _asked(library, library.nvmlDeviceGetCount) if library is not None else None
        gpus, zones, rails, memories = [], [], [], []
        reasons: set[str] = set()
        tells_reasons = False
        for index in range(count or 0):
            gpu = _asked(library, library.nvmlDeviceGetHandleByIndex, index)
            if gpu is None:
                continue
            name = f"gpu{index}"
            load = _asked(library, library.nvmlDeviceGetUtilizationRates, gpu)
            clock = _asked(library, library.nvmlDeviceGetClockInfo, gpu, library.NVML_CLOCK_SM)
            gpus.append(
                {
                    "name": _text(_asked(library, library.nvmlDeviceGetName, gpu)) or name,
                    "on": True,
                    "load_pct": None if load is None else load.gpu,
                    "mhz": None if clock is None else [clock],
                }
            )
            memory = _asked(library, library.nvmlDeviceGetMemoryInfo, gpu)
            if memory is not None:
                memories.append(
                    {
                        "name": name,
                        "used_kb": memory.used // 1024,
                        "total_kb": memory.total // 1024,
                    }
                )
            celsius = _asked(
                library, library.nvmlDeviceGetTemperature, gpu, library.NVML_TEMPERATURE_GPU
            )
            if celsius is not None:
                zones.append({"name": name, "c": float(celsius), "max_c": None})
            power = _asked(library, library.nvmlDeviceGetPowerUsage, gpu)
            if power is not None:
                rails.append({"name": name, "mw": float(power), "mean_mw": None, "peak_mw": None})
            slowed = _asked(library, library.nvmlDeviceGetCurrentClocksThrottleReasons, gpu)
            if slowed is not None:
                tells_reasons = True
                reasons |= {
                    text for key, text in _SLOWDOWNS.items() if slowed & getattr(library, key, 0)
                }
        found: Figures = {}
        if gpus:
            found["gpu"] = gpus
        if memories:
            found["gpu_memory"] = memories
        if zones:
            found["temperatures"] = zones
        if rails:
            found["power"] = {"input_mw": None, "rails": rails}
        if tells_reasons:
            found["throttling"] = {"active": bool(reasons), "reasons": sorted(reasons)}
        return found


class PatientGpuMeter:
    """Figures of a driver that may be loaded late or exchanged; used by one thread.

    Args:
        make: asks the driver.
        clock: monotonic seconds.
    """

    def __init__(
        self, make: Callable[[], GpuMeter] = GpuMeter, *, clock: Clock = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._meter: GpuMeter | None = None
        self._next_s = clock()

    def figures(self) -> Figures:
        """What the GPUs say; nothing while no driver answers, which is tried again."""
        if self._meter is None:
            now_s = self._clock()
            if now_s < self._next_s:
                return {}
            self._next_s = now_s + _RETRY_S
            self._meter = self._make()
        # Whatever goes wrong, the driver is opened anew.
        meter, self._meter = self._meter, None
        figures = meter.figures()
        if figures:
            self._meter = meter
        else:
            meter.close()
        return figures

    def close(self) -> None:
        """Let go of the driver."""
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.close()


def _asked(
    library: Any,  # noqa: ANN401 -- a module without types
    ask: Callable[..., _Found],
    *arguments: object,
) -> _Found | None:
    """The answer; None where this GPU or driver cannot tell."""
    try:
        return ask(*arguments)
    except library.NVMLError:
        return None


def _text(name: str | bytes | None) -> str | None:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
