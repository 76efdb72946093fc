"""Stops one thread of another process, as if it were wedged, until that process has gone.

Usage: wedge.py PID NAME, as root. NAME is what `ps -L` shows. Prints a line once it is stopped.

A debugger's system call does that from outside, so the daemon needs no switch that would wedge it.
SIGSTOP would not do: it always stops the whole process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
ALL_THREADS = 0x40000000  # __WALL


def main(pid: str, name: str) -> None:
    """Ends when the thread has ended."""
    tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    named = [t for t in tasks if Path(f"/proc/{pid}/task/{t}/comm").read_text().strip() == name]
    tid = min(named)  # libraries' threads inherit the name of the one that started them
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(tid, ALL_THREADS)
    print("wedged", flush=True)  # noqa: T201 -- what the test waits for
    while True:
        try:
            _, status = os.waitpid(tid, ALL_THREADS)
        except ChildProcessError:
            return
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
