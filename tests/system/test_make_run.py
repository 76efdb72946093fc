"""The Makefile and packaging/: what reaches the demo, and what a lacking machine is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTILE = "rtsp://u:a$b`touch ran`\"x'$(shell touch ran)#%&;@host/main"


def run(
    *command: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "MAKEFLAGS": "", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `alprd` prints its arguments, one per line."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed: apt install make")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "packaging", tmp_path / "packaging")
    write_program(tmp_path / ".venv/bin/alprd", 'printf "%s\\n" "$@"')
    return tmp_path


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_make_run_without_a_source_renders(checkout: Path) -> None:
    done = run("make", "run", cwd=checkout)
    assert done.stdout.splitlines() == ["demo", "--out", "demo-out", "--"]


def test_make_run_hands_a_source_on_as_it_is_and_runs_nothing_in_it(checkout: Path) -> None:
    given = run("make", "run", f"SOURCE={HOSTILE}", cwd=checkout)
    inherited = run("make", "run", cwd=checkout, environ={"SOURCE": HOSTILE})
    for done in (given, inherited):
        assert done.stdout.splitlines() == ["demo", "--out", "demo-out", "--", HOSTILE]
    assert not (checkout / "ran").exists()


def test_a_virtual_environment_that_is_gone_is_made_again(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    plan = run("make", "--dry-run", "run", cwd=checkout)
    assert "packaging/virtualenv" in plan.stdout


def test_half_a_virtual_environment_is_not_taken_for_one(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    write_program(checkout / ".venv/bin/python", "exit 1")  # what a failed `python -m venv` leaves
    # Stands for a Python whose `-m venv` fails, as without ensurepip.
    write_program(checkout / "python", 'case "$*" in *venv*) mkdir -p .venv; exit 1;; esac')
    done = run("packaging/virtualenv", "./python", ".venv", ".", cwd=checkout)
    assert done.returncode == 1
    assert "cannot make a virtual environment" in done.stderr
    assert not (checkout / ".venv").exists()


class Machine:
    """A PATH with few programs, on which everything that alprd needs is missing."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "machine"
        self.bin.mkdir()
        for name in ("bash", "cat", "env", "grep", "mktemp", "rm", "tail"):
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        write_program(self.bin / "python3", "exit 1")
        self.be(uid=0)

    def be(self, *, uid: int) -> None:
        write_program(self.bin / "id", f"echo {uid}")

    def has(self, name: str, script: str) -> None:
        write_program(self.bin / name, script)

    def install(self, python: str = "python3") -> subprocess.CompletedProcess[str]:
        script = REPOSITORY / "packaging/system-packages"
        return run(
            *("bash", str(script), "run", python),
            cwd=self.bin,
            environ={"PATH": str(self.bin)},
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_root_and_sudo_the_command_for_an_administrator_is_printed(
    machine: Machine,
) -> None:
    machine.be(uid=1000)
    machine.has("apt-get", "exit 99")
    done = machine.install()
    assert done.returncode == 1
    assert "apt-get install --no-install-recommends python3-venv" in done.stderr
    assert "not found" not in done.stderr


def test_a_repository_that_is_away_does_not_keep_the_packages_from_being_installed(
    machine: Machine,
) -> None:
    machine.has(
        "apt-get",
        'case "$*" in *update*) echo "E: foreign is away"; exit 100;; *) echo "$@" >ran;; esac',
    )
    done = machine.install()
    assert done.returncode == 0
    assert "E: foreign is away" in done.stderr
    arguments = (machine.bin / "ran").read_text()
    assert "DPkg::Lock::Timeout=300" in arguments
    assert "python3-venv" in arguments


def test_what_apt_says_when_it_cannot_install_is_shown(machine: Machine) -> None:
    machine.has(
        "apt-get", 'case "$*" in *install*) echo "E: Unable to locate it" >&2; exit 100;; esac'
    )
    done = machine.install()
    assert done.returncode == 1
    assert "E: Unable to locate it" in done.stderr


def test_another_distribution_is_told_what_is_missing(machine: Machine) -> None:
    done = machine.install()
    assert done.returncode == 1
    assert "python3-venv" in done.stdout
    assert "equivalents" in done.stderr


def test_a_python_that_is_not_there_is_named(machine: Machine) -> None:
    done = machine.install("python3.99")
    assert done.returncode == 1
    assert "python3.99 is not on PATH" in done.stderr


def test_another_python_gets_its_own_venv_package(machine: Machine) -> None:
    machine.has("python3.12", 'case "$*" in *print*) echo python3.12-venv;; *) exit 1;; esac')
    assert "python3.12-venv" in machine.install("python3.12").stdout
