"""TCP servers that are no brokers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from support.broker import HOST


@contextmanager
def talking_peer(answer: bytes | Callable[[], bytes]) -> Iterator[str]:
    """A server that says `answer` to everybody, whatever it hears; yields its URL.

    With an empty answer it says nothing and keeps the connection open. A callable gives each
    guest another answer.
    """
    listener = socket.create_server((HOST, 0))
    stop = threading.Event()

    def serve() -> None:
        guests: list[socket.socket] = []
        listener.settimeout(0.02)
        while not stop.is_set():
            with suppress(TimeoutError, ConnectionError):
                guest, _ = listener.accept()
                guest.settimeout(1.0)
                guests.append(guest)
                words = answer() if callable(answer) else answer
                if words:
                    guest.recv(4096)
                    guest.sendall(words)
                    guest.close()
        for guest in guests:
            guest.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"mqtt://{HOST}:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(10.0)
        listener.close()
