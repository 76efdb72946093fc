"""A camera's life: open, read, notice that it is gone, come back; and telling the world about it.

The thread here never makes a native call. It watches a `Session`, which does, so that a capture
that hangs inside OpenCV or a driver delays nobody: it is given up (its thread cannot be ended and
waits, as a daemon thread, for the call to return) and a new session takes over after a pause.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType

import structlog

from alprd.cameras.frames import OnGrab
from alprd.cameras.network import silence
from alprd.cameras.opencv_setup import prepare_opencv
from alprd.cameras.pacing import Backoff, FileAxis, FpsMeter
from alprd.cameras.session import Outcome, Phase, Session, SourceFactory, one_line
from alprd.cameras.sources import CameraSource, kind_of, open_source
from alprd.config.models import CameraSettings
from alprd.core.types import CameraStatus
from alprd.ports import Beat, Clock, FrameSink, StateBoard
from alprd.threads import show_name

TICK_S = 0.5
STATUS_INTERVAL_S = 10.0
STOP_TIMEOUT_S = 0.8
HANG_GRACE_S = 5.0
"""A call may exceed its time-out by this much: OpenCV's own should have ended it long before."""

MAX_ABANDONED = 3
"""Hung captures kept per camera; beyond it no new one is opened until one of them returns."""

STEADY_S = 10.0
"""A camera that delivered for this long is retried quickly again."""

log = structlog.get_logger()


