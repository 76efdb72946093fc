"""Keeps tegrastats running and its newest line at hand.

The child is watched by a thread of its own: it is started again with growing pauses when it dies or
falls silent, it is always reaped, and nobody who asks for the newest sample ever waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import structlog

from alprd.core.tegrastats import TegraSample, parse_line
from alprd.ports import Clock

log = structlog.get_logger(__name__)

MAX_LINE_BYTES = 16_384
_POLL_S = 0.5
_LATE_LINES = 3
_TERMINATE_S = 2.0
# A program that writes without pause fills its pipe and waits, instead of keeping a core busy.
_BREATH_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to start a dead child again.

    Attributes:
        first_s: the first pause.
        most_s: the longest pause; each is twice the one before.
        calm_s: a child that ran this long was well: the pauses start over.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    calm_s: float = 60.0


class TegrastatsReader:
    """The supervised tegrastats; entering starts it where the program exists.

    Args:
        program: a name on PATH, or a path; "" for none.
        interval_s: the program's own interval between lines.
        silence_s: a child that says nothing for this long is started again.
        retry: the pauses before a new start.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        program: str,
        *,
        interval_s: float = 1.0,
        silence_s: float = 15.0,
        retry: Retry = Retry(),
        clock: Clock = time.monotonic,
    ) -> None:
        self._path = shutil.which(program) if program else None
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._retry = retry
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tegrastats", daemon=True)
        self._newest: tuple[float, str] | None = None
        self._heard_s = clock()
        self._starts = 0
        self._last_error: str | None = None

    @property
    def available(self) -> bool:
        """Whether this machine has the program."""
        return self._path is not None

    @property
    def starts(self) -> int:
        """How often the program has been started."""
        return self._starts

    @property
    def last_error(self) -> str | None:
        """Why there is no current line; None while all is well."""
        if self._last_error is not None or not self.available:
            return self._last_error
        # Also of one that hangs in the kernel, which cannot be ended.
        silent_s = self._clock() - self._heard_s
        if silent_s <= _LATE_LINES * self._interval_s:
            return None
        return f"{self._path} has been silent for {silent_s:.0f} s"

    def latest(self, max_age_s: float) -> TegraSample | None:
        """What the newest line says; None when it is older than this, or there is none."""
        newest = self._newest
        if newest is None or self._clock() - newest[0] > max_age_s:
            return None
        return parse_line(newest[1])

    def __enter__(self) -> TegrastatsReader:
        if self.available:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_POLL_S + 2 * _TERMINATE_S)

    def _run(self) -> None:
        pause_s = self._retry.first_s
        while not self._stop.is_set():
            started_s = self._clock()
            problem = self._run_child()
            if self._stop.is_set():
                break
            if self._clock() - started_s >= self._retry.calm_s:
                pause_s = self._retry.first_s
            self._last_error = problem
            log.warning("tegrastats.lost", error=problem, retry_in_s=pause_s)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._retry.most_s)

    def _run_child(self) -> str:
        """Start the program and read it until it ends; says why it ended."""
        self._starts += 1
        command = [self._path or "", "--interval", str(int(self._interval_s * 1000))]
        try:
            child = subprocess.Popen(  # noqa: S603 -- the program that the configuration names
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                # A group of its own: Ctrl-C reaches only the daemon, which ends the whole group.
                start_new_session=True,
            )
        except OSError as error:
            return f"{self._path} cannot be started: {error.strerror}"
        try:
            problem = self._read(child)
        finally:
            status = _end(child)
        return problem or f"{self._path} ended with status {status}"

    def _read(self, child: subprocess.Popen[bytes]) -> str | None:
        """Take lines until the child ends (None), falls silent, or this reader stops."""
        if child.stdout is None:
            return "no output"
        descriptor = child.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        rest = b""
        heard_s = self._clock()
        while not self._stop.is_set():
            if self._clock() - heard_s > self._silence_s:
                return f"{self._path} was silent for {self._silence_s:g} s"
            if not poll.poll(_POLL_S * 1000):
                continue
            data = os.read(descriptor, 65_536)
            if not data:
                return None
            *lines, rest = (rest + data).split(b"\n")
            newest = next((n for n in reversed(lines) if n.strip()), None)
            if newest is not None and len(newest) <= MAX_LINE_BYTES:
                heard_s = self._clock()
                self._take(newest, heard_s)
            if len(rest) > MAX_LINE_BYTES:
                return f"{self._path} wrote a line of more than {MAX_LINE_BYTES} bytes"
            self._stop.wait(_BREATH_S)
        return None

    def _take(self, line: bytes, now_s: float) -> None:
        self._newest = now_s, line.decode("utf-8", "replace")
        self._heard_s = now_s
        self._last_error = None


def _end(child: subprocess.Popen[bytes]) -> int:
    """End the child and what it started, and reap it, whatever state it is in."""
    with child:  # closes its pipe, and waits
        _signal_group(child, signal.SIGTERM)
        try:
            return child.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            _signal_group(child, signal.SIGKILL)
            return child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it and all its children have ended
        os.killpg(child.pid, number)
