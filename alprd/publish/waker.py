"""Waiting for a socket and for other threads at the same time."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress


class Waker:
    """One thread waits; any thread may end its wait."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._lock = threading.Lock()
        self._closed = False

    def wake(self) -> None:
        """End the wait that is on, or the next one; does nothing after `close`."""
        with self._lock:
            if not self._closed:
                # Blocking would mean that enough bytes are waiting to be noticed.
                with suppress(BlockingIOError):
                    self._writer.send(b"\x00")

    def wait(
        self, timeout_s: float, fileno: int | None = None, *, for_write: bool = False
    ) -> tuple[bool, bool]:
        """Wait for `wake`, the time-out or a socket; returns whether it is (readable, writable)."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if fileno is not None:
            poll.register(fileno, select.POLLIN | (select.POLLOUT if for_write else 0))
        happened = dict(poll.poll(max(0.0, timeout_s) * 1000.0))
        if self._reader.fileno() in happened:
            self._drain()
        flags = happened.get(fileno, 0) if fileno is not None else 0
        # An error or a hang-up shows when reading.
        return bool(flags & ~select.POLLOUT), bool(flags & select.POLLOUT)

    def close(self) -> None:
        """Release the sockets; the waiting thread has ended."""
        with self._lock:
            self._closed = True
            self._reader.close()
            self._writer.close()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
