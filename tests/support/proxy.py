"""A TCP proxy between a client and a broker that loses, delays and refuses on demand."""

from __future__ import annotations

import selectors
import socket
import threading

from support.broker import HOST

CONNECT_PACKET = 0x10
PROTOCOL_LEVEL_AT = 8  # fixed header (2), "MQTT" with its length (6)
REFUSED_VERSION = b"\x20\x02\x00\x01"  # CONNACK of MQTT 3.1.1: unacceptable protocol version


class Proxy:
    """Listens on a port of its own; driven by one thread.

    `forward_answers = False` swallows what the broker says, `forward_requests = False` what the
    client says; both without closing anything. `only_v311` answers CONNECT packets of MQTT 5 as a
    broker that does not know it, with `hangs_up` as one that does not even say so.
    """

    def __init__(self, port: int, *, only_v311: bool = False, hangs_up: bool = False) -> None:
        self.host = HOST
        self.forward_answers = True
        self.forward_requests = True
        self.accept = True
        self.connections = 0
        self._only_v311 = only_v311 or hangs_up
        self._hangs_up = hangs_up
        self._target = (HOST, port)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._cut = threading.Event()
        self._is_cut = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """As in the configuration of alprd."""
        return f"mqtt://{self.host}:{self.port}"

    def cut(self) -> None:
        """Close every connection; what was under way is lost."""
        self._is_cut.clear()
        self._cut.set()
        self._is_cut.wait(10.0)

    def __enter__(self) -> Proxy:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)
        self._selector.close()
        self._listener.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.02):
                source = key.fileobj
                if source is self._listener:
                    self._accept()
                elif isinstance(source, socket.socket) and source in self._peers:
                    self._forward(source)
            if self._cut.is_set():
                self._cut.clear()
                self._close_all()
                self._is_cut.set()
        self._close_all()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if not self.accept:
            client.close()
            return
        self.connections += 1
        if self._only_v311:
            client.settimeout(5.0)
            head = client.recv(PROTOCOL_LEVEL_AT + 1, socket.MSG_PEEK | socket.MSG_WAITALL)
            if head[0] == CONNECT_PACKET and head[PROTOCOL_LEVEL_AT] == 5:
                if not self._hangs_up:
                    client.sendall(REFUSED_VERSION)
                client.close()
                return
        try:
            server = socket.create_connection(self._target, timeout=5.0)
        except OSError:
            client.close()
            return
        self._clients.add(client)
        self._peers[client], self._peers[server] = server, client
        self._selector.register(client, selectors.EVENT_READ)
        self._selector.register(server, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(65536)
            if data and (
                self.forward_requests if source in self._clients else self.forward_answers
            ):
                target.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._close(source)

    def _close(self, end: socket.socket) -> None:
        for closed in (end, self._peers[end]):
            self._selector.unregister(closed)
            self._clients.discard(closed)
            del self._peers[closed]
            closed.close()

    def _close_all(self) -> None:
        while self._peers:
            self._close(next(iter(self._peers)))
