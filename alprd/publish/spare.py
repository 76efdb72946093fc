"""What goes only while the line is free: live tracks and pictures. No event ever waits for many.

A message that was handed to the connection cannot be overtaken any more, wherever it waits then:
in the kernel, in a modem, in a proxy. So little is handed over while no event waits, with a mark
behind it; and nothing more before the broker has answered the mark. How long that took tells how
large a picture may be.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from alprd.ports import Clock
from alprd.publish.message import Message

TRACKS: Final = 1000
TRACK_STALE_S: Final = 10.0
TRACKS_BYTES: Final = 2048
"""Of tracks that are on their way at a time, about: what an event may find before itself."""

PICTURES: Final = 16
PICTURES_BYTES: Final = 8 * 1024**2
PICTURE_STALE_S: Final = 60.0
PICTURE_S: Final = 1.0
"""A picture that needs longer than this is too large for the line."""

LIKELY_BYTES: Final = 20_000
"""Taken to get through in the time in which a mark alone does, before a picture has shown it."""

GROWTH: Final = 4.0
"""What went through at once says nothing about more than so many times as much."""

LOST_PAUSE_S: Final = 60.0
"""After a connection that was lost with a picture on its way there is none for so long."""

RELEARN_S: Final = 600.0
"""What was learned of a line is forgotten after this long."""

log = structlog.get_logger(__name__)


class Line(Protocol):
    """What is asked of a connection."""

    @property
    def maximum_packet_bytes(self) -> int | None:
        """What the broker takes."""

    def packet_bytes(self, message: Message) -> int:
        """The size on the wire."""

    def mark(self) -> int | None:
        """Put a mark behind what was sent so far."""

    def has_passed(self, mark: int) -> bool:
        """Whether the broker has taken everything before the mark."""


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


@dataclass(frozen=True, slots=True)
class _OnTheWay:
    mark: int
    since_s: float
    picture_bytes: int | None
    """None for tracks."""


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
        self._on_the_way: _OnTheWay | None = None
        self._pictures_turn = False
        self._largest: float | None = None
        self._learned_at_s = 0.0
        self._no_picture_before_s = -math.inf
        self._told_too_large_at_s = -math.inf

    @property
    def figures(self) -> SpareFigures:
        """For health; callable from any thread."""
        return self._figures

    def put(
        self, message: Message, *, replaces: str | None = None, outdates: Sequence[str] = ()
    ) -> None:
        """Send it if the line is free soon.

        Args:
            message: with QoS 0.
            replaces: its key; the newest of those with the same one is enough.
            outdates: keys of those that must not go any more.
        """
        with self._lock:
            self._count += 1
            key = replaces or f"#{self._count}"
            lost = sum(self._tracks.pop(each, None) is not None for each in outdates)
            lost += key in self._tracks
            self._tracks[key] = _Waiting(message, self._clock())  # in the place of the one before
            while len(self._tracks) > TRACKS:
                self._tracks.popitem(last=False)
                lost += 1
            self._add(tracks_dropped=lost)
        self._on_change()

    def put_picture(self, message: Message) -> None:
        """Send it when the line is idle."""
        with self._lock:
            self._pictures.append(_Waiting(message, self._clock()))
            self._pictures_bytes += len(message.payload)
            while len(self._pictures) > PICTURES or self._pictures_bytes > PICTURES_BYTES:
                self._pictures_bytes -= len(self._pictures.popleft().message.payload)
                self._add(pictures_dropped=1)
        self._on_change()

    def forget(self) -> None:
        """Nothing of what waits may go any more; callable from any thread."""
        with self._lock:
            self._add(tracks_dropped=len(self._tracks), pictures_dropped=len(self._pictures))
            self._tracks.clear()
            self._pictures.clear()
            self._pictures_bytes = 0

    def clear(self) -> None:
        """A connection is new: what waited was for another moment; by the publisher."""
        self.forget()
        lost, self._on_the_way = self._on_the_way, None
        if lost is not None and lost.picture_bytes:
            # Nobody knows whether it had to do with it: should it have, it is not repeated soon.
            self._no_picture_before_s = self._clock() + LOST_PAUSE_S
            self._largest = None

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
        if self._on_the_way is not None:
            if not line.has_passed(self._on_the_way.mark):
                return
            self._learn(self._on_the_way)
            self._on_the_way = None
        if not may_send():
            return
        before, self._pictures_turn = self._pictures_turn, False
        if before and self._has_picture:
            self._send_picture(line, send, forbids=forbids)
            return
        sent_bytes = 0
        while sent_bytes < TRACKS_BYTES and may_send():
            message = self._next_track()
            if message is None:
                break
            if self._hand_over(message, line, send, forbids=forbids):
                sent_bytes += line.packet_bytes(message)
        if sent_bytes:
            self._pictures_turn = True
            self._mark(line, None)
        elif self._has_picture and may_send():
            self._send_picture(line, send, forbids=forbids)

    @property
    def _has_picture(self) -> bool:
        return bool(self._pictures) and self._clock() >= self._no_picture_before_s

    def _send_picture(
        self, line: Line, send: Callable[[Message], object], *, forbids: Callable[[str], bool]
    ) -> None:
        if self._largest is None or self._clock() - self._learned_at_s > RELEARN_S:
            self._largest = None
            self._pictures_turn = True
            self._mark(line, 0)  # first see how it is
            return
        message = self._next_picture(self._largest)
        if message is not None and self._hand_over(message, line, send, forbids=forbids):
            self._mark(line, len(message.payload))

    def _mark(self, line: Line, picture_bytes: int | None) -> None:
        mark = line.mark()
        if mark is not None:
            self._on_the_way = _OnTheWay(mark, self._clock(), picture_bytes)

    def _learn(self, sent: _OnTheWay) -> None:
        """How large a picture may be, from how long one took."""
        if sent.picture_bytes is None:
            return
        took_s = max(1e-4, self._clock() - sent.since_s)
        if sent.picture_bytes == 0:
            self._largest = LIKELY_BYTES * PICTURE_S / took_s
        else:
            by_pace = sent.picture_bytes * PICTURE_S / took_s
            if took_s > PICTURE_S:
                log.warning(
                    "pictures.line_is_slow",
                    bytes=sent.picture_bytes,
                    took_s=round(took_s, 1),
                    remedy="make them smaller, see [images]",
                )
                self._largest = by_pace
            elif by_pace > GROWTH * sent.picture_bytes:
                self._largest = max(self._largest or 0.0, GROWTH * sent.picture_bytes)
            else:
                self._largest = max(by_pace, sent.picture_bytes)
        self._learned_at_s = self._clock()

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
                self._add(tracks_dropped=not is_picture, pictures_dropped=is_picture)
                return False
            self._add(tracks_sent=not is_picture, pictures_sent=is_picture)
        send(message)
        return True

    def _next_track(self) -> Message | None:
        with self._lock:
            while self._tracks:
                waiting = self._tracks.popitem(last=False)[1]
                if self._clock() - waiting.since_s <= TRACK_STALE_S:
                    return waiting.message
                self._add(tracks_dropped=1)
        return None

    def _next_picture(self, largest: float) -> Message | None:
        found, too_large = None, 0
        with self._lock:
            while self._pictures and found is None:
                waiting = self._pictures.popleft()
                size = len(waiting.message.payload)
                self._pictures_bytes -= size
                if size > largest:
                    too_large = max(size, too_large)
                elif self._clock() - waiting.since_s <= PICTURE_STALE_S:
                    found = waiting.message
                if found is None:
                    self._add(pictures_dropped=1)
        if too_large:
            self._tell_too_large(too_large, largest)
        return found

    def _tell_too_large(self, size: int, largest: float) -> None:
        if self._clock() - self._told_too_large_at_s > RELEARN_S:
            self._told_too_large_at_s = self._clock()
            log.warning(
                "pictures.too_large",
                bytes=size,
                largest_bytes=int(largest),
                remedy="an event would wait for it on this line; make them smaller, see [images]",
            )

    def _add(self, **more: int) -> None:
        """Count; the lock is held."""
        now = self._figures
        self._figures = replace(now, **{name: getattr(now, name) + n for name, n in more.items()})
