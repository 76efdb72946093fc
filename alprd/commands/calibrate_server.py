"""The calibration page's little server: loopback only, and only for who knows the address.

A random token is the first part of every path, the Host header must be the loopback's (so no
foreign site can reach it through a name of its own), and the page may load nothing from elsewhere.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Answers one posted JSON object with another."""

PAGE_FILES = files("alprd.commands") / "calibrate_page"
FINISH = "finish"
MAX_BODY_BYTES = 1_000_000
TOKEN_BYTES = 24

PAGES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "tools.js": ("tools.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageServer:
    """Serves the page until it is closed.

    Attributes:
        token: the secret part of the address.
        finished: set when the person has pressed "Done".

    Args:
        picture: the JPEG to draw on.
        answers: what to do with what the page posts, by name.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, picture: bytes, answers: Mapping[str, Answer], *, port: int = 0) -> None:
        self.finished = threading.Event()
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", port), _handler(self, picture, {FINISH: lambda _: {}, **answers})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._serve, name="calibrate-page", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The page's address, with the token."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.1)


def _handler(
    page: PageServer, picture: bytes, answers: Mapping[str, Answer]
) -> type[BaseHTTPRequestHandler]:
    """The handler class that http.server wants, for this server."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "alprd"
        sys_version = ""
        timeout = 30.0

        def do_GET(self) -> None:
            name = self._name()
            if name == "picture.jpg":
                self._send(HTTPStatus.OK, "image/jpeg", picture)
            elif name in PAGES:
                file, kind = PAGES[name]
                content = (PAGE_FILES / file).read_bytes()
                self._send(HTTPStatus.OK, kind, content)
            else:
                self._refuse(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            name = self._name()
            body = None if name is None else self._body()
            answer = None if name is None else answers.get(name)
            if answer is None:
                self._refuse(HTTPStatus.NOT_FOUND)
            elif body is None:
                self._refuse(HTTPStatus.BAD_REQUEST)
            else:
                content = json.dumps(answer(body)).encode()
                self._send(HTTPStatus.OK, "application/json", content)
                if name == FINISH:  # only now: who waits for it takes the server down
                    page.finished.set()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the requests' paths hold the token."""

        def _name(self) -> str | None:
            """What is asked for; None for who may not ask."""
            hosts = {f"127.0.0.1:{page.port}", f"localhost:{page.port}"}
            if self.headers.get("Host") not in hosts:
                return None
            origin = self.headers.get("Origin")
            if origin is not None and origin.removeprefix("http://") not in hosts:
                return None
            token, _, name = self.path.removeprefix("/").partition("/")
            known = hmac.compare_digest(token.encode(), page.token.encode())
            return name if known else None

        def _body(self) -> Mapping[str, Any] | None:
            if self.headers.get("Content-Type") != "application/json":
                return None
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY_BYTES:
                return None
            try:
                value = json.loads(self.rfile.read(int(length)), parse_constant=_no_number)
            except (ValueError, RecursionError):
                return None
            return value if isinstance(value, dict) else None

        def _refuse(self, status: HTTPStatus) -> None:
            self.close_connection = True
            self._send(status, "text/plain; charset=utf-8", status.phrase.encode())

        def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
