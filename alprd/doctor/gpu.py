"""The GPU, its driver and what TensorRT needs: what is missing, and where it is to be had."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.doctor.person import READ, WRITE, Person
from alprd.host.nvml import Figures, GpuMeter
from alprd.inference.cuda_graphs import LIBRARY
from alprd.inference.gpu import OLDEST_DRIVER, cuda_text
from alprd.inference.trt_api import import_tensorrt
from alprd.ports import EngineError

_CARDS: Final = "dev/nvidia[0-9]*"
_TEGRA: Final = ("dev/nvhost-gpu", "dev/nvgpu/igpu0/ctrl", "dev/nvmap")
_CONTROL: Final = "dev/nvidiactl"
_BESIDE: Final = {_CONTROL: "nvidia-modprobe -c 255", "dev/nvidia-uvm": "nvidia-modprobe -u -c 0"}
"""What CUDA opens beside a card's own node, and what makes it.

NVML does without the second one, so a driver may answer that CUDA cannot start with. Where they are
missing, CUDA has a setuid program make them; a service without new privileges cannot.
"""

_JETSON: Final = "etc/nv_tegra_release"
_LOADED: Final = "proc/driver/nvidia/version"
_NVIDIA, _DISPLAY = "0x10de", "0x03"
"""Vendor and class of a PCI device."""

_CONTAINER: Final = "--gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What a GPU needs of this machine; tests put something else there.

    Attributes:
        cuda: the newest CUDA that the driver runs (12040), 0 where it does not say; None without
            the driver's library.
        missing: of some modules, those that Python does not find.
        tensorrt: version of the module. Raises EngineError with the remedy.
    """

    cuda: Callable[[], int | None]
    missing: Callable[[tuple[str, ...]], list[str]]
    tensorrt: Callable[[], str]


def cuda_version(load: Callable[[str], Any] = ctypes.CDLL) -> int | None:
    """The newest CUDA that the driver's library runs; starts nothing on the GPU."""
    try:
        library = load(LIBRARY)
    except OSError:
        return None
    version = ctypes.c_int()
    try:
        code = library.cuDriverGetVersion(ctypes.byref(version))
    except AttributeError:
        return 0
    return 0 if code else version.value  # what toolkits bring for linking says that it is a stub


def missing_modules(names: tuple[str, ...]) -> list[str]:
    """Those that Python does not find."""
    return [name for name in names if find_spec(name) is None]


HERE: Final = Software(
    cuda=cuda_version, missing=missing_modules, tensorrt=lambda: import_tensorrt().version
)


def answers(meter: Callable[[], GpuMeter]) -> Answers:
    """Ask the driver; takes as long as it likes."""
    gpus = meter()
    try:
        return Answers(available=gpus.available, figures=gpus.figures())
    finally:
        gpus.close()


def gpu(
    who: Person, *, gpus: Answers, software: Software = HERE, root: Path = Path("/")
) -> Iterator[Finding]:
    """GPU, driver and what TensorRT needs.

    Args:
        who: must be allowed to use its nodes.
        gpus: the driver's.
        software: what is installed for it.
        root: of the file system.
    """
    tegra = [root / name for name in _TEGRA if (root / name).exists()]
    nodes = sorted([*root.glob(_CARDS), *tegra])
    is_jetson = bool(tegra) or (root / _JETSON).exists()
    beside = [root / name for name in _BESIDE if nodes and (root / name).exists()]
    for node in (*nodes, *beside):
        if not who.may(node, READ | WRITE):
            group = who.group_that_may(node)
            remedy = f"usermod -aG {group} {who.name}" if group else f"check the mode of {node}"
            yield problem("gpu", f"{who.name} may not use {node}; {remedy}")
            return
    if gpus.hangs:
        yield problem(
            "gpu", "the NVIDIA driver does not answer at all; see dmesg, and start the machine anew"
        )
    elif nodes:
        # Of a Jetson they belong to the display, if they are there.
        lacking = [] if is_jetson else [name for name in _BESIDE if root / name not in beside]
        yield _driver(nodes[0], lacking, gpus, software, is_jetson=is_jetson)
    else:
        yield _without_nodes(root, is_jetson=is_jetson)
    if nodes:
        yield _modules(software, is_jetson=is_jetson)
    else:
        yield ok("tensorrt", "not needed without a GPU that can be used")


def _driver(
    node: Path, lacking: list[str], gpus: Answers, software: Software, *, is_jetson: bool
) -> Finding:
    """Of a GPU that the kernel's part of the driver shows; `lacking` of what must be beside it."""
    cuda = software.cuda()
    lacks = _lacks(cuda, is_jetson=is_jetson)
    if cuda is None or lacks is not None:
        return warning("gpu", f"{node} is there, but the GPU is not used: {lacks}")
    can_be_asked = not software.missing(("pynvml",))
    is_silent = not gpus.available and not is_jetson and can_be_asked
    if lacking and (_CONTROL in lacking or not is_silent):
        return warning("gpu", _not_beside(node, lacking))
    if gpus.available:
        names = ", ".join(unit["name"] for unit in gpus.figures.get("gpu", []))
        return ok("gpu", f"{names or 'NVIDIA'}; the driver answers and runs CUDA {cuda_text(cuda)}")
    if is_jetson:
        return ok("gpu", f"a Jetson's GPU; the driver runs CUDA {cuda_text(cuda)}")
    if not can_be_asked:
        return warning(
            "gpu", 'the driver cannot be asked; pip install "alprd[nvidia]" shows its figures'
        )
    return problem(
        "gpu",
        f"{node} is there but the driver does not answer; install the driver that "
        "fits the kernel, and try nvidia-smi",
    )


