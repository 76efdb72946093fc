"""The health message `alprd.health/1`: every figure with its source, unknown is null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from alprd.core.tegrastats import Core, TegraSample, Unit
from alprd.host import proc
from alprd.host.clock import clock_state
from alprd.host.throttling import ThrottleWatch, power_mode

SCHEMA: Final = "alprd.health/1"

FIGURES: Final = (
    "cpu",
    "memory",
    "swap",
    "temperatures",
    "gpu",
    "gpu_memory",
    "memory_controller",
    "engines",
    "power",
    "throttling",
    "power_mode",
    "clock",
)
"""Figures of the machine that can come from several sources, each None where nobody tells."""

Figures = dict[str, Any]


class HostMeter:
    """Measures the machine from /proc and /sys; loads are means since the measurement before.

    Args:
        root: of the file system.
        clock_state: tells whether the clock is synchronised.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        clock_state: Callable[[], Figures | None] = clock_state,
    ) -> None:
        self._root = root
        self._former = proc.cpu_times(root)
        self._throttling = ThrottleWatch(root)
        self._clock_state = clock_state

    def cpu(self) -> Figures | None:
        """Load and clocks of the cores; loads are null until some time has passed."""
        times = proc.cpu_times(self._root)
        former, self._former = self._former, times
        if not times:
            return None
        loads = {n: t.load_pct(former[n]) if n in former else None for n, t in times.items()}
        numbers = sorted(int(n[3:]) for n in times if n[3:].isdecimal())
        return {
            "load_pct": loads.get("cpu"),
            "cores": [
                {
                    "core": n,
                    "online": True,
                    "load_pct": loads[f"cpu{n}"],
                    "mhz": proc.core_mhz(self._root, n),
                }
                for n in numbers
            ],
        }

    def memory(self) -> Figures | None:
        """Memory in use, which no other program could have without swapping."""
        fields = proc.memory_kb(self._root)
        total = fields.get("MemTotal")
        if total is None:
            return None
        free = fields.get("MemAvailable")
        return {"used_kb": None if free is None else total - free, "total_kb": total}

    def swap(self) -> Figures | None:
        """Swap space; a machine without has a total of 0."""
        fields = proc.memory_kb(self._root)
        total, free = fields.get("SwapTotal"), fields.get("SwapFree")
        if total is None or free is None:
            return None
        return {"used_kb": total - free, "total_kb": total}

    def temperatures(self) -> list[Figures] | None:
        """All sensors that answer."""
        listed = proc.temperatures_c(self._root)
        return [{"name": name, "c": round(c, 1), "max_c": None} for name, c in listed] or None

    def throttling(self) -> Figures | None:
        """Whether the machine has slowed itself down since the look before."""
        return self._throttling.look()

    def power_mode(self) -> Figures | None:
        """A Jetson's."""
        return power_mode(self._root)

    def clock(self) -> Figures | None:
        """Whether it is kept right."""
        return self._clock_state()

    def process(self) -> Figures:
        """The daemon itself."""
        return {
            "memory_kb": proc.process_memory_kb(self._root),
            "open_files": proc.process_files(self._root),
        }

    def machine(self) -> Figures:
        """The machine as a whole."""
        load = proc.load_average(self._root)
        return {
            "uptime_s": proc.uptime_s(self._root),
            "load_average": None if load is None else list(load),
        }


