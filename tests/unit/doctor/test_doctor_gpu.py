"""What the doctor says of a GPU: none, one without a driver, an old driver, Python's side."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alprd.doctor.gpu import Answers, Software, cuda_version, gpu
from alprd.doctor.person import Person
from alprd.ports import EngineError

ROOT = Person(name="root", uid=0, gids=frozenset({0}))
WELL = Software(cuda=lambda: 12_040, missing=lambda _: [], tensorrt=lambda: "10.3.0")
BESIDE = ("nvidiactl", "nvidia-uvm")
GPU = Answers(available=True, figures={"gpu": [{"name": "NVIDIA L4"}]})


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def nodes(root: Path, *names: str) -> Path:
    """Under /dev what a card has, or these; the first of them."""
    first, *_ = [write(root / "dev" / name) for name in names or ("nvidia0", *BESIDE)]
    return first


def card(root: Path, *, vendor: str = "0x10de", kind: str = "0x030200", driver: str = "") -> None:
    """A device on the PCI bus."""
    buses = root / "sys/bus/pci"
    device = buses / "devices" / f"0000:{len(list(buses.glob('devices/*'))):02x}:00.0"
    write(device / "vendor", f"{vendor}\n")
    write(device / "class", f"{kind}\n")
    if driver:
        (buses / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(buses / "drivers" / driver)


def said(root: Path, software: Software = WELL, gpus: Answers = GPU) -> list[tuple[str, str]]:
    """Level and text of both lines."""
    found = list(gpu(ROOT, gpus=gpus, software=software, root=root))
    assert [finding.check for finding in found] == ["gpu", "tensorrt"]
    return [(finding.level, finding.text) for finding in found]


def assert_says(line: tuple[str, str], level: str, *words: str) -> None:
    assert line[0] == level
    for word in words:
        assert word in line[1], line[1]


def never(*_: object) -> Any:
    raise AssertionError("nobody should ask")


def test_a_gpu_with_all_it_needs_is_named_with_the_versions(tmp_path: Path) -> None:
    nodes(tmp_path)
    first, second = said(tmp_path)
    assert_says(first, "ok", "NVIDIA L4", "CUDA 12.4")
    assert_says(second, "ok", "TensorRT 10.3.0")


def test_without_a_gpu_nothing_is_missing_and_nothing_is_loaded(tmp_path: Path) -> None:
    card(tmp_path, vendor="0x8086", kind="0x030000", driver="i915")
    card(tmp_path, kind="0x040300", driver="snd_hda_intel")  # the sound of a card that is gone
    first, second = said(tmp_path, Software(cuda=never, missing=never, tensorrt=never), Answers())
    assert_says(first, "ok", "no NVIDIA GPU")
    assert_says(second, "ok", "not needed")


@pytest.mark.parametrize(
    ("driver", "words"), [("nouveau", "nouveau has it"), ("", "is there, but")]
)
def test_a_card_without_nvidias_driver_is_told_with_what_to_install(
    tmp_path: Path, driver: str, words: str
) -> None:
    card(tmp_path, driver=driver)
    line = said(tmp_path, gpus=Answers())[0]
    assert_says(line, "warning", words, "not used", "apt install nvidia-driver")


def test_a_card_that_a_virtual_machine_has_is_nobodys_fault(tmp_path: Path) -> None:
    card(tmp_path, driver="vfio-pci")
    assert_says(said(tmp_path, gpus=Answers())[0], "ok", "virtual machines")
    card(tmp_path)
    assert_says(said(tmp_path, gpus=Answers())[0], "warning", "not NVIDIA's driver")


def test_a_loaded_driver_without_its_devices_is_a_container_without_them(tmp_path: Path) -> None:
    card(tmp_path, driver="nvidia")
    write(tmp_path / "proc/driver/nvidia/version", "NVRM version: 580\n")
    assert_says(said(tmp_path, gpus=Answers())[0], "warning", "nvidia-modprobe", "--gpus all")


@pytest.mark.parametrize("others", [(), ("vfio-pci",), ("vfio-pci", "nouveau")])
def test_a_card_that_nvidias_driver_has_is_not_told_to_get_it(
    tmp_path: Path, others: Sequence[str]
) -> None:
    """A container that may not see /proc/driver sees the bus all the same."""
    for driver in (*others, "nvidia"):
        card(tmp_path, driver=driver)
    line = said(tmp_path, gpus=Answers())[0]
    assert_says(line, "warning", "driver is loaded", "nvidia-modprobe", "--gpus all")
    assert "install" not in line[1]


def test_who_has_a_card_is_asked_of_those_that_are_not_a_virtual_machines(tmp_path: Path) -> None:
    for driver in ("vfio-pci", "", "nouveau"):
        card(tmp_path, driver=driver)
    line = said(tmp_path, gpus=Answers())[0]
    assert_says(line, "warning", "nouveau has it", "apt install nvidia-driver")
    assert "vfio" not in line[1]


def test_a_driver_whose_cards_are_all_a_virtual_machines_lacks_nothing(tmp_path: Path) -> None:
    card(tmp_path, driver="vfio-pci")
    write(tmp_path / "proc/driver/nvidia/version", "NVRM version: 580\n")
    assert_says(said(tmp_path, gpus=Answers())[0], "ok", "virtual machines")


@pytest.mark.parametrize("gpus", [GPU, Answers()], ids=["answers", "cannot be asked"])
def test_a_driver_that_answers_without_what_cuda_needs_is_not_well(
    tmp_path: Path, gpus: Answers
) -> None:
    nodes(tmp_path, "nvidia0", "nvidiactl")
    software = WELL if gpus.available else replace(WELL, missing=lambda _: ["pynvml"])
    line = said(tmp_path, software, gpus)[0]
    assert_says(line, "warning", "no /dev/nvidia-uvm", "not used", "nvidia-modprobe -u -c 0")
    assert_says(line, "warning", "--device /dev/nvidia-uvm", "--gpus all")
    assert "nvidiactl" not in line[1]
    nodes(tmp_path)
    assert "nvidia-uvm" not in said(tmp_path, software, gpus)[0][1]


def test_a_card_that_was_handed_on_alone_is_told_what_belongs_to_it(tmp_path: Path) -> None:
    nodes(tmp_path, "nvidia0")
    line = said(tmp_path, gpus=Answers())[0]
    assert_says(line, "warning", "nvidia-modprobe -c 255", "nvidia-modprobe -u -c 0")
    assert_says(line, "warning", "--device /dev/nvidiactl --device /dev/nvidia-uvm")


def test_a_driver_that_does_not_answer_is_the_first_thing_to_mend(tmp_path: Path) -> None:
    nodes(tmp_path, "nvidia0", "nvidiactl")
    assert_says(said(tmp_path, gpus=Answers())[0], "problem", "does not answer", "nvidia-smi")


@pytest.mark.parametrize("sign", ["etc/nv_tegra_release", "dev/nvmap", "dev/nvhost-gpu"])
def test_a_jetson_needs_nothing_of_a_card(tmp_path: Path, sign: str) -> None:
    """Its display has a node like a card's; a container may have no file that names the release."""
    nodes(tmp_path, "nvidia0")
    write(tmp_path / sign)
    assert_says(said(tmp_path, gpus=Answers())[0], "ok", "a Jetson's GPU", "CUDA 12.4")


