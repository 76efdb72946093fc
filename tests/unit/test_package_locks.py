"""What the Debian packages contain is what pyproject.toml asks for, each file with its hash."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[2]
LOCKS = REPOSITORY / "packaging/locks"
NAME = re.compile(r"^([A-Za-z0-9_.-]+)")
# What the packages contain in place of what pyproject.toml names; see packaging/lock.
INSTEAD = {"opencv-python": "opencv-python-headless"}


def locked(name: str) -> dict[str, list[str]]:
    """Package to its versions."""
    found: dict[str, list[str]] = {}
    for line in (LOCKS / f"{name}.txt").read_text().splitlines():
        pinned = re.match(r"^([a-z0-9-]+)==([^ ]+)", line)
        if pinned:
            found.setdefault(pinned[1], []).append(pinned[2])
    return found


def release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_dependency_is_locked_within_its_bounds() -> None:
    """Fails when pyproject.toml changed and `make lock` was forgotten."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    runtime = locked("runtime")
    for requirement in project["dependencies"]:
        name = NAME.match(requirement)
        assert name is not None
        versions = runtime[INSTEAD.get(name[1], name[1])]
        bounds = requirement.split(";")[0]
        for version in versions:
            for least in re.findall(r">=([0-9.]+)", bounds):
                assert release(version) >= release(least), requirement
            for beyond in re.findall(r"<([0-9.]+)", bounds):
                assert release(version) < release(beyond), requirement


@pytest.mark.parametrize("lock", ["runtime", "build", "cuda"])
def test_everything_has_one_version_and_hashes(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", text.partition("\n")[2])
    assert len(entries) >= 5
    for entry in entries:
        assert re.match(r"^[a-z0-9-]+==[^ ]+", entry)
        assert "--hash=sha256:" in entry
    assert "://" not in text  # no index, no mirror
