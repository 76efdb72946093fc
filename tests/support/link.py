"""A network link between a client and a broker that is slow, breaks or lies."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from support.broker import HOST

PUBACK = 4
CHUNK_BYTES = 4096
Pipe = asyncio.Queue[tuple[float, bytes]]
"""(when it arrives, bytes); empty bytes are the end."""


@dataclass
class Faults:
    """What the link does to bytes; may be changed while it runs.

    Attributes:
        delay_s: every chunk arrives so much later.
        bytes_per_s: in each direction; None: as fast as possible.
        cut_after: gives, per connection, the client's bytes after which it is cut, in the midst of
            whatever is under way; None: never.
        black_hole: both directions swallow everything; nothing is closed.
        swallow_pubacks: acknowledgements do not reach the client.
        hang_up_at: the connection is cut when the client's bytes hold these; they do not pass.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    cut_after: Callable[[], int | None] = lambda: None
    black_hole: bool = False
    swallow_pubacks: bool = False
    hang_up_at: bytes | None = None


class Link:
    """Listens on a port of its own; runs in a thread of its own."""

    def __init__(self, port: int, faults: Faults | None = None) -> None:
        self.host = HOST
        self.port = 0
        self.faults = faults or Faults()
        self.connections = 0
        self.cuts = 0
        self.swallowed = 0
        self._target = port
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    @property
    def url(self) -> str:
        """As in the configuration of alprd."""
        return f"mqtt://{self.host}:{self.port}"

    def __enter__(self) -> Link:
        self._thread.start()
        self._ready.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10.0)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, self._target)
        except (OSError, asyncio.CancelledError):
            await _closed(writer)
            return
        there: Pipe = asyncio.Queue()
        back: Pipe = asyncio.Queue()
        pumps = [
            asyncio.ensure_future(self._to_broker(reader, there)),
            asyncio.ensure_future(self._to_client(server_reader, back)),
            asyncio.ensure_future(self._deliver(there, server_writer)),
            asyncio.ensure_future(self._deliver(back, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Both ends first: waiting for a pump may be cancelled once more when the link closes.
            for end in (writer, server_writer):
                end.close()
            for pump in pumps:
                pump.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, server_writer):
                await _closed(end)

    async def _to_broker(self, reader: asyncio.StreamReader, pipe: Pipe) -> None:
        left = self.faults.cut_after()
        while data := await reader.read(CHUNK_BYTES):
            if self.faults.hang_up_at is not None and self.faults.hang_up_at in data:
                self.cuts += 1
                break
            if left is not None and len(data) >= left:
                self.cuts += 1
                await self._put(data[:left], pipe)
                break
            if left is not None:
                left -= len(data)
            await self._put(data, pipe)
        await pipe.put((0.0, b""))
        await asyncio.Event().wait()  # what is under way still arrives

    async def _to_client(self, reader: asyncio.StreamReader, pipe: Pipe) -> None:
        waiting = bytearray()
        while data := await reader.read(CHUNK_BYTES):
            waiting += data
            for packet in _packets(waiting):
                if self.faults.swallow_pubacks and packet[0] >> 4 == PUBACK:
                    self.swallowed += 1
                else:
                    await self._put(packet, pipe)
        await pipe.put((0.0, b""))
        await asyncio.Event().wait()

    async def _put(self, data: bytes, pipe: Pipe) -> None:
        await pipe.put((asyncio.get_running_loop().time() + self.faults.delay_s, data))

    async def _deliver(self, pipe: Pipe, writer: asyncio.StreamWriter) -> None:
        while True:
            due_s, data = await pipe.get()
            if not data:
                return
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            if self.faults.bytes_per_s is not None:
                await asyncio.sleep(len(data) / self.faults.bytes_per_s)
            if not self.faults.black_hole:
                writer.write(data)
                await writer.drain()


async def _closed(end: asyncio.StreamWriter) -> None:
    """Close it and let go of its socket, also when nobody reads what is left."""
    end.close()
    end.transport.abort()
    with suppress(asyncio.CancelledError, OSError):
        await end.wait_closed()


def _packets(waiting: bytearray) -> list[bytes]:
    """Whole MQTT packets, taken out of the bytes that came."""
    found = []
    while len(waiting) >= 2:
        length, at = 0, 1
        while True:
            if at >= len(waiting):
                return found
            length |= (waiting[at] & 0x7F) << (7 * (at - 1))
            at += 1
            if not waiting[at - 1] & 0x80:
                break
        if len(waiting) < at + length:
            return found
        found.append(bytes(waiting[: at + length]))
        del waiting[: at + length]
    return found


def random_cuts(seed: int, lowest: int, highest: int, count: int) -> Callable[[], int | None]:
    """The first `count` connections are cut after a random number of bytes, later ones live."""
    dice = random.Random(seed)  # noqa: S311 - seeded, so that a failure can be repeated
    limits = iter([dice.randint(lowest, highest) for _ in range(count)])
    return lambda: next(limits, None)
