"""Every thread's stack in the log when the daemon hangs and its service manager ends it.

The handler that faulthandler installs writes while the other threads go on and change what it
reads: of 25 such dumps of this daemon one ended in a segmentation fault, after the first thread of
ten (Python 3.11). So a thread of its own waits for the watchdog's SIGABRT and writes while it
holds the interpreter's lock, when nothing moves: 60 of 60 were whole. Where no thread gets that
lock any more, because the one that has it hangs, a timer's signal lets faulthandler write after
all: then nothing moves either.

A library that calls abort() is still faulthandler's: such a signal is its own thread's.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from types import TracebackType
from typing import Final

from alprd.threads import show_name

ABORT_THREAD: Final = "stacks"
# After the service manager's signal, and before it loses its patience with that as well.
GRACE_S: Final = 5.0
_STDERR: Final = 2
_HEADLINE: Final = (
    b"alprd: ended by SIGABRT, which systemd sends when the watchdog's keepalives stay away; "
    b"every thread's stack:\n"
)


def write_stacks_on_abort() -> None:
    """From now on every thread's stack is written to standard error when this process is aborted.

    To be called by the main thread before any other thread is there: threads inherit that a
    SIGABRT sent to the process is not for them. Stacks name files and lines, no values.
    """
    faulthandler.enable(_STDERR)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})
    threading.Thread(target=_wait_for_abort, name=ABORT_THREAD, daemon=True).start()


def _wait_for_abort() -> None:
    show_name()
    signal.sigwait({signal.SIGABRT})
    os.write(_STDERR, _HEADLINE)
    faulthandler.dump_traceback(_STDERR, all_threads=True)
    faulthandler.disable()  # it would write them once more
    os.abort()


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
        """The main thread is alive: the time begins anew."""
        if self._timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
