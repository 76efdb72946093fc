"""Whether the machine slows itself down, and which power mode it is in; None where nobody tells."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alprd.ports import Clock

_BURST_S = 60.0
# Cooling devices of a Jetson that only act when something is too hot or draws too much.
_ALERTS = re.compile(r"throttle-alert|hot-surface-alert")
_POWER_MODEL = re.compile(r"(?m)^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)")
_MODE = re.compile(r"pmode:(\d+)")


class ThrottleWatch:
    """Looks at what counts slowdowns; one that was counted within the last minute is active.

    Slowdowns come in bursts: between two of them the machine is no better off.

    Args:
        root: of the file system.
        clock: monotonic seconds.
    """

    def __init__(self, root: Path = Path("/"), *, clock: Clock = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._former = self._counters()
        self._counted_s: dict[str, float] = {}

    def look(self) -> dict[str, Any] | None:
        """`{"active", "reasons"}`; None on a machine that does not tell."""
        now_s = self._clock()
        counters, former = self._counters(), self._former
        self._former = counters
        for name, count in counters.items():
            if count > former.get(name, count):
                self._counted_s[name] = now_s
        alerts = list(self._alerts())
        if not counters and not alerts:
            return None
        reasons = {name for name, at_s in self._counted_s.items() if now_s - at_s < _BURST_S}
        reasons |= {name for name, is_active in alerts if is_active}
        return {"active": bool(reasons), "reasons": sorted(reasons)}

    def _counters(self) -> dict[str, int]:
        found: dict[str, int] = {}
        # Over-current events of a Jetson (Orin and later), then an x86 processor's own counters.
        for path in (
            *sorted(self._root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")),
            *sorted(self._root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_count")),
        ):
            count = _integer(path)
            if count is not None:
                name = path.name.removesuffix("_event_cnt").removesuffix("_throttle_count")
                name = f"over-current {name}" if path.name.startswith("oc") else f"{name} too hot"
                found[name] = found.get(name, 0) + count
        return found

    def _alerts(self) -> Iterator[tuple[str, bool]]:
        for device in sorted(self._root.glob("sys/class/thermal/cooling_device*")):
            kind = _text(device / "type") or ""
            state = _integer(device / "cur_state") if _ALERTS.search(kind) else None
            if state is not None:
                yield kind, state > 0


def power_mode(root: Path = Path("/")) -> dict[str, Any] | None:
    """A Jetson's nvpmodel, `{"id", "name"}`, as it was last set."""
    mode = _MODE.search(_text(root / "var/lib/nvpmodel/status") or "")
    if mode is None:
        return None
    number = int(mode[1])
    names = _POWER_MODEL.findall(_text(root / "etc/nvpmodel.conf") or "")
    return {"id": number, "name": next((name for n, name in names if int(n) == number), None)}


def _integer(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
