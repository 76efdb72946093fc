"""A small web server for figures: few connections at a time, and none that is silent for long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

MOST_CONNECTIONS: Final = 8
SILENCE_S: Final = 5.0


class FiguresServer:
    """Listens from the start on, until `close`.

    Args:
        host: an address of this machine.
        port: TCP port; 0: a free one.
        app: a WSGI application.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, host: str, port: int, app: Callable[..., Any]) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self._server = _server_of(found[0][0])((found[0][4][0], port), _Handler)
        self._server.set_app(app)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    timeout = SILENCE_S

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Whoever finds no place is told at once, and not by the kernel seconds later.
    request_queue_size = 32

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 -- the library's
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(*arguments, **named)

    def server_bind(self) -> None:
        """Bind without asking a name server, which may be far away, what we are called."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def verify_request(self, *_: object) -> bool:
        """Whether there is a place; without one the connection is closed at once."""
        return self._places.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Start a thread, which gives the place back."""
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Somebody was silent or left: that is theirs to mind."""


def _server_of(family: int) -> type[_Server]:
    return type("_FamilyServer", (_Server,), {"address_family": family})
