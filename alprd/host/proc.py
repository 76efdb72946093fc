"""What Linux tells about a machine under /proc and /sys; None for what it does not tell.

Every function takes the root of the file system, so that tests read a tree of their own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A block that is off, or a sensor that is not fitted, reports a temperature that cannot be.
_PLAUSIBLE_C = (-100.0, 250.0)
# A Jetson's PMIC-Die reports 100 degrees, whatever it has.
_CONSTANT = "pmic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """Ticks since the start of the machine."""

    busy: int
    total: int

    def load_pct(self, former: CpuTimes) -> float | None:
        """Load since the former reading, percent; None when no tick has passed."""
        total = self.total - former.total
        if total <= 0:
            return None
        return round(min(max(100.0 * (self.busy - former.busy) / total, 0.0), 100.0), 1)


def cpu_times(root: Path) -> dict[str, CpuTimes]:
    """Ticks by name: "cpu" for all together, "cpu0", "cpu1", ... for those that are online."""
    times = {}
    for line in _lines(root / "proc/stat"):
        name, *numbers = line.split()
        if name.startswith("cpu") and len(numbers) >= 5:
            with contextlib.suppress(ValueError):
                # user nice system idle iowait irq softirq steal; guest is part of user.
                ticks = [int(n) for n in numbers[:8]]
                total = sum(ticks)
                times[name] = CpuTimes(busy=total - ticks[3] - ticks[4], total=total)
    return times


def core_mhz(root: Path, core: int) -> int | None:
    """The core's present clock."""
    khz = _integer(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")
    return None if khz is None else khz // 1000


def memory_kb(root: Path) -> dict[str, int]:
    """The fields of /proc/meminfo."""
    fields = {}
    for line in _lines(root / "proc/meminfo"):
        name, _, rest = line.partition(":")
        number = rest.split()[:1]
        if number and number[0].isdecimal():
            fields[name] = int(number[0])
    return fields


def temperatures_c(root: Path) -> list[tuple[str, float]]:
    """(sensor, degrees) of the thermal zones; of hardware monitors where there are no zones."""
    return list(_thermal_zones(root)) or list(_hardware_monitors(root))


def _thermal_zones(root: Path) -> Iterator[tuple[str, float]]:
    for zone in _sorted(root / "sys/class/thermal", "thermal_zone"):
        # As the health message calls what tegrastats says: an alert lives on when one source goes.
        name = (_text(zone / "type") or zone.name).lower()
        celsius = None if name.startswith(_CONSTANT) else _celsius(zone / "temp")
        if celsius is not None:
            yield name.removesuffix("-thermal").removesuffix("-therm"), celsius


def _hardware_monitors(root: Path) -> Iterator[tuple[str, float]]:
    for monitor in _sorted(root / "sys/class/hwmon", "hwmon"):
        name = _text(monitor / "name") or monitor.name
        for sensor in _sorted(monitor, "temp"):
            celsius = _celsius(sensor) if sensor.name.endswith("_input") else None
            if celsius is not None:
                label = _text(monitor / sensor.name.replace("_input", "_label"))
                yield (f"{name} {label}" if label else name), celsius


def uptime_s(root: Path) -> float | None:
    """Seconds since the machine started."""
    text = _text(root / "proc/uptime")
    try:
        return float(text.split()[0]) if text else None
    except ValueError:
        return None


def load_average(root: Path) -> tuple[float, ...] | None:
    """Runnable tasks, mean of the last 1, 5 and 15 minutes."""
    text = _text(root / "proc/loadavg")
    try:
        return tuple(float(n) for n in text.split()[:3]) if text else None
    except ValueError:
        return None


def process_memory_kb(root: Path) -> int | None:
    """This process's resident memory."""
    for line in _lines(root / "proc/self/status"):
        if line.startswith("VmRSS:"):
            number = line.split()[1:2]
            return int(number[0]) if number and number[0].isdecimal() else None
    return None


def process_files(root: Path) -> int | None:
    """This process's open files."""
    try:
        return len(os.listdir(root / "proc/self/fd"))
    except OSError:
        return None


def disk_bytes(folder: Path) -> tuple[int, int] | None:
    """(free for this user, total) of the file system that holds the folder."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize


def _celsius(path: Path) -> float | None:
    millidegrees = _integer(path)
    if millidegrees is None:
        return None
    celsius = millidegrees / 1000
    return celsius if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1] else None


def _sorted(folder: Path, prefix: str) -> list[Path]:
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]


def _lines(path: Path) -> list[str]:
    return [line for line in (_text(path) or "").splitlines() if line.strip()]


def _integer(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # absent, or a sensor whose block is off
        return None
