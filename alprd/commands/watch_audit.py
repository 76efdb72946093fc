"""`alprd watch --audit`: what the audit found, for people and for programs."""

from __future__ import annotations

from typing import Any, Final

from alprd.commands.watch_view import plain_text
from alprd.core.audit import AuditReport, DeviceReport

AUDIT_SCHEMA: Final = "alprd.audit/1"
SHOWN: Final = 10
"""Runs and conflicts that the text names."""


def report_json(report: AuditReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "schema": AUDIT_SCHEMA,
        "proven": report.is_proven,
        "foreign_messages": report.foreign,
        "devices": [
            {
                "device_id": d.device_id,
                "complete": d.is_complete,
                "received": d.received,
                "duplicates": d.duplicates,
                "first_seq": d.first_seq,
                "last_seq": d.last_seq,
                "announced_missing": dict(d.announced),
                "unexplained_missing": d.unexplained_count,
                "unexplained_runs": [list(run) for run in d.unexplained],
                "conflicts": d.conflict_count,
                "conflict_examples": [
                    {"seq": seq, "event_id": one, "other_event_id": other}
                    for seq, one, other in d.conflicts
                ],
                "cameras": dict(d.cameras),
                "reconnects": d.connects,
                "delay_s": None
                if d.delays is None
                else {
                    "count": d.delays.count,
                    "min": d.delays.min_s,
                    "median": d.delays.median_s,
                    "p95": d.delays.p95_s,
                    "p99": d.delays.p99_s,
                    "max": d.delays.max_s,
                },
            }
            for d in report.devices
        ],
    }


def report_lines(report: AuditReport) -> list[str]:
    """The report for people; the last line is the verdict."""
    lines = [line for device in report.devices for line in _device_lines(device)]
    if report.foreign:
        lines.append(f"{report.foreign} messages on alprd's topics are none of alprd's")
    received = sum(d.received for d in report.devices)
    lost = sum(d.unexplained_count for d in report.devices)
    conflicts = sum(d.conflict_count for d in report.devices)
    if not received:
        lines.append("audit: no event was received, so nothing is proven")
    elif report.is_proven:
        lines.append(f"audit: complete; {received} events of {len(report.devices)} devices")
    else:
        lines.append(
            f"audit: NOT complete; {lost} events missing without an announcement, {conflicts} "
            f"numbers given twice, {received} events of {len(report.devices)} devices received"
        )
    return lines


def _device_lines(device: DeviceReport) -> list[str]:
    announced = sum(device.announced.values())
    lines = [
        f"device {plain_text(device.device_id)}: {device.received} events "
        f"(seq {device.first_seq} to {device.last_seq}), {device.duplicates} duplicates, "
        f"{announced} announced as missing, {device.unexplained_count} missing without a word"
    ]
    if device.announced:
        reasons = (f"{plain_text(reason)} {n}" for reason, n in device.announced.items())
        lines.append(f"  announced: {', '.join(reasons)}")
    if device.unexplained:
        runs = [f"{a}" if a == b else f"{a}-{b}" for a, b in device.unexplained[:SHOWN]]
        more = ", ..." if len(device.unexplained) > SHOWN else ""
        lines.append(f"  MISSING: seq {', '.join(runs)}{more}")
    for seq, one, other in device.conflicts[:SHOWN]:
        lines.append(
            f"  CONFLICT: seq {seq} is event {plain_text(one)} and event {plain_text(other)}; do "
            "two devices share an id, or was an outbox lost?"
            if one != other
            else f"  CONFLICT: event {plain_text(one)} came with seq {seq} and with another one"
        )
    if device.delays is not None:
        d = device.delays
        lines.append(
            f"  delay: median {d.median_s:g} s, p95 {d.p95_s:g} s, p99 {d.p99_s:g} s, "
            f"max {d.max_s:g} s (from the picture to here, {d.count} messages)"
        )
        if d.min_s < 0.0:
            lines.append(f"  the clocks differ: the least delay is {d.min_s:g} s")
    if device.connects:
        lines.append(f"  came back {device.connects} times")
    cameras = (f"{plain_text(camera)} {n}" for camera, n in device.cameras.items())
    if device.cameras:
        lines.append(f"  cameras: {', '.join(cameras)}")
    return lines
