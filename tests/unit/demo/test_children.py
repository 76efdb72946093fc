"""Children that never outlive the demonstration; real processes."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from alprd.demo.children import STOP_SIGNALS, Children, Ended, StopAsked

# Ignores the request to end, after it has said so.
STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
TIMEOUT_S = 20.0


@pytest.fixture
def news() -> SimpleQueue[Any]:
    return SimpleQueue()


def pid_in(file: Path) -> int:
    while not file.read_text().endswith("\n"):
        pass
    return int(file.read_text())


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_end_of_a_child_is_news_with_its_code(news: SimpleQueue[Any], tmp_path: Path) -> None:
    with Children(news) as children:
        children.start("short", ["sh", "-c", "echo said; exit 3"], output=tmp_path / "log")
        assert news.get(timeout=TIMEOUT_S) == Ended("short", 3)
        assert (tmp_path / "log").read_text() == "said\n"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_is_news_and_interrupts_nothing(
    news: SimpleQueue[Any], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with Children(news):
        os.kill(os.getpid(), number)
        assert news.get(timeout=TIMEOUT_S) == StopAsked()
    assert signal.getsignal(number) == before


def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(
    news: SimpleQueue[Any], tmp_path: Path
) -> None:
    with Children(news) as children:
        children.start("own", ["sh", "-c", "echo $$; sleep 60"], output=tmp_path / "log")
        pid = pid_in(tmp_path / "log")
        assert os.getsid(pid) == pid
        assert os.getpgid(pid) != os.getpgid(0)


def test_every_child_is_gone_afterwards_also_after_an_error(
    news: SimpleQueue[Any], tmp_path: Path
) -> None:
    pids: list[int] = []

    def fail_with_two_running() -> None:
        with Children(news) as children:
            for name in ("one", "two"):
                command = ["sh", "-c", "echo $$; exec sleep 60"]
                children.start(name, command, output=tmp_path / name)
                pids.append(pid_in(tmp_path / name))
            raise OSError("boom")

    with pytest.raises(OSError, match="boom"):
        fail_with_two_running()
    assert len(pids) == 2
    assert all(is_gone(pid) for pid in pids)


def test_a_child_that_will_not_end_is_killed(
    news: SimpleQueue[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.demo.children._STOP_TIMEOUT_S", 0.2)
    with Children(news) as children:
        children.start("stubborn", STUBBORN, output=tmp_path / "log")
        while (tmp_path / "log").read_text() != "ready\n":
            pass
        children.terminate("stubborn")
        assert children.is_running("stubborn")
    assert news.get(timeout=TIMEOUT_S) == Ended("stubborn", -signal.SIGKILL)


def test_what_cannot_be_started_is_an_error_and_nothing_runs(
    news: SimpleQueue[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_: None)  # as where util-linux is too old
    with Children(news) as children, pytest.raises(OSError, match="no-such-program"):
        children.start("none", ["no-such-program"], output=tmp_path / "log")
    assert not children.is_running("none")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux's setpriv")
def test_a_killed_demonstration_takes_its_children_along(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom queue import SimpleQueue\n"
        "from alprd.demo.children import Children\n"
        "news = SimpleQueue()\n"
        "with Children(news) as children:\n"
        "    children.start('x', ['sh', '-c', 'echo $$; exec sleep 60'],"
        " output=Path(sys.argv[1]))\n"
        "    news.get()\n"
    )
    log = tmp_path / "log"
    log.touch()
    with subprocess.Popen([sys.executable, "-c", program, str(log)]) as parent:
        pid = pid_in(log)
        child = os.pidfd_open(pid)
        parent.kill()
        parent.wait(TIMEOUT_S)
    try:
        assert select.select([child], [], [], TIMEOUT_S)[0]
    finally:
        os.close(child)
