"""The packages, and a machine that they are installed on; made once for all tests here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from alprd.demo.clip import write_clip
from support.machine import Machine, base_tree, why_not
from support.packages import Installed, build, files_of

BootMachine = Callable[..., Machine]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """alprd and alprd-models; ALPRD_TEST_DEBS names a folder that holds them already."""
    problem = why_not()
    if problem is not None:
        pytest.skip(problem)
    made = os.environ.get("ALPRD_TEST_DEBS")
    if made:
        return sorted(Path(made).glob("*.deb"))
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def installed(
    packages: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """`apt install ./alprd_*.deb` on a bare image, without a network."""
    base = base_tree()
    with Machine(tmp_path_factory.mktemp("bare"), base) as machine:
        before = files_of(machine)
        machine.install(*packages)
    yield Installed(machine.layer, base, before)
    shutil.rmtree(machine.layer)  # half a gigabyte, which pytest would keep for three runs


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's street."""
    path = tmp_path_factory.mktemp("clip") / "demo.mp4"
    write_clip(path)
    return path


@pytest.fixture
def boot_machine(installed: Installed, clip: Path, tmp_path: Path) -> Iterator[BootMachine]:
    """Boots a machine of the test's own on which alprd is installed, with the clip in /srv."""
    with ExitStack() as machines:

        def boot() -> Machine:
            machine = Machine(tmp_path / "machine", installed.layer, installed.base)
            machines.callback(shutil.rmtree, machine.layer)
            machines.enter_context(machine)
            (machine.root / "srv/demo.mp4").write_bytes(clip.read_bytes())
            return machine

        yield boot
