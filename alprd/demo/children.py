"""Child processes that never outlive the demonstration, and its one queue of news.

Everything that happens (a child ends, somebody asks for a stop, a message arrives) goes through the
queue to the main thread, which alone decides and prints.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A child has ended; `code` is negative when a signal ended it."""

    name: str
    code: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Ctrl-C, SIGTERM, or the terminal has gone."""


class Children:
    """Starts children and tells of their end; a context manager of the main thread.

    Inside it a stop signal is a piece of news instead of an interruption. Each child has a session
    of its own, so that the terminal's Ctrl-C does not reach it: the demonstration ends its children
    in the right order. Should the demonstration be killed, the kernel ends them; only a Mosquitto
    that root has started stays, because it changes its user, and that makes the kernel forget.

    Args:
        news: gets `Ended` and `StopAsked`. Its `put` may be called in a signal handler.
    """

    def __init__(self, news: SimpleQueue[Any]) -> None:
        self._news = news
        self._running: dict[str, tuple[subprocess.Popen[bytes], threading.Thread]] = {}
        self._handlers: dict[int, Any] = {}
        setpriv = shutil.which("setpriv")  # util-linux: on every Debian and Ubuntu
        self._prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []

    def __enter__(self) -> Children:
        for number in STOP_SIGNALS:
            self._handlers[number] = signal.signal(number, self._ask_for_stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(list(self._running)):
            self._end(name)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        output: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Start a child that writes into the file `output`.

        Raises:
            OSError: it cannot be started.
        """
        with output.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 -- programs of ours and Mosquitto
                [*self._prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )
        waiting = threading.Thread(target=self._await_end, args=(name, process), daemon=True)
        self._running[name] = process, waiting
        waiting.start()

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        return name in self._running and self._running[name][1].is_alive()

    def terminate(self, name: str) -> None:
        """Ask it to end, if it runs."""
        if self.is_running(name):
            self._running[name][0].terminate()

    def kill(self, name: str) -> None:
        """End it, if it runs."""
        if self.is_running(name):
            self._running[name][0].kill()

    def _end(self, name: str) -> None:
        process, waiting = self._running[name]
        process.terminate()
        waiting.join(_STOP_TIMEOUT_S)
        process.kill()
        waiting.join()

    def _await_end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._news.put(Ended(name, process.wait()))

    def _ask_for_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._news.put(StopAsked())