class CameraThread:
    """Keeps one camera delivering; a context manager: entering starts it, leaving stops it.

    Args:
        settings: the camera.
        sink: takes the frames.
        board: is told the camera's state on every change and about every 10 s.
        beat: called at least once a second, whatever the camera does.
        clock: monotonic seconds.
        make_source: makes the source of a session; default: what `settings.source` names.
        jitter: uniform in [0, 1), for the pauses between attempts.
        hang_grace_s: a native call that exceeds its time-out by more is given up.
        tick_s: how often the camera is looked at; at most 1.
    """

    def __init__(
        self,
        settings: CameraSettings,
        sink: FrameSink,
        board: StateBoard,
        beat: Beat,
        *,
        clock: Clock = time.monotonic,
        make_source: SourceFactory | None = None,
        jitter: Clock = random.random,
        hang_grace_s: float = HANG_GRACE_S,
        tick_s: float = TICK_S,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._beat = beat
        self._clock = clock
        self._axis = FileAxis()
        self._make_source = self._open_configured if make_source is None else make_source
        self._hang_grace_s = hang_grace_s
        self._tick_s = tick_s
        self._recorded = kind_of(settings.source).recorded
        self._backoff = Backoff(settings.retry_max_s, jitter)
        self._report = StatusReport(settings.id, sink, board, clock)
        self._abandoned: list[Session] = []
        self._ended: Outcome | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera-{settings.id}", daemon=True)

    def __enter__(self) -> CameraThread:
        prepare_opencv()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop within about a second; a capture that hangs is left to itself. Idempotent."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S + self._tick_s)

    @property
    def hung_captures(self) -> int:
        """Abandoned captures whose native call has not returned yet."""
        return sum(session.running for session in list(self._abandoned))

    def _open_configured(self, on_grab: OnGrab) -> CameraSource:
        return open_source(self._settings, clock=self._clock, axis=self._axis, on_grab=on_grab)

    def _run(self) -> None:
        show_name()
        error: str | None = None
        while not self._stopping.is_set():
            try:
                self._live(error)
            except Exception as surprise:  # a silently dead thread would stop the whole daemon
                log.error("camera.thread_crashed", camera=self._settings.id, exc_info=True)
                error = one_line(f"internal error: {type(surprise).__name__}: {surprise}")
                # Nothing is reported before the next turn: reporting may be what failed.
                self._pause(self._backoff.pause_s(), lambda: None)

    def _live(self, error: str | None) -> None:
        """The camera's life until it is stopped; `error` is what the last one ended with."""
        if not self._settings.enabled:
            self._report.change("disabled", None)
            self._idle_until_stopped()
            return
        if self._ended is None:
            self._report.change("offline", error)
        while self._ended is None and not self._stopping.is_set():
            outcome = self._one_session()
            if self._stopping.is_set():
                break
            if outcome.ended:
                log.info("camera.ended", camera=self._settings.id, error=outcome.error)
                self._ended = outcome
            else:
                self._after_loss(outcome)
        if self._ended is None:
            self._report.stopped()
        else:  # stays "ended": stopping adds nothing to it
            self._report.change("ended", self._ended.error)
            self._idle_until_stopped()

    def _one_session(self) -> Outcome:
        """Run a session until it is over, hangs, or the camera is stopped."""
        session = Session(
            self._settings.id,
            self._make_source,
            self._sink,
            realtime=self._recorded and self._settings.realtime,
            clock=self._clock,
            wake=self._wake,
        )
        session.start()
        try:
            return self._watch(session)
        except Exception:
            session.cancel()
            self._abandoned.append(session)
            raise

    def _watch(self, session: Session) -> Outcome:
        meter = FpsMeter()
        while not self._stopping.is_set():
            self._wake.wait(self._tick_s)
            self._wake.clear()
            self._beat()
            outcome = session.outcome
            if outcome is not None:
                return outcome
            hung = self._look_at(session, meter)
            if hung is not None:
                session.cancel()
                self._abandoned.append(session)
                log.warning("camera.hung", camera=self._settings.id, error=hung)
                return Outcome(error=hung)
        session.cancel()
        if not session.join(STOP_TIMEOUT_S):
            self._abandoned.append(session)
        return Outcome()

    def _look_at(self, session: Session, meter: FpsMeter) -> str | None:
        """Publish what the session is doing; the reason to give it up if it hangs."""
        progress = session.progress()
        now_s = self._clock()
        meter.note(now_s, progress.grabbed)
        self._report.frames(meter.fps(), progress.last_grab_s)
        silent_s = now_s - progress.since_s
        if progress.phase is Phase.OPENING:
            limit_s = self._settings.open_timeout_s
            if silent_s > limit_s + self._hang_grace_s:
                return f"opening hangs for {silent_s:.0f} s; restart the camera or its driver"
        elif progress.phase is Phase.READING and silent_s >= self._settings.read_timeout_s:
            if silent_s > self._settings.read_timeout_s + self._hang_grace_s:
                return f"reading hangs for {silent_s:.0f} s; restart the camera or its driver"
            self._report.change("stalled", silence(self._settings.read_timeout_s))
            return None
        if progress.last_grab_s is None:
            self._report.refresh()
            return None
        if progress.grabbed and self._report.change("online", None):
            log.info("camera.online", camera=self._settings.id)
        if self._report.online_for_s() >= STEADY_S:
            self._backoff.reset()
        return None

    def _after_loss(self, outcome: Outcome) -> None:
        """Say that the camera is gone, and wait before the next attempt."""
        pause_s = 0.0 if outcome.silent else self._backoff.pause_s()
        state = "stalled" if outcome.silent else "offline"
        if self._report.change(state, outcome.error):
            log.warning(
                "camera.lost",
                camera=self._settings.id,
                error=outcome.error,
                retry_in_s=round(pause_s, 1),
            )
        self._wait(pause_s)
        while len(self._still_abandoned()) >= MAX_ABANDONED and not self._stopping.is_set():
            self._report.change(
                "offline",
                f"{MAX_ABANDONED} captures hang in the driver; waiting for one of them to return, "
                "else restart the camera or alprd",
            )
            self._wait(self._tick_s)

    def _still_abandoned(self) -> list[Session]:
        self._abandoned = [session for session in self._abandoned if session.running]
        return self._abandoned

    def _wait(self, pause_s: float) -> None:
        self._pause(pause_s, self._report.refresh)

    def _pause(self, pause_s: float, meanwhile: Callable[[], None]) -> None:
        until_s = self._clock() + pause_s
        while not self._stopping.is_set() and (left_s := until_s - self._clock()) > 0.0:
            self._beat()
            meanwhile()
            self._stopping.wait(min(left_s, self._tick_s))

    def _idle_until_stopped(self) -> None:
        while not self._stopping.is_set():
            self._beat()
            self._report.refresh()
            self._stopping.wait(self._tick_s)


class StatusReport:
    """What the board is told about one camera: at once when it changes, else now and then."""

    def __init__(self, camera_id: str, sink: FrameSink, board: StateBoard, clock: Clock) -> None:
        self._camera_id = camera_id
        self._sink = sink
        self._board = board
        self._clock = clock
        self._state: str | None = None
        self._since_s = 0.0
        self._error: str | None = None
        self._fps: float | None = None
        self._last_frame_s: float | None = None
        self._published_s = 0.0

    def frames(self, fps: float | None, last_frame_s: float | None) -> None:
        """The figures of the running session."""
        self._fps = fps
        if last_frame_s is not None:
            self._last_frame_s = last_frame_s

    def change(self, state: str, error: str | None) -> bool:
        """The camera is in this state; True (and published) when that is news."""
        if (state, error) == (self._state, self._error):
            self.refresh()
            return False
        if state != self._state:
            self._since_s = self._clock()
        self._state, self._error = state, error
        self._publish()
        return True

    def stopped(self) -> None:
        """The camera is no longer looked at; why it was failing stays known."""
        self.change("offline", self._error)

    def refresh(self) -> None:
        """Publish again when the last time is long ago."""
        if self._state is not None and self._clock() - self._published_s >= STATUS_INTERVAL_S:
            self._publish()

    def online_for_s(self) -> float:
        """How long the camera has been online without a break; 0 when it is not."""
        return self._clock() - self._since_s if self._state == "online" else 0.0

    def _publish(self) -> None:
        now_s = self._published_s = self._clock()
        online = self._state == "online"
        self._board.camera_status(
            CameraStatus(
                camera_id=self._camera_id,
                state=self._state or "offline",
                fps=round(self._fps, 1) if online and self._fps is not None else None,
                dropped=self._sink.dropped(self._camera_id),
                last_frame_age_s=(
                    None if self._last_frame_s is None else round(now_s - self._last_frame_s, 1)
                ),
                last_error=self._error,
            )
        )
