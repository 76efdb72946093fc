"""The machine: temperatures, power mode, memory, disk and clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alprd.config import AlertsSettings
from alprd.core.alerts import Finding as Judged
from alprd.core.judging import Limits, machine_findings
from alprd.doctor.findings import Finding, ok, warning
from alprd.doctor.gpu import Answers
from alprd.host.sample import HostMeter, health_sample

# What each judged figure is called here, and what its absence means.
_NAMES = {
    "over_temperature": "temperature",
    "throttled": "throttling",
    "low_memory": "memory",
    "disk_nearly_full": "disk",
    "clock_not_synchronised": "clock",
}


def figures(
    settings: AlertsSettings,
    disk_folder: Path,
    *,
    meter: HostMeter,
    gpus: Answers,
) -> Iterator[Finding]:
    """Judge the machine as the daemon's alerts do.

    Args:
        settings: [alerts].
        disk_folder: the outbox's.
        meter: of the machine.
        gpus: the driver's.
    """
    sample = health_sample(
        at="",
        device_id="",
        meter=meter,
        tegra=None,
        tegrastats=None,
        gpus=gpus.figures,
        disk_folder=disk_folder,
        pipeline={},
    )
    limits = Limits(
        temperature_c=settings.temperature_c,
        memory_free_share=settings.memory_free_share,
        disk_free_share=settings.disk_free_share,
        outbox_wait_s=settings.outbox_wait_s,
    )
    judged = machine_findings(sample, limits)
    for kind, name in _NAMES.items():
        yield _said(name, [finding for finding in judged if finding.kind == kind])
    mode = sample["power_mode"]
    if mode is not None:
        named = mode["name"] or f"number {mode['id']}"
        if "MAXN" in named.upper():
            yield ok("power mode", named)
        else:
            yield warning(
                "power mode",
                f"{named} limits the clocks; nvpmodel -q --verbose lists the modes, "
                "nvpmodel -m <id> chooses one that the power supply can feed",
            )


def _said(name: str, judged: list[Judged]) -> Finding:
    bad = [finding for finding in judged if finding.bad]
    if bad:
        return warning(name, "; ".join(finding.message for finding in bad))
    values = [finding.value for finding in judged if finding.value is not None]
    if name == "temperature" and values:
        return ok(name, f"at most {max(values)} C")
    if values:
        return ok(name, f"{100.0 * values[0]:.0f} % free")
    if not judged or all(finding.bad is None for finding in judged):
        return ok(name, "this machine does not tell")
    # Slowdowns are counted: this says nothing of the time before the doctor came.
    return ok(name, "none while the doctor looked" if name == "throttling" else "well")
