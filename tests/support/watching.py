"""`alprd watch` as a program beside the test."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.daemon import environment

TIMEOUT_S = 20.0


@contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program, started; it has ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "alprd", "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_text(path: Path, text: str) -> None:
    """Until a file that another process writes holds the text."""
    wait_for(lambda: path.exists() and text in path.read_text())


def wait_for(holds: Callable[[], object]) -> None:
    """Until it holds; nobody tells us what another process does."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not so within {TIMEOUT_S:g} s")
        threading.Event().wait(0.05)