def _not_beside(node: Path, lacking: list[str]) -> str:
    """What is wrong with a card whose driver lacks nodes, and the remedy."""
    names = " and no ".join(f"/{name}" for name in lacking)
    commands = " and ".join(_BESIDE[name] for name in lacking)
    devices = " ".join(f"--device /{name}" for name in lacking)
    return (
        f"{node} is there, but no {names}, so CUDA does not start and the GPU is not used; have "
        f"root run {commands} at every start of the machine, and then start alprd anew (in a "
        f"container: run it outside, and give the container {devices}, or {_CONTAINER})"
    )


def _lacks(cuda: int | None, *, is_jetson: bool) -> str | None:
    """What is wrong with the driver's library, and the remedy."""
    if cuda is None:
        remedy = (
            "install it: apt install nvidia-l4t-cuda (in a container: --runtime nvidia)"
            if is_jetson
            else "install that part of the driver, of the same version as the kernel's (Debian: "
            f"libcuda1, Ubuntu: libnvidia-compute-<version>; in a container: {_CONTAINER})"
        )
        return f"there is no {LIBRARY}, the driver's library; {remedy}"
    if cuda == 0:
        return (
            f"{LIBRARY} is no driver but a stub for linking; take its folder out of "
            "LD_LIBRARY_PATH and /etc/ld.so.conf.d, and install the driver"
        )
    if cuda < OLDEST_DRIVER:
        update = "install JetPack 5.1 or later" if is_jetson else "update the NVIDIA driver"
        return (
            f"the driver is too old: it runs CUDA {cuda_text(cuda)}, and alprd needs "
            f"{cuda_text(OLDEST_DRIVER)} or later; {update}"
        )
    return None


def _without_nodes(root: Path, *, is_jetson: bool) -> Finding:
    """No GPU, or one that nothing can use."""
    if is_jetson:
        return warning(
            "gpu",
            "a Jetson, but its GPU is not under /dev, so it is not used; in a container: --runtime "
            "nvidia; else see dmesg, and whether the packages nvidia-l4t-* fit the kernel",
        )
    cards = list(_cards(root))
    ours = [driver for driver in cards if driver != "vfio-pci"]
    if cards and not ours:
        return ok("gpu", "an NVIDIA GPU is kept for virtual machines; models run on the CPU")
    # A container may see the card on the bus, but not what /proc tells of its driver.
    if (root / _LOADED).exists() or "nvidia" in ours:
        commands = " and ".join(["nvidia-modprobe -c 0", *_BESIDE.values()])
        return warning(
            "gpu",
            "the NVIDIA driver is loaded, but its GPU is not under /dev, so it is not used; have "
            f"root run {commands}, or in a container: {_CONTAINER}",
        )
    if not ours:
        return ok("gpu", "no NVIDIA GPU; models run on the CPU")
    driver = next(filter(None, ours), "")
    taken = f" ({driver} has it)" if driver else ""
    return warning(
        "gpu",
        f"an NVIDIA GPU is there, but not NVIDIA's driver{taken}, so it is not used; install it "
        "(Ubuntu: ubuntu-drivers install; Debian: apt install nvidia-driver), and start the "
        "machine anew",
    )


def _cards(root: Path) -> Iterator[str]:
    """Per NVIDIA GPU on the PCI bus, the kernel's driver that has it, or nothing."""
    for vendor in sorted(root.glob("sys/bus/pci/devices/*/vendor")):
        device = vendor.parent
        try:
            found = vendor.read_text().strip(), (device / "class").read_text().strip()
        except OSError:  # a device that goes away meanwhile
            continue
        if found[0] == _NVIDIA and found[1].startswith(_DISPLAY):
            driver = device / "driver"
            yield driver.resolve().name if driver.exists() else ""


def _modules(software: Software, *, is_jetson: bool) -> Finding:
    """Python's side, of a machine with a GPU."""
    missing = software.missing(("tensorrt", "pycuda"))
    if missing:
        remedy = (
            "apt install python3-libnvinfer, and pip install pycuda"
            if is_jetson
            else 'pip install "alprd[gpu]"'
        )
        return warning(
            "tensorrt",
            f"Python finds no {' and no '.join(missing)}, so the GPU is not used; {remedy}",
        )
    try:
        version = software.tensorrt()
    except EngineError as error:
        return warning("tensorrt", str(error))
    return ok("tensorrt", f"TensorRT {version} and PyCUDA are installed")
