"""Did a consumer receive everything? The proof, from the messages themselves.

Every device numbers its events without a gap (`seq`), over restarts too, and announces the numbers
that will not come (schema alprd.gap/1). So what is neither received nor announced was lost on the
way. The numbers before the first and after the last one that was heard of are not judged.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeGuard

from alprd.core.events import SCHEMA as EVENT_SCHEMA

GAP_SCHEMA: Final = "alprd.gap/1"
MAX_SHOWN: Final = 100
"""Runs and conflicts that a report lists; all are counted."""

MAX_SEQ: Final = 2**63 - 1

Run = tuple[int, int]
"""The first and last of consecutive numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """From the picture to the subscriber, seconds by the two machines' clocks."""

    count: int
    min_s: float
    median_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """What was heard of one device.

    Attributes:
        device_id: its name.
        cameras: camera id -> different events.
        received: different events.
        duplicates: further messages with the same seq and event_id: resends.
        conflicts: (seq, event_id, another event_id) of numbers that were given twice, and of events
            that came with two numbers; at most `MAX_SHOWN`.
        conflict_count: how many there are.
        first_seq: the lowest number heard of; None when none was.
        last_seq: the highest.
        announced: numbers that did not come and were announced, by reason.
        unexplained: runs of those that were not announced; at most `MAX_SHOWN`.
        unexplained_count: how many numbers they are.
        delays: None when no event told its time.
        connects: how often the device came back after it had been away.
    """

    device_id: str
    cameras: Mapping[str, int]
    received: int
    duplicates: int
    conflicts: Sequence[tuple[int, str, str]]
    conflict_count: int
    first_seq: int | None
    last_seq: int | None
    announced: Mapping[str, int]
    unexplained: Sequence[Run]
    unexplained_count: int
    delays: Delays | None
    connects: int

    @property
    def is_complete(self) -> bool:
        """True when nothing was lost without an announcement and every number is one event's."""
        return not self.unexplained_count and not self.conflict_count


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """All devices, and messages on their topics that are none of alprd's."""

    devices: Sequence[DeviceReport]
    foreign: int

    @property
    def is_proven(self) -> bool:
        """True when there were events, and all of every device's."""
        return any(d.received for d in self.devices) and all(d.is_complete for d in self.devices)


@dataclass(slots=True)
class _Device:
    ids: dict[int, str] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    cameras: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    conflicts: list[tuple[int, str, str]] = field(default_factory=list)
    conflict_count: int = 0
    gaps: dict[str, list[Run]] = field(default_factory=dict)
    delays_s: array[float] = field(default_factory=lambda: array("d"))
    was_away: bool = False
    connects: int = 0


class Audit:
    """Takes messages in any order; `report` may be asked at any time.

    Args:
        first_seq: judge the numbers from this one on, also when the first ones heard of are higher;
            None judges from the lowest one heard of.
    """

    def __init__(self, *, first_seq: int | None = None) -> None:
        self._first_seq = first_seq
        self._devices: dict[str, _Device] = {}
        self._foreign = 0

    def take(self, topic: str, payload: bytes, *, received_at: datetime | None = None) -> None:
        """One message; those about something else than events, gaps and availability are ignored.

        Args:
            topic: where it was published.
            payload: as it came.
            received_at: aware wall time; None leaves its delay out.
        """
        levels = topic.split("/")
        kind = levels[-1]
        if kind == "availability" and len(levels) >= 3 and levels[-3] == "devices":
            self._take_availability(levels[-2], payload)
        elif kind in ("plates", "gaps"):
            message = _object(payload)
            taken = message is not None and (
                self._take_event(message, received_at)
                if kind == "plates"
                else self._take_gap(message)
            )
            self._foreign += not taken

    def report(self) -> AuditReport:
        """What is known so far."""
        return AuditReport(
            devices=[
                _report(name, self._devices[name], self._first_seq)
                for name in sorted(self._devices)
                if self._devices[name].ids or self._devices[name].gaps
            ],
            foreign=self._foreign,
        )

    def _device(self, name: str) -> _Device:
        return self._devices.setdefault(name, _Device())

    def _take_event(self, message: Mapping[str, Any], received_at: datetime | None) -> bool:
        seq, event_id = message.get("seq"), message.get("event_id")
        device_id, camera_id = message.get("device_id"), message.get("camera_id")
        if not (
            message.get("schema") == EVENT_SCHEMA
            and _is_seq(seq)
            and isinstance(event_id, str)
            and isinstance(device_id, str)
            and isinstance(camera_id, str)
        ):
            return False
        device = self._device(device_id)
        known_id, known_seq = device.ids.get(seq), device.seqs.get(event_id)
        if known_id == event_id:
            device.duplicates += 1
            return True
        if known_id is not None or known_seq is not None:
            device.conflict_count += 1
            if len(device.conflicts) < MAX_SHOWN:
                device.conflicts.append((seq, known_id or event_id, event_id))
        if known_id is None:
            device.ids[seq] = event_id
            device.cameras[camera_id] += 1
        device.seqs.setdefault(event_id, seq)
        captured_at = _time(message.get("captured_at"))
        if captured_at is not None and received_at is not None:
            device.delays_s.append((received_at - captured_at).total_seconds())
        return True

    def _take_gap(self, message: Mapping[str, Any]) -> bool:
        first, last, device_id = (message.get(k) for k in ("from_seq", "to_seq", "device_id"))
        if not (
            message.get("schema") == GAP_SCHEMA
            and _is_seq(first)
            and _is_seq(last)
            and first <= last
            and isinstance(device_id, str)
        ):
            return False
        reason = message.get("reason")
        runs = self._device(device_id).gaps.setdefault(
            reason if isinstance(reason, str) else "unknown", []
        )
        runs.append((first, last))
        return True

    def _take_availability(self, device_id: str, payload: bytes) -> None:
        device = self._device(device_id)
        if payload == b"online" and device.was_away:
            device.connects += 1
        device.was_away = payload != b"online"


