"""What goes only while the line is free: live tracks and pictures. No event ever waits for them.

A message that was handed to the connection cannot be overtaken any more. So nothing is handed over
while an event waits or more than a few bytes are on their way: what the broker's machine has not
confirmed yet is asked of the kernel. A picture goes over an idle line alone, and on a line that was
found to need long for one only smaller ones go.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from alprd.ports import Clock
from alprd.publish.message import Message

TRACKS: Final = 1000
TRACK_STALE_S: Final = 10.0
TRACKS_AHEAD_BYTES: Final = 2048
"""So many bytes may be on their way when a track is sent: what an event may find before itself."""

PICTURES: Final = 16
PICTURES_BYTES: Final = 8 * 1024**2
PICTURE_STALE_S: Final = 60.0
PICTURE_S: Final = 1.0
"""A picture that took longer than this was too large for the line, ..."""

RELEARN_S: Final = 600.0
"""... as are others of its size for this long."""

log = structlog.get_logger(__name__)


class Line(Protocol):
    """What is asked of a connection."""

    @property
    def backlog_bytes(self) -> int:
        """Sent, and not confirmed by the broker's machine."""

    @property
    def maximum_packet_bytes(self) -> int | None:
        """What the broker takes."""

    def packet_bytes(self, message: Message) -> int:
        """The size on the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareFigures:
    """Since start."""

    tracks_sent: int = 0
    tracks_dropped: int = 0
    pictures_sent: int = 0
    pictures_dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: Message
    since_s: float


class SpareLane:
    """Any thread puts, the publisher sends.

    Args:
        on_change: called when there is something to send.
        clock: monotonic seconds.
    """

    def __init__(self, *, on_change: Callable[[], None], clock: Clock) -> None:
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._tracks: OrderedDict[str, _Waiting] = OrderedDict()
        self._pictures: deque[_Waiting] = deque()
        self._pictures_bytes = 0
        self._count = 0
        self._figures = SpareFigures()
        # The publisher's own.
        self._under_way: tuple[float, int] | None = None
        self._largest: float | None = None
        self._learned_at_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it must be looked after soon, although nothing comes from the broker."""
        return bool(self._tracks or self._pictures or self._under_way)

    @property
    def figures(self) -> SpareFigures:
        """For health; callable from any thread."""
        return self._figures

    def put(self, message: Message, *, replaces: str | None = None) -> None:
        """Send it if the line is free soon; the newest of those with the same key is enough."""
        with self._lock:
            self._count += 1
            key = replaces or f"#{self._count}"
            place = self._tracks.pop(key, None)
            since_s = self._clock() if place is None else place.since_s
            self._tracks[key] = _Waiting(message, since_s)
            lost = 0 if place is None else 1
            while len(self._tracks) > TRACKS:
                self._tracks.popitem(last=False)
                lost += 1
            self._note(tracks=lost)
        self._on_change()

    def put_picture(self, message: Message) -> None:
        """Send it when the line is idle."""
        with self._lock:
            self._pictures.append(_Waiting(message, self._clock()))
            self._pictures_bytes += len(message.payload)
            while len(self._pictures) > PICTURES or self._pictures_bytes > PICTURES_BYTES:
                self._pictures_bytes -= len(self._pictures.popleft().message.payload)
                self._note(pictures=1)
        self._on_change()

    def clear(self) -> None:
        """A connection is new: what waited was for another moment."""
        with self._lock:
            self._note(tracks=len(self._tracks), pictures=len(self._pictures))
            self._tracks.clear()
            self._pictures.clear()
            self._pictures_bytes = 0
        self._measure(None)

    def send_over(
        self,
        line: Line,
        send: Callable[[Message], object],
        *,
        forbids: Callable[[str], bool],
        may_send: Callable[[], bool],
    ) -> None:
        """Hand over what there is room for; by the publisher.

        Args:
            line: the connection.
            send: hands a message over.
            forbids: whether the broker hangs up at a topic.
            may_send: False while an event waits.
        """
        if not self.is_busy:
            return
        self._measure(line.backlog_bytes)
        while may_send() and line.backlog_bytes <= TRACKS_AHEAD_BYTES:
            message = self._next_track()
            if message is None:
                break
            self._hand_over(message, line, send, forbids=forbids)
        if may_send() and not self._tracks and self._under_way is None and not line.backlog_bytes:
            message = self._next_picture()
            if message is not None and self._hand_over(message, line, send, forbids=forbids):
                self._under_way = (self._clock(), len(message.payload))

    def _hand_over(
        self,
        message: Message,
        line: Line,
        send: Callable[[Message], object],
        *,
        forbids: Callable[[str], bool],
    ) -> bool:
        limit = line.maximum_packet_bytes
        fits = limit is None or line.packet_bytes(message) <= limit
        is_picture = not message.is_text
        with self._lock:
            if not fits or forbids(message.topic):
                self._note(tracks=not is_picture, pictures=is_picture)
                return False
            self._note(tracks_sent=not is_picture, pictures_sent=is_picture)
        send(message)
        return True

    def _next_track(self) -> Message | None:
        with self._lock:
            while self._tracks:
                waiting = self._tracks.popitem(last=False)[1]
                if self._clock() - waiting.since_s <= TRACK_STALE_S:
                    return waiting.message
                self._note(tracks=1)
        return None

    def _next_picture(self) -> Message | None:
        with self._lock:
            while self._pictures:
                waiting = self._pictures.popleft()
                size = len(waiting.message.payload)
                self._pictures_bytes -= size
                fresh = self._clock() - waiting.since_s <= PICTURE_STALE_S
                if fresh and (self._largest is None or size <= self._largest):
                    return waiting.message
                self._note(pictures=1)
        return None

    def _measure(self, backlog: int | None) -> None:
        """Learn how long the picture under way takes; `backlog` is None when the line was lost."""
        now_s = self._clock()
        if self._largest is not None and now_s - self._learned_at_s > RELEARN_S:
            self._largest = None
        if self._under_way is None:
            return
        sent_at_s, size = self._under_way
        took_s = now_s - sent_at_s
        if took_s > PICTURE_S:
            if self._largest is None:
                log.warning(
                    "pictures.line_is_slow", bytes=size, remedy="smaller pictures, [images]"
                )
            self._largest, self._learned_at_s = size * PICTURE_S / took_s, now_s
        if not backlog:
            self._under_way = None

    def _note(
        self,
        *,
        tracks: int = 0,
        pictures: int = 0,
        tracks_sent: int = 0,
        pictures_sent: int = 0,
    ) -> None:
        """Count; the lock is held."""
        before = self._figures
        self._figures = SpareFigures(
            tracks_sent=before.tracks_sent + tracks_sent,
            tracks_dropped=before.tracks_dropped + tracks,
            pictures_sent=before.pictures_sent + pictures_sent,
            pictures_dropped=before.pictures_dropped + pictures,
        )