@pytest.mark.parametrize("closed", ["nvidia0", *BESIDE])
def test_all_that_cuda_opens_must_be_open_to_the_daemon(tmp_path: Path, closed: str) -> None:
    nodes(tmp_path)
    for node in (tmp_path / "dev").iterdir():
        node.chmod(0o600 if node.name == closed else 0o666)
    who = Person(name="alprd", uid=64_321, gids=frozenset({64_321}))
    (found,) = gpu(who, gpus=GPU, software=WELL, root=tmp_path)
    assert_says((found.level, found.text), "problem", "alprd may not use", f"dev/{closed}; ")


def test_a_jetson_without_its_gpu_is_told(tmp_path: Path) -> None:
    write(tmp_path / "etc/nv_tegra_release")
    assert_says(said(tmp_path, gpus=Answers())[0], "warning", "--runtime nvidia")


@pytest.mark.parametrize(
    ("release", "words"),
    [(None, ("libcuda1", "--gpus all")), ("# R36", ("nvidia-l4t-cuda", "--runtime nvidia"))],
    ids=["card", "jetson"],
)
def test_a_gpu_without_the_drivers_library_is_not_one_that_fails(
    tmp_path: Path, release: str | None, words: Sequence[str]
) -> None:
    node = nodes(tmp_path)
    if release is not None:
        write(tmp_path / "etc/nv_tegra_release", release)
    line = said(tmp_path, replace(WELL, cuda=lambda: None), Answers())[0]
    assert_says(line, "warning", str(node), "libcuda.so.1", "not used", *words)


def test_a_driver_that_is_too_old_is_told_with_the_version_that_is_needed(tmp_path: Path) -> None:
    nodes(tmp_path)
    line = said(tmp_path, replace(WELL, cuda=lambda: 11_030))[0]
    assert_says(line, "warning", "CUDA 11.3", "11.4", "update the NVIDIA driver")
    assert said(tmp_path, replace(WELL, cuda=lambda: 11_040))[0][0] == "ok"
    write(tmp_path / "etc/nv_tegra_release")
    assert_says(said(tmp_path, replace(WELL, cuda=lambda: 10_020))[0], "warning", "JetPack 5.1")


def test_a_stub_is_no_driver(tmp_path: Path) -> None:
    nodes(tmp_path)
    line = said(tmp_path, replace(WELL, cuda=lambda: 0))[0]
    assert_says(line, "warning", "stub", "LD_LIBRARY_PATH")


def test_what_python_lacks_is_told_beside_a_gpu_that_works(tmp_path: Path) -> None:
    nodes(tmp_path)
    lacking = replace(WELL, missing=lambda names: [n for n in names if n == "tensorrt"])
    first, second = said(tmp_path, lacking)
    assert first[0] == "ok"
    assert_says(second, "warning", "no tensorrt", 'pip install "alprd[gpu]"')
    write(tmp_path / "etc/nv_tegra_release")
    assert_says(said(tmp_path, lacking)[1], "warning", "python3-libnvinfer")


def test_a_tensorrt_that_does_not_load_is_told_with_its_remedy(tmp_path: Path) -> None:
    def broken() -> str:
        raise EngineError("TensorRT 8.0 is too old; alprd needs 8.5 or later")

    nodes(tmp_path)
    line = said(tmp_path, replace(WELL, tensorrt=broken))[1]
    assert_says(line, "warning", "8.0 is too old", "8.5")


def library(code: int, version: int) -> SimpleNamespace:
    def ask(given: Any) -> int:
        ctypes.cast(given, ctypes.POINTER(ctypes.c_int))[0] = version
        return code

    return SimpleNamespace(cuDriverGetVersion=ask)


def test_the_drivers_library_is_asked_for_its_version_alone() -> None:
    def none(_: str) -> Any:
        raise OSError("libcuda.so.1: cannot open shared object file")

    assert cuda_version(lambda _: library(0, 12_040)) == 12_040
    assert cuda_version(lambda _: library(34, 0)) == 0  # CUDA_ERROR_STUB_LIBRARY
    assert cuda_version(lambda _: SimpleNamespace()) == 0
    assert cuda_version(none) is None