def _report(name: str, device: _Device, first_seq: int | None) -> DeviceReport:
    received = sorted(device.ids)
    announced = {reason: _merged(runs) for reason, runs in device.gaps.items()}
    ends = [*received[:1], *received[-1:]]
    ends += [end for runs in announced.values() for run in (runs[0], runs[-1]) for end in run]
    first, last = min(ends), max(ends)
    missing = list(_holes(received, first if first_seq is None else min(first, first_seq), last))
    explained: dict[str, int] = {}
    for reason in sorted(announced):
        left = list(_minus(missing, announced[reason]))
        count = _size(missing) - _size(left)
        if count:
            explained[reason] = count
        missing = left
    return DeviceReport(
        device_id=name,
        cameras=dict(sorted(device.cameras.items())),
        received=len(received),
        duplicates=device.duplicates,
        conflicts=tuple(device.conflicts),
        conflict_count=device.conflict_count,
        first_seq=first,
        last_seq=last,
        announced=explained,
        unexplained=missing[:MAX_SHOWN],
        unexplained_count=_size(missing),
        delays=_delays(device.delays_s),
        connects=device.connects,
    )


def _delays(values: Iterable[float]) -> Delays | None:
    ordered = sorted(values)
    if not ordered:
        return None

    def rank(share: float) -> float:
        """The value that `share` of all do not exceed."""
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)

    return Delays(
        count=len(ordered),
        min_s=round(ordered[0], 3),
        median_s=rank(0.5),
        p95_s=rank(0.95),
        p99_s=rank(0.99),
        max_s=round(ordered[-1], 3),
    )


def _holes(ordered: Sequence[int], first: int, last: int) -> Iterator[Run]:
    """The runs from `first` to `last` that are not in `ordered`."""
    expected = first
    for seq in ordered:
        if seq > expected:
            yield expected, seq - 1
        expected = seq + 1
    if expected <= last:
        yield expected, last


def _merged(runs: Iterable[Run]) -> list[Run]:
    merged: list[Run] = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def _minus(runs: Sequence[Run], others: Sequence[Run]) -> Iterator[Run]:
    """What of `runs` is not in `others`; both in order and without overlaps."""
    place = 0
    for first, last in runs:
        start = first
        while place < len(others) and others[place][1] < start:
            place += 1
        at = place
        while at < len(others) and others[at][0] <= last:
            if others[at][0] > start:
                yield start, others[at][0] - 1
            start = others[at][1] + 1
            at += 1
        if start <= last:
            yield start, last


def _size(runs: Iterable[Run]) -> int:
    return sum(last - first + 1 for first, last in runs)


def _is_seq(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SEQ


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _time(value: object) -> datetime | None:
    try:
        # Python 3.10's fromisoformat does not know "Z".
        at = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
