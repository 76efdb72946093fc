"""The publisher thread: owns the broker connection and the reading side of the outbox."""

from __future__ import annotations

import random as random_module
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

import structlog

from alprd.config.models import MqttSettings
from alprd.core.types import CameraStatus
from alprd.ports import Beat, Clock
from alprd.publish.board import Board
from alprd.publish.courier import Station, Subscriptions
from alprd.publish.leftovers import Leftovers
from alprd.publish.loop import GOODBYE_S, PublisherStats, PublishLoop
from alprd.publish.message import Inbound, Message
from alprd.publish.notes import Notes
from alprd.publish.outbox import Outbox
from alprd.publish.post import Post
from alprd.publish.spare import SpareFigures, SpareLane
from alprd.publish.waker import Waker
from alprd.threads import show_name

__all__ = ["PublisherStats", "PublisherThread"]

JOIN_MARGIN_S: Final = 2.0

log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class PublisherThread:
    """Empties the outbox towards the broker and keeps the state board published.

    A context manager: entering starts the thread, leaving flushes, says a retained `stopped`,
    disconnects and ends it. A broker that is away, refuses or talks nonsense is waited for with
    growing pauses and never ends the thread; a failure of the thread itself calls `on_failure`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        outbox: Outbox,
        device_id: str,
        beat: Beat,
        on_failure: Callable[[Exception], None],
        backlog_share: float = 0.25,
        subscriptions: Subscriptions = frozenset,
        on_message: Callable[[Inbound], None] | None = None,
        flush_timeout_s: float = 5.0,
        health_expiry_s: Callable[[], int] = lambda: 60,
        retry_min_s: float = 1.0,
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """Nothing is opened yet.

        Args:
            settings: the broker.
            outbox: where events wait; stays the owner's.
            device_id: the device's name in topics.
            beat: called at least once a second while the thread makes progress.
            on_failure: called in the thread when it fails; the process should end.
            backlog_share: of the messages, for old events while new ones wait.
            subscriptions: gives the topic filters whose messages `on_message` gets; after a change
                call `wake`.
            on_message: called in the publisher thread; must return at once and never raise.
            flush_timeout_s: on leaving, without an earlier `flush`: send for at most this long.
            health_expiry_s: tells after how long the broker forgets health messages; it may
                change, and is asked in the publisher thread.
            retry_min_s: the first pause after a failed connect.
            clock: monotonic seconds.
            now: aware wall time.
            random: uniform in 0..1, for the jitter of the pauses.
        """
        self._outbox = outbox
        self._on_failure = on_failure
        self._flush_timeout_s = flush_timeout_s
        self._clock = clock
        self._waker = Waker()
        self.notes = Notes(outbox)
        """What is remembered over restarts; callable from any thread."""
        self._leftovers = Leftovers(
            self.notes, device_id=device_id, take_away=lambda topic: self.announce(topic, b"")
        )
        self._board = Board(
            prefix=settings.prefix,
            device_id=device_id,
            now=now,
            on_change=self._waker.wake,
            on_taken_away=self._leftovers.gone,
        )
        self._post = Post(on_change=self._waker.wake)
        self._spare = SpareLane(on_change=self._waker.wake, clock=clock)
        self._offers_wanted: SimpleQueue[threading.Event] = SimpleQueue()
        self._make_loop = partial(
            PublishLoop,
            settings=settings,
            station=Station(
                prefix=settings.prefix,
                device_id=device_id,
                max_inflight=settings.max_inflight,
                backlog_share=backlog_share,
                health_expiry_s=health_expiry_s,
                subscriptions=subscriptions,
                on_message=on_message,
            ),
            board=self._board,
            post=self._post,
            spare=self._spare,
            waker=self._waker,
            beat=beat,
            retry_min_s=retry_min_s,
            clock=clock,
            now=now,
            random=random,
        )
        self._loop: PublishLoop | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._flush_wanted = threading.Event()
        self._flush_over = threading.Event()
        self._flushed = False
        self._stop = threading.Event()
        self.failed: Exception | None = None
        """Why the thread ended by itself; None while all is well."""

    def camera_status(self, status: CameraStatus) -> None:
        """Publish retained on <prefix>/<camera>/status; re-sent on every connect."""
        self._board.camera_status(status)

    def forget_camera(self, camera_id: str) -> None:
        """Take away the retained status of a camera that is no longer configured."""
        self._board.forget_camera(camera_id)

    def keep(self, topics: Collection[str]) -> None:
        """Of the retained topics only these are ours from now on, also over restarts."""
        self._leftovers.keep(topics)

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        """Publish on <prefix>/devices/<device>/<name>; retained ones re-sent on every connect."""
        self._board.device(name, payload, retain=retain)

    def announce(self, topic: str, payload: bytes) -> None:
        """Publish retained on somebody else's topic, re-sent on every connect; empty ends it."""
        self._board.announce(topic, payload)

    def send(self, message: Message) -> None:
        """Send something for the moment, in order; dropped when no broker is there."""
        self._post.put(message)

    def send_track(
        self, message: Message, *, replaces: str | None = None, outdates: Sequence[str] = ()
    ) -> None:
        """Send it while no event waits, else never; see `SpareLane.put`."""
        self._spare.put(message, replaces=replaces, outdates=outdates)

    def send_picture(self, message: Message) -> None:
        """Send it over an idle line that is fast enough for it, else not at all."""
        self._spare.put_picture(message)

    def forget_spare(self) -> None:
        """Live tracks and pictures that wait must not go any more."""
        self._spare.forget()

    def spare_figures(self) -> SpareFigures:
        """How many live tracks and pictures went out, and how many there was no room for."""
        return self._spare.figures

    def offer_parked_again(self) -> threading.Event:
        """Try once more what a broker has refused.

        Returns:
            Set once all of it has been offered and `stats` knows so.
        """
        counted = threading.Event()
        self._offers_wanted.put(counted)
        self._waker.wake()
        return counted

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._waker.wake()

    def stats(self) -> PublisherStats:
        """How it goes."""
        loop = self._loop
        return PublisherStats() if loop is None else loop.stats

    def flush(self, deadline: float) -> bool:
        """Send what waits until `deadline` (on the clock); for the time when nothing new comes.

        A broker that cannot be reached is tried once more and then not waited for: what is left is
        safe in the outbox.

        Returns:
            Whether a broker has taken everything.
        """
        self._flush_wanted.set()
        self._waker.wake()
        self._flush_over.wait(max(0.0, deadline - self._clock()))
        return self._flushed

    def __enter__(self) -> PublisherThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._flush_wanted.is_set():
            self.flush(self._clock() + self._flush_timeout_s)
        self._stop.set()
        self._waker.wake()
        self._thread.join(GOODBYE_S + JOIN_MARGIN_S)
        if self._thread.is_alive():
            # A disk that hangs; the thread is a daemon, so the process can end all the same.
            log.error("publisher.stuck", remedy="check the disk of the outbox")
            return
        self._waker.close()

    def _run(self) -> None:
        show_name()
        try:
            loop = self._loop = self._make_loop(self._outbox)
            self._serve(loop)
            loop.say_goodbye()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must hear of it
            self.failed = error
            self._on_failure(error)
        finally:
            self._flush_over.set()

    def _serve(self, loop: PublishLoop) -> None:
        pauses_before: int | None = None
        while not self._stop.is_set():
            while not self._offers_wanted.empty():
                loop.offer_parked_again(self._offers_wanted.get())
            loop.turn()
            if not self._flush_wanted.is_set() or self._flush_over.is_set():
                continue
            if pauses_before is None:
                # One turn more, so that what was added last has been seen.
                pauses_before = loop.pauses
                loop.hurry()
                loop.turn(0.0)
            self._flushed = loop.all_sent
            if self._flushed or loop.pauses > pauses_before:
                loop.count()  # what is left is told
                self._flush_over.set()
