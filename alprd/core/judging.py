"""What a health message gives reason to alert about.

Everything is judged from the message alone, so that whoever reads it can follow; unknown figures
raise nothing and clear nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from alprd.core.alerts import Finding

Sample = Mapping[str, Any]

# An alert ends only this far on the good side of its limit.
_COOLER_C: Final = 5.0
_MORE_ROOM: Final = 1.25
_LESS_WAIT: Final = 0.5
# Frames counted over some seconds are one more or less: a camera that keeps to its target gives
# now a little more and now a little less than it.
_FPS_TOLERANCE: Final = 0.9
_FPS_ENOUGH: Final = 0.95

_ROUND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What counts as bad.

    Attributes:
        temperature_c: a sensor at this or above.
        memory_free_share: less memory is free, 0..1.
        disk_free_share: less of the outbox's file system is free, 0..1.
        outbox_wait_s: an event has waited longer.
        min_fps: camera id -> frames per second that it should be looked at.
    """

    temperature_c: float
    memory_free_share: float
    disk_free_share: float
    outbox_wait_s: float
    min_fps: Mapping[str, float] = field(default_factory=dict)


def findings(sample: Sample, limits: Limits) -> list[Finding]:
    """One finding per thing that could be bad.

    Args:
        sample: a message of schema `alprd.health/1`; its alerts are not looked at.
        limits: what counts as bad.
    """
    return [
        *machine_findings(sample, limits),
        _outbox(sample, limits),
        _models(sample),
        *_cameras(sample, limits),
    ]


def machine_findings(sample: Sample, limits: Limits) -> list[Finding]:
    """As `findings`, of the machine alone."""
    return [
        *_temperatures(sample, limits),
        _throttling(sample),
        _memory(sample, limits),
        _disk(sample, limits),
        _clock(sample),
    ]


def _low(value: float | None, limit: float, enough: float) -> bool | None:
    """Whether a figure is too small; None between the limit and what is enough, or unknown."""
    if value is None or limit <= value < enough:
        return None
    return value < limit


def _enough(limit: float) -> float:
    """The free share that ends an alert; more than the limit, and never more than there is."""
    return min(limit * _MORE_ROOM, (1.0 + limit) / 2)


def _temperatures(sample: Sample, limits: Limits) -> Iterator[Finding]:
    for zone in _unique(sample["temperatures"] or ()):
        celsius = zone["c"]
        yield Finding(
            kind="over_temperature",
            subject=zone["name"],
            bad=_low(
                None if celsius is None else -celsius,
                # At the limit is too hot, so the least step above its negative is not yet.
                -limits.temperature_c + 1e-9,
                -limits.temperature_c + _COOLER_C,
            ),
            message=f"{zone['name']} is {celsius} C hot; clean the fan, give the housing air or "
            "choose a lower power mode",
            value=celsius,
            limit=limits.temperature_c,
        )


def _unique(zones: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The hottest of the sensors that share a name."""
    hottest: dict[str, Mapping[str, Any]] = {}
    for zone in zones:
        known = hottest.get(zone["name"])
        if known is None or (known["c"] if known["c"] is not None else -300.0) < (
            zone["c"] if zone["c"] is not None else -300.0
        ):
            hottest[zone["name"]] = zone
    return list(hottest.values())


def _throttling(sample: Sample) -> Finding:
    throttling = sample["throttling"]
    reasons = ", ".join(throttling["reasons"]) if throttling is not None else ""
    return Finding(
        kind="throttled",
        bad=None if throttling is None else bool(throttling["active"]),
        message=f"the machine slows itself down ({reasons}); check cooling and power supply",
    )


def _memory(sample: Sample, limits: Limits) -> Finding:
    memory = sample["memory"]
    share = None
    if memory is not None and memory["used_kb"] is not None and memory["total_kb"]:
        share = 1.0 - memory["used_kb"] / memory["total_kb"]
    limit = limits.memory_free_share
    return Finding(
        kind="low_memory",
        bad=_low(share, limit, _enough(limit)),
        message=f"{_percent(share)} of the memory is free; stop other programs or use "
        "fewer cameras",
        value=None if share is None else round(share, _ROUND),
        limit=limit,
    )


def _disk(sample: Sample, limits: Limits) -> Finding:
    disk = sample["disk"]
    share = None
    if disk is not None and disk["total_bytes"]:
        share = disk["free_bytes"] / disk["total_bytes"]
    limit = limits.disk_free_share
    return Finding(
        kind="disk_nearly_full",
        bad=_low(share, limit, _enough(limit)),
        message=f"{_percent(share)} of the outbox's disk is free; make room or set outbox.path to "
        "another disk",
        value=None if share is None else round(share, _ROUND),
        limit=limit,
    )


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100.0 * share:.1f} %"


def _clock(sample: Sample) -> Finding:
    clock = sample["clock"]
    return Finding(
        kind="clock_not_synchronised",
        bad=None if clock is None else not clock["synchronised"],
        message="nothing keeps the clock right, so the times in events may be wrong; set up NTP: "
        "timedatectl set-ntp true",
    )


def _outbox(sample: Sample, limits: Limits) -> Finding:
    outbox = sample["pipeline"]["outbox"]
    waited_s, limit_s = outbox["oldest_age_s"], limits.outbox_wait_s
    bad: bool | None = None
    if outbox["pending"] == 0 or (waited_s is not None and waited_s <= _LESS_WAIT * limit_s):
        bad = False
    elif waited_s is not None and waited_s > limit_s:
        bad = True
    return Finding(
        kind="outbox_growing",
        bad=bad,
        message=f"{outbox['pending']} events wait for the broker, the oldest for "
        f"{'?' if waited_s is None else round(waited_s)} s; see pipeline.delivery.last_error",
        value=None if waited_s is None else round(waited_s, 1),
        limit=limit_s,
    )


def _models(sample: Sample) -> Finding:
    models = sample["pipeline"]["models"]
    return Finding(
        kind="engine_mismatch",
        bad=models["mismatch"] is not None,
        message=models["mismatch"] or "",
    )


def _cameras(sample: Sample, limits: Limits) -> Iterator[Finding]:
    for camera in sample["pipeline"]["cameras"]:
        name, state = camera["id"], camera["state"]
        if state in ("disabled", "ended"):
            continue
        yield Finding(
            kind="camera_stalled",
            subject=name,
            bad=None if state is None else state != "online",
            message=f"{name} is {state}: {camera['last_error'] or 'no picture has come yet'}",
            value=camera["last_frame_age_s"],
        )
        picture = camera["picture"]
        yield Finding(
            kind="camera_blind",
            subject=name,
            bad=None if picture is None or state != "online" else picture != "clear",
            message=f"the picture of {name} is {picture}; {_BLIND.get(picture, '')}",
        )
        least = limits.min_fps.get(name)
        if least is not None:
            fps = camera["processed_fps"]
            yield Finding(
                kind="fps_below_target",
                subject=name,
                # A camera that gives nothing at all has an alert of its own.
                bad=None
                if state != "online"
                else _low(fps, least * _FPS_TOLERANCE, least * _FPS_ENOUGH),
                message=f"{name} is looked at {fps} times per second, wanted are {least:g}; lower "
                "the camera's resolution, set max_fps or use fewer cameras",
                value=fps,
                limit=least,
            )


_BLIND: Final[Mapping[str | None, str]] = {
    "black": "look for a cap on the lens, missing light or a dead sensor",
    "covered": "clean the lens and take away what hangs before it",
    "blurred": "focus it and clean the lens",
    "frozen": "restart the camera, which sends the same picture again and again",
}
