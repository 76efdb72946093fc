"""The machine: GPU and its software, temperatures, power mode, memory, disk and clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from alprd.config import AlertsSettings
from alprd.core.alerts import Finding as Judged
from alprd.core.judging import Limits, machine_findings
from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.doctor.person import READ, WRITE, Person
from alprd.host.nvml import Figures, GpuMeter
from alprd.host.sample import HostMeter, health_sample

_GPU_NODES = (
    "dev/nvidia[0-9]*",
    "dev/nvhost-gpu",
    "dev/nvgpu/igpu0/ctrl",
    "dev/nvmap",
)
_JETSON = "etc/nv_tegra_release"
# What each judged figure is called here, and what its absence means.
_NAMES = {
    "over_temperature": "temperature",
    "throttled": "throttling",
    "low_memory": "memory",
    "disk_nearly_full": "disk",
    "clock_not_synchronised": "clock",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the GPUs' driver said.

    Attributes:
        available: whether it can be asked.
        figures: by their name in the health message.
        hangs: it was asked and did not answer in time.
    """

    available: bool = False
    figures: Figures = field(default_factory=dict)
    hangs: bool = False


def answers(meter: Callable[[], GpuMeter]) -> Answers:
    """Ask the driver; takes as long as it likes."""
    gpus = meter()
    try:
        return Answers(available=gpus.available, figures=gpus.figures())
    finally:
        gpus.close()


def gpu(who: Person, *, gpus: Answers, root: Path = Path("/")) -> Iterator[Finding]:
    """GPU, driver and what TensorRT needs.

    Args:
        who: must be allowed to use its nodes.
        gpus: the driver's.
        root: of the file system.
    """
    nvidia = sorted(path for pattern in _GPU_NODES for path in root.glob(pattern))
    is_jetson = (root / _JETSON).exists()
    for node in nvidia:
        if not who.may(node, READ | WRITE):
            group = who.group_that_may(node)
            remedy = f"usermod -aG {group} {who.name}" if group else f"check the mode of {node}"
            yield problem("gpu", f"{who.name} may not use {node}; {remedy}")
            return
    if gpus.hangs:
        yield problem(
            "gpu", "the NVIDIA driver does not answer at all; see dmesg, and start the machine anew"
        )
    elif not nvidia:
        yield ok("gpu", "no NVIDIA GPU; models run on the CPU")
    elif gpus.available:
        names = ", ".join(unit["name"] for unit in gpus.figures.get("gpu", []))
        yield ok("gpu", f"{names or 'NVIDIA'}; the driver answers")
    elif is_jetson:
        yield ok("gpu", "a Jetson's GPU")
    elif find_spec("pynvml") is None:
        yield warning(
            "gpu", 'the driver cannot be asked; pip install "alprd[nvidia]" shows its figures'
        )
    else:
        yield problem(
            "gpu",
            f"{nvidia[0]} is there but the driver does not answer; install the driver that "
            "fits the kernel, and try nvidia-smi",
        )
    missing = [name for name in ("tensorrt", "pycuda") if find_spec(name) is None]
    if not missing:
        yield ok("tensorrt", f"TensorRT {_version('tensorrt')}, PyCUDA {_version('pycuda')}")
    elif nvidia:
        yield warning(
            "tensorrt",
            f"Python finds no {' and no '.join(missing)}, so the GPU is not used; "
            'pip install "alprd[gpu]"',
        )
    else:
        yield ok("tensorrt", "not needed without a GPU")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"


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
