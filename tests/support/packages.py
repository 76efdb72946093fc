"""Building the Debian packages, and looking at what an installation leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support.machine import BUILD_TIMEOUT_S, REPOSITORY, Machine, call


def build(folder: Path, *options: str) -> list[Path]:
    """`make deb`; the packages."""
    command = (str(REPOSITORY / "packaging/build-deb"), "--without-cuda", "--out", str(folder))
    call(*command, *options, timeout_s=BUILD_TIMEOUT_S)
    return sorted(folder.glob("*.deb"))


@dataclass(frozen=True)
class Installed:
    """The layer of a bare machine with the packages installed, and what was there before."""

    layer: Path
    base: Path
    files_before: frozenset[str]


def files_of(machine: Machine) -> frozenset[str]:
    """Every path but what any machine changes while it runs."""
    shifting = "/proc /sys /dev /run /tmp /var/tmp /var/log /var/cache /srv"
    expression = " -o ".join(f"-path {path}" for path in shifting.split())
    found = machine.run("sh", "-c", f"find / \\( {expression} \\) -prune -o -print").splitlines()
    ever_changing = ("/var/lib/dpkg/", "/var/lib/systemd/", "/var/lib/apt/", "/root/")
    return frozenset(path for path in found if not path.startswith(ever_changing))