def tegra_figures(sample: TegraSample) -> dict[str, Any]:
    """The figures of a tegrastats line, by their name in the message; only those it has."""
    found: dict[str, Any] = {}
    if sample.cores:
        found["cpu"] = {
            "load_pct": _mean_load(sample.cores),
            "cores": [
                {"core": n, "online": c.online, "load_pct": c.load_pct, "mhz": c.mhz}
                for n, c in enumerate(sample.cores)
            ],
        }
    if sample.ram is not None:
        found["memory"] = {"used_kb": sample.ram.used_kb, "total_kb": sample.ram.total_kb}
    if sample.swap is not None:
        found["swap"] = {"used_kb": sample.swap.used_kb, "total_kb": sample.swap.total_kb}
    if sample.gpus:
        found["gpu"] = [_unit(gpu) for gpu in sample.gpus]
    if sample.emc is not None:
        found["memory_controller"] = _unit(sample.emc)
    if sample.engines:
        found["engines"] = [_unit(engine) for engine in sample.engines]
    measured = [zone for zone in sample.zones if not zone.constant]
    if measured:
        found["temperatures"] = [
            {"name": z.name.lower(), "c": z.c, "max_c": z.max_c} for z in measured
        ]
    if sample.rails:
        found["power"] = {
            "input_mw": sample.input_mw,
            "rails": [
                {"name": r.name, "mw": r.mw, "mean_mw": r.mean_mw, "peak_mw": r.peak_mw}
                for r in sample.rails
            ],
        }
    return found


def _mean_load(cores: tuple[Core, ...]) -> float | None:
    loads = [core.load_pct for core in cores if core.load_pct is not None]
    return round(sum(loads) / len(loads), 1) if loads else None


def _unit(unit: Unit) -> Figures:
    return {
        "name": unit.name,
        "on": unit.on,
        "load_pct": unit.load_pct,
        "mhz": list(unit.mhz) or None,
    }


def health_sample(
    *,
    at: str,
    device_id: str,
    meter: HostMeter,
    tegra: TegraSample | None,
    tegrastats: Mapping[str, Any] | None,
    gpus: Mapping[str, Any],
    disk_folder: Path,
    pipeline: Mapping[str, Any],
    disk_bytes: Callable[[Path], tuple[int, int] | None] = proc.disk_bytes,
) -> Figures:
    """The whole message, before anybody judged it.

    Args:
        at: the time, UTC.
        device_id: this device's name in topics.
        meter: measures what tegrastats does not say.
        tegra: the newest line, if there is a current one.
        tegrastats: the state of the program itself; None on a machine without it.
        gpus: what the driver of discrete GPUs says.
        disk_folder: where the outbox lies.
        pipeline: the daemon's own figures.
        disk_bytes: (free, total) of the file system that holds a folder.
    """
    known: dict[str, tuple[Any, str]] = {
        name: (value, "kernel")
        for name, value in {
            "cpu": meter.cpu(),
            "memory": meter.memory(),
            "swap": meter.swap(),
            "temperatures": meter.temperatures(),
            "throttling": meter.throttling(),
            "power_mode": meter.power_mode(),
            "clock": meter.clock(),
        }.items()
        if value is not None
    }
    for name, value in gpus.items():
        known[name] = _joined(known[name], value) if name in known else (value, "nvml")
    if tegra is not None:
        known |= {name: (value, "tegrastats") for name, value in tegra_figures(tegra).items()}
    disk = disk_bytes(disk_folder)
    return {
        "schema": SCHEMA,
        "device_id": device_id,
        "at": at,
        "machine": meter.machine(),
        "process": meter.process(),
        **{name: known[name][0] if name in known else None for name in FIGURES},
        "disk": None if disk is None else {"free_bytes": disk[0], "total_bytes": disk[1]},
        "pipeline": dict(pipeline),
        "tegrastats": None if tegrastats is None else dict(tegrastats),
        "sources": {name: known[name][1] if name in known else None for name in FIGURES},
        "alerts": [],
    }


def _joined(
    one: tuple[Any, str],
    other: Any,  # noqa: ANN401 -- as the message's figures
) -> tuple[Any, str]:
    """What two sources say about the same: sensors of both, and slowdowns of either."""
    value, source = one
    if isinstance(value, list):
        return [*value, *other], f"{source}, nvml"
    return {
        "active": value["active"] or other["active"],
        "reasons": [*value["reasons"], *other["reasons"]],
    }, f"{source}, nvml"
