"""Every thread's stack in the log when the daemon hangs and its service manager ends it.

The handler that faulthandler installs writes while the other threads go on and change what it
reads: now and then it ends in a segmentation fault after the first of them. So a thread of its own
waits for the watchdog's SIGABRT and writes while it holds the interpreter's lock, when nothing
moves. Where no thread gets that lock any more, because the one that has it hangs, a timer's signal
lets faulthandler write after all: then nothing moves either.

A library that calls abort() is still faulthandler's: such a signal is its own thread's.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Final, cast

from alprd.threads import show_name

ABORT_THREAD: Final = "stacks"
# After the service manager's signal, and before it loses its patience with that as well.
GRACE_S: Final = 5.0
_STDERR: Final = 2
_DEPTH: Final = 100
_WHOLE_TIME_S: Final = 1000.0
_HEADLINE: Final = (
    b"alprd: ended by SIGABRT, which systemd sends when the watchdog's keepalives stay away; "
    b"every thread's stack:\n"
)


@contextmanager
def stacks_on_abort() -> Iterator[None]:
    """Meanwhile every thread's stack is written to standard error when this process is aborted.

    To be entered by the main thread before any other thread is there: threads inherit that a
    SIGABRT sent to the process is not for them. Stacks name files and lines, no values.
    """
    faulthandler.enable(_STDERR)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})
    over = threading.Event()
    waiter = threading.Thread(target=_wait_for_abort, args=(over,), name=ABORT_THREAD, daemon=True)
    waiter.start()
    try:
        yield
    finally:
        # While the interpreter ends no other thread gets its lock: the handler's again.
        over.set()
        signal.pthread_kill(cast(int, waiter.ident), signal.SIGABRT)
        waiter.join()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGABRT})


def _wait_for_abort(over: threading.Event) -> None:
    show_name()
    signal.sigwait({signal.SIGABRT})
    if over.is_set():
        return
    try:
        turn_s = sys.getswitchinterval()
        sys.setswitchinterval(_WHOLE_TIME_S)  # nobody else gets on while they are looked at
        left = _HEADLINE + "".join(_stacks()).encode(errors="backslashreplace")
        sys.setswitchinterval(turn_s)  # who writes waits for his next turn
        while left:
            left = left[os.write(_STDERR, left) :]
    finally:  # also when nobody reads what is written
        faulthandler.disable()  # it would write them once more
        os.abort()


def _stacks() -> Iterator[str]:
    """Every thread's, the main one's first; faulthandler would end after a hundred of them."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sys._current_frames()
    for ident in sorted(frames, key=lambda ident: ident != main):
        lines = [f'\nThread "{names.get(ident, ident)}" (most recent call first):\n']
        frame: FrameType | None = frames[ident]
        while frame is not None and len(lines) <= _DEPTH:
            code = frame.f_code
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n')
            frame = frame.f_back
        yield "".join(lines)


class HangTimer:
    """Entered while the main thread goes round; writes the stacks and ends the process if it stops.

    It comes after the service manager's watchdog: the process that it ends, by SIGALRM, is one
    whose interpreter is stuck, so that nobody could answer the watchdog's signal. The kernel's
    timer does not follow the wall clock. faulthandler's own does before Python 3.11, so the first
    time from the network, months ahead, would have ended the daemon.

    Args:
        watchdog_interval_s: pause between keepalives, half of what the service manager waits for
            one; None when nobody watches: then nothing ends the process.
        grace_s: seconds after the watchdog's own time.
    """

    def __init__(self, watchdog_interval_s: float | None, *, grace_s: float = GRACE_S) -> None:
        self._timeout_s = (
            None if watchdog_interval_s is None else 2.0 * watchdog_interval_s + grace_s
        )

    def __enter__(self) -> HangTimer:
        if self._timeout_s is not None:
            # Chained to what the system does with this signal: it ends the process.
            faulthandler.register(signal.SIGALRM, _STDERR, all_threads=True, chain=True)
        self.postpone()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            faulthandler.unregister(signal.SIGALRM)

    def postpone(self) -> None:
        """A keepalive was sent: the service manager's time begins anew, and so does this one."""
        if self._timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
