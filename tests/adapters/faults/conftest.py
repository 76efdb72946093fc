"""What tests of faults share: they say what they injected and what they counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

LINES = pytest.StashKey[list[str]]()

Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Tell:
    """Say something that stands at the end of the test run, and in its XML report."""

    def say(text: str) -> None:
        record_property("injected and counted", text)
        name = request.node.nodeid.rpartition("/")[2]
        request.config.stash.setdefault(LINES, []).append(f"{name}\n    {text}")

    return say


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """For outboxes whose disk is not what is tested: in memory, where there is such a file system.

    The long versions keep to the disk, and wait for it.
    """
    shared = Path("/dev/shm")  # noqa: S108
    if request.node.get_closest_marker("soak") is not None or not shared.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=shared) as name:
        yield Path(name)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Every line, whether the tests passed or not."""
    lines = config.stash.get(LINES, [])
    if lines:
        terminalreporter.section("faults: injected and counted")
        for line in lines:
            terminalreporter.write_line(line)
