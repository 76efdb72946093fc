"""The names of threads, where the tools of the system look for them."""

from __future__ import annotations

import threading
from contextlib import suppress


def show_name() -> None:
    """Let `top -H`, `ps -L` and debuggers show this thread's name; the kernel keeps 15 bytes.

    Python does so by itself from 3.14 on.
    """
    path = f"/proc/self/task/{threading.get_native_id()}/comm"
    # Without /proc, or in a sandbox that forbids it, the name is missing there and nothing else.
    with suppress(OSError), open(path, "w", encoding="utf-8") as comm:
        comm.write(threading.current_thread().name)
