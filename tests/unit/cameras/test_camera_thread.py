"""A camera's life as its status tells it: lost, hung, back, ended, stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone

import numpy as np
import pytest

from alprd.cameras.frames import OnGrab
from alprd.cameras.mux import FrameMux
from alprd.cameras.network import CameraTimeoutError
from alprd.cameras.session import captures_still_running
from alprd.cameras.thread import MAX_ABANDONED, CameraThread
from alprd.config.models import CameraSettings
from alprd.core.types import CameraStatus, EndOfStream, Frame
from alprd.ports import CameraError
from support.boards import RecordingBoard

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
IMAGE = np.zeros((2, 2, 3), np.uint8)
Script = Callable[[], Frame | None]


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedSource:
    """A source whose `open` and `read` do what the test says."""

    def __init__(
        self,
        on_grab: OnGrab,
        *,
        opening: Callable[[], None] = lambda: None,
        reading: Script = lambda: None,
        live: bool = True,
        warning: str | None = None,
    ) -> None:
        self._on_grab = on_grab
        self._opening = opening
        self._reading = reading
        self.live = live
        self.warning = warning
        self.closed = False

    def open(self) -> None:
        self._opening()

    def read(self) -> Frame | None:
        frame = self._reading()
        if frame is not None:
            self._on_grab()
        return frame

    def close(self) -> None:
        self.closed = True


def make_frame(seq: int = 0, t_s: float = 0.0) -> Frame:
    return Frame(camera_id="gate", seq=seq, captured_at=AT, t_s=t_s, image=IMAGE)


def fail(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


class Bench:
    """A camera thread with everything around it."""

    def __init__(self) -> None:
        self.board = RecordingBoard()
        self.mux = FrameMux()
        self.clock = Clock()
        self.beats = 0
        self.sources: list[ScriptedSource] = []
        self.running = ExitStack()
        self.released = threading.Event()
        self.hanging = threading.Event()

    def beat(self) -> None:
        self.beats += 1

    def run(
        self, *scripts: dict[str, object], live: bool = True, **settings: object
    ) -> CameraThread:
        """Start a camera whose first session follows the first script; the last one repeats."""

        def make(on_grab: OnGrab) -> ScriptedSource:
            script = scripts[min(len(self.sources), len(scripts) - 1)]
            source = ScriptedSource(on_grab, live=live, **script)  # type: ignore[arg-type]
            self.sources.append(source)
            return source

        source = "rtsp://u:geheim@cam/x" if live else "clip.mp4"
        camera = CameraThread(
            CameraSettings.model_validate({"id": "gate", "source": source, **settings}),
            self.mux,
            self.board,
            self.beat,
            clock=self.clock,
            make_source=make,
            jitter=lambda: 1.0,
            tick_s=0.005,
        )
        return self.running.enter_context(camera)

    def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.board.statuses
            self.released.wait(0.002)

    def online_again(self) -> None:
        """Lets time pass until the camera is online."""

        def look() -> bool:
            self.clock.now_s += 0.05
            return self.board.last.state == "online"

        self.until(look)

    def hang(self) -> None:
        """A native call that does not return until it is released."""
        self.hanging.set()
        self.released.wait()

    def steady(self) -> Frame:
        """A camera that delivers all the time."""
        self.released.wait(0.002)
        return make_frame()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.released.set()
    made.mux.close()
    made.running.close()


def test_a_camera_that_delivers_is_online_and_its_frames_are_offered(bench: Bench) -> None:
    bench.run({"reading": bench.steady})
    bench.board.wait_for_state("online")
    assert bench.board.states == ["offline", "online"]
    assert bench.board.last.last_error is None
    assert isinstance(bench.mux.take(1, 5.0)[0], Frame)


def test_a_camera_that_cannot_be_opened_is_offline_with_the_reason(bench: Bench) -> None:
    refused = CameraError("cam:554: connection refused\nfor rtsp://u:geheim@cam/x")
    bench.run({"opening": fail(refused)})
    status = bench.board.wait_for(lambda s: s.last_error is not None)
    assert status.state == "offline"
    assert status.last_error == "cam:554: connection refused for rtsp://u:***@cam/x"
    bench.until(lambda: bench.sources[0].closed)


def test_attempts_pause_longer_and_longer(bench: Bench) -> None:
    bench.run({"opening": fail(CameraError("refused"))}, retry_max_s=4.0)
    started_s = bench.clock.now_s
    attempts_at = []
    for attempt in range(1, 6):
        bench.until(lambda attempt=attempt: len(bench.sources) == attempt)
        attempts_at.append(bench.clock.now_s - started_s)
        while len(bench.sources) == attempt:
            bench.released.wait(0.02)
            if len(bench.sources) == attempt:
                bench.clock.now_s += 0.5
    pauses = np.diff(attempts_at)
    assert [round(float(pause)) for pause in pauses] == [1, 2, 4, 4]


def test_a_lost_camera_is_offline_and_comes_back(bench: Bench) -> None:
    frames = iter([make_frame()])

    def once() -> Frame:
        for frame in frames:
            return frame
        raise CameraError("the connection was lost")

    bench.run({"reading": once}, {"reading": bench.steady})
    lost = bench.board.wait_for(lambda s: s.last_error is not None)
    assert (lost.state, lost.last_error) == ("offline", "the connection was lost")
    bench.online_again()


def test_a_silent_camera_is_stalled_and_reopened_at_once(bench: Bench) -> None:
    def silence() -> Frame:
        raise CameraTimeoutError("no frame for 10 s")

    bench.run({"reading": silence}, {"reading": bench.steady})
    status = bench.board.wait_for_state("stalled")
    assert status.last_error == "no frame for 10 s"
    bench.board.wait_for_state("online")


def test_a_read_that_hangs_is_stalled_then_given_up_and_replaced(bench: Bench) -> None:
    camera = bench.run({"reading": bench.hang}, {"reading": bench.steady}, read_timeout_s=10.0)
    bench.until(bench.hanging.is_set)
    bench.clock.now_s += 11.0
    bench.board.wait_for_state("stalled")
    bench.clock.now_s += 5.0
    given_up = bench.board.wait_for(lambda s: "hangs" in (s.last_error or ""))
    assert given_up.state == "offline"
    assert camera.hung_captures == 1
    bench.online_again()
    bench.released.set()
    bench.until(lambda: camera.hung_captures == 0)
    assert bench.sources[0].closed


def test_an_open_that_hangs_is_given_up_and_replaced(bench: Bench) -> None:
    bench.run({"opening": bench.hang}, {"reading": bench.steady}, open_timeout_s=10.0)
    bench.until(bench.hanging.is_set)
    bench.clock.now_s += 16.0
    bench.board.wait_for(lambda s: "opening hangs" in (s.last_error or ""))
    bench.online_again()


def test_hung_captures_do_not_pile_up(bench: Bench) -> None:
    camera = bench.run({"opening": bench.hang}, open_timeout_s=10.0, retry_max_s=1.0)

    def all_hang() -> bool:
        bench.clock.now_s += 1.0
        # Before the thread has run there is no status at all.
        return any("captures hang" in (s.last_error or "") for s in bench.board.statuses[-1:])

    bench.until(all_hang)
    assert camera.hung_captures == MAX_ABANDONED
    bench.clock.now_s += 100.0
    beats = bench.beats
    bench.until(lambda: bench.beats > beats + 5)
    assert len(bench.sources) == MAX_ABANDONED
    assert bench.board.last.state == "offline"


def test_a_late_frame_of_a_given_up_capture_is_not_delivered(bench: Bench) -> None:
    returning = threading.Event()

    def late() -> Frame:
        bench.hanging.set()
        returning.wait()
        return make_frame(seq=99)

    camera = bench.run({"reading": late}, {"opening": fail(CameraError("refused"))})
    bench.until(bench.hanging.is_set)
    bench.clock.now_s += 16.0
    bench.until(lambda: camera.hung_captures == 1)
    returning.set()
    bench.until(lambda: camera.hung_captures == 0)
    assert bench.mux.take(1, 0.0) == []


def test_it_beats_whatever_the_capture_does(bench: Bench) -> None:
    bench.run({"opening": bench.hang})
    bench.until(lambda: bench.beats > 5)


def test_a_surprise_inside_a_source_is_an_offline_camera(bench: Bench) -> None:
    bench.run({"opening": fail(ZeroDivisionError("surprise"))}, {"reading": bench.steady})
    status = bench.board.wait_for(lambda s: s.last_error is not None)
    assert status.last_error == "internal error: ZeroDivisionError: surprise"
    bench.online_again()


def test_a_file_name_that_is_not_utf8_becomes_readable_text(bench: Bench) -> None:
    bench.run({"opening": fail(CameraError("stra\udcdfe.mp4 does not exist"))})
    status = bench.board.wait_for(lambda s: s.last_error is not None)
    assert status.last_error == r"stra\udcdfe.mp4 does not exist"


def test_a_board_that_fails_does_not_end_the_camera(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember = bench.board.camera_status
    refused: list[str] = []

    def refuse_online_once(status: CameraStatus) -> None:
        if status.state == "online" and not refused:
            refused.append(status.state)
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "surprise")
        remember(status)

    monkeypatch.setattr(bench.board, "camera_status", refuse_online_once)
    bench.run({"reading": bench.steady})
    bench.until(lambda: bool(refused))
    bench.online_again()
    status = next(s for s in bench.board.statuses if s.last_error is not None)
    assert status.state == "offline"
    assert "internal error: UnicodeEncodeError" in (status.last_error or "")
    assert len(bench.sources) == 2
    bench.until(lambda: bench.sources[0].closed)  # its session was not left to itself


def test_a_surprise_after_a_files_end_does_not_play_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember = bench.board.camera_status
    ends: list[str] = []

    def refuse_the_first_end(status: CameraStatus) -> None:
        if status.state == "ended":
            ends.append(status.state)
            if len(ends) == 1:
                raise ZeroDivisionError
        remember(status)

    monkeypatch.setattr(bench.board, "camera_status", refuse_the_first_end)
    bench.run({"reading": lambda: None}, live=False)
    bench.until(lambda: bool(ends))
    bench.clock.now_s += 60.0
    beats = bench.beats
    bench.until(lambda: bench.beats > beats + 3)
    assert len(bench.sources) == 1


def test_a_file_is_put_whole_and_ended(bench: Bench) -> None:
    frames = iter([make_frame(0), make_frame(1), make_frame(2)])
    bench.run({"reading": lambda: next(frames, None), "warning": "cut off"}, live=False)
    got = [bench.mux.take(1, 5.0)[0] for _ in range(4)]
    assert [item.seq for item in got if isinstance(item, Frame)] == [0, 1, 2]
    assert got[-1] == EndOfStream(camera_id="gate")
    ended = bench.board.wait_for_state("ended")
    assert ended.last_error == "cut off"
    assert len(bench.sources) == 1
    assert bench.sources[0].closed


def test_a_file_that_waits_for_inference_is_neither_stalled_nor_hung(bench: Bench) -> None:
    frames = iter(make_frame(n) for n in range(10))
    bench.run({"reading": lambda: next(frames, None)}, live=False)
    bench.board.wait_for_state("online")
    bench.clock.now_s += 100.0
    beats = bench.beats
    bench.until(lambda: bench.beats > beats + 5)
    assert bench.board.states == ["offline", "online"]


def test_a_realtime_file_keeps_its_own_speed(bench: Bench) -> None:
    frames = iter([make_frame(0, 0.0), make_frame(1, 0.1)])
    started_s = time.monotonic()
    bench.run({"reading": lambda: next(frames, None)}, live=False, realtime=True)
    bench.board.wait_for_state("ended")
    assert 0.1 <= time.monotonic() - started_s < 2.0


def test_a_disabled_camera_is_not_opened(bench: Bench) -> None:
    bench.run({"reading": bench.steady}, enabled=False)
    bench.until(lambda: bench.beats > 3)
    assert bench.board.states == ["disabled"]
    assert bench.sources == []


def test_the_status_comes_again_every_ten_seconds(bench: Bench) -> None:
    bench.run({"reading": bench.steady})
    bench.board.wait_for_state("online")
    count = len(bench.board.statuses)

    def pass_by(seconds: float) -> int:
        bench.clock.now_s += seconds
        beats = bench.beats
        bench.until(lambda: bench.beats > beats + 3)
        return len(bench.board.statuses) - count

    assert [pass_by(seconds) for seconds in (9.0, 1.0, 9.0, 1.0)] == [0, 1, 1, 2]
    assert bench.board.last.dropped > 0


def test_stopping_a_delivering_camera_is_quick_and_ends_offline(bench: Bench) -> None:
    camera = bench.run({"reading": bench.steady})
    bench.board.wait_for_state("online")
    camera.close()
    camera.close()
    assert bench.board.last.state == "offline"
    assert bench.sources[0].closed


def test_the_reason_of_a_failing_camera_is_still_known_after_the_stop(bench: Bench) -> None:
    def silence() -> Frame:
        raise CameraTimeoutError("no frame for 10 s")

    camera = bench.run({"reading": silence}, {"opening": bench.hang})
    bench.board.wait_for_state("stalled")
    camera.close()
    assert (bench.board.last.state, bench.board.last.last_error) == ("offline", "no frame for 10 s")


def test_stopping_a_hung_camera_takes_about_a_second(bench: Bench) -> None:
    camera = bench.run({"reading": bench.hang})
    bench.until(bench.hanging.is_set)
    started_s = time.monotonic()
    camera.close()
    assert time.monotonic() - started_s < 1.5
    assert camera.hung_captures == 1
    assert captures_still_running() == 1
    bench.released.set()
    bench.until(lambda: captures_still_running() == 0)


def test_stopping_during_a_pause_is_immediate(bench: Bench) -> None:
    camera = bench.run({"opening": fail(CameraError("refused"))})
    bench.board.wait_for(lambda s: s.last_error is not None)
    started_s = time.monotonic()
    camera.close()
    assert time.monotonic() - started_s < 0.5
