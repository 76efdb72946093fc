"""One connection to a camera, from opening it to losing it, in a thread of its own.

Native calls can hang for good and cannot be interrupted. So the session says at any moment what it
is doing and since when; who watches it may give it up, and start another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import structlog

from alprd.cameras.frames import OnGrab
from alprd.cameras.network import CameraTimeoutError
from alprd.cameras.sources import CameraSource
from alprd.core.secrets import mask_credentials
from alprd.core.types import EndOfStream, Frame
from alprd.ports import CameraError, Clock, FrameSink

SourceFactory = Callable[[OnGrab], CameraSource]
"""Makes the source of one session; it calls the argument for every frame taken."""

THREAD_PREFIX = "capture-"

log = structlog.get_logger()


class Phase(Enum):
    """What a session is doing."""

    OPENING = "opening"
    READING = "reading"
    DELIVERING = "delivering"
    WAITING = "waiting"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A session at one moment.

    Attributes:
        phase: what it is doing.
        since_s: since when, or since the last frame taken within that phase.
        grabbed: frames taken from the source so far.
        last_grab_s: when the last one was taken; None before the first.
    """

    phase: Phase
    since_s: float
    grabbed: int
    last_grab_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a session ended.

    Attributes:
        ended: the file was read to its end; otherwise the camera was lost.
        silent: it was lost because nothing came any more, rather than with an error.
        error: one line without credentials; None for a sound file's end.
    """

    ended: bool = False
    silent: bool = False
    error: str | None = None


class _CancelledError(Exception):
    """Unwinds a read of a session that was cancelled."""


class Session:
    """Reads one source into the sink until it ends, is lost, or `cancel` is called.

    Args:
        camera_id: for the end of the stream and the log.
        make_source: makes the source, in the session's thread.
        sink: takes the frames.
        realtime: play a recording at its own speed.
        clock: monotonic seconds.
        wake: set when the watcher has something new to see.
    """

    def __init__(
        self,
        camera_id: str,
        make_source: SourceFactory,
        sink: FrameSink,
        *,
        realtime: bool,
        clock: Clock,
        wake: threading.Event,
    ) -> None:
        self._camera_id = camera_id
        self._make_source = make_source
        self._sink = sink
        self._realtime = realtime
        self._clock = clock
        self._wake = wake
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._phase = Phase.OPENING
        self._since_s = clock()
        self._grabbed = 0
        self._last_grab_s: float | None = None
        self._outcome: Outcome | None = None
        self._play_from: tuple[float, float] | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"{THREAD_PREFIX}{camera_id}", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Deliver nothing more and end as soon as the running native call returns."""
        self._cancelled.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; False when it is still in a native call."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        """False once the thread has ended."""
        return self._thread.is_alive()

    @property
    def outcome(self) -> Outcome | None:
        """None while the session runs."""
        with self._lock:
            return self._outcome

    def progress(self) -> Progress:
        """What the session is doing now."""
        with self._lock:
            return Progress(
                phase=self._phase,
                since_s=self._since_s,
                grabbed=self._grabbed,
                last_grab_s=self._last_grab_s,
            )

    def _run(self) -> None:
        source: CameraSource | None = None
        outcome = Outcome()
        try:
            source = self._make_source(self._on_grab)
            source.open()
            outcome = self._read_all(source)
        except _CancelledError:
            pass  # whoever cancelled does not ask for an outcome
        except CameraTimeoutError as error:
            outcome = Outcome(silent=True, error=one_line(error))
        except CameraError as error:
            outcome = Outcome(error=one_line(error))
        except Exception as error:  # one camera's surprise must not end the others
            log.error("camera.crashed", camera=self._camera_id, exc_info=True)
            outcome = Outcome(error=one_line(f"internal error: {type(error).__name__}: {error}"))
        if source is not None:
            source.close()
        with self._lock:
            self._outcome = outcome
            self._phase = Phase.DONE
        self._wake.set()

    def _read_all(self, source: CameraSource) -> Outcome:
        while True:
            self._enter(Phase.READING)
            frame = source.read()
            if frame is None:
                self._enter(Phase.DELIVERING)
                self._sink.put(EndOfStream(camera_id=self._camera_id))
                warning = source.warning
                return Outcome(ended=True, error=None if warning is None else one_line(warning))
            if self._realtime:
                self._enter(Phase.WAITING)
                self._cancelled.wait(self._too_early_s(frame))
            self._enter(Phase.DELIVERING)
            if source.live:
                self._sink.offer(frame)
            else:
                self._sink.put(frame)

    def _too_early_s(self, frame: Frame) -> float:
        now_s = self._clock()
        if self._play_from is None:
            self._play_from = (now_s, frame.t_s)
        started_s, first_t_s = self._play_from
        return max(started_s + (frame.t_s - first_t_s) - now_s, 0.0)

    def _enter(self, phase: Phase) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        with self._lock:
            self._phase = phase
            self._since_s = self._clock()

    def _on_grab(self) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        now_s = self._clock()
        with self._lock:
            first = self._last_grab_s is None
            self._grabbed += 1
            self._last_grab_s = self._since_s = now_s
        if first:
            self._wake.set()


def captures_still_running() -> int:
    """Capture threads of this process that have not ended.

    Once every camera is closed these are hung inside a native call. An interpreter that shuts down
    while such a call returns is aborted (C++ unwinds a thread that Python ends), so a process with
    hung captures must leave through `os._exit`.
    """
    return sum(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate())


def one_line(error: object) -> str:
    """The message as one line of valid Unicode without credentials.

    A file's name may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
    """
    text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    return mask_credentials(" ".join(text.split()))
