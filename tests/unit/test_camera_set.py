"""The set of cameras starts, stops and remembers; captures are stand-ins."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from alprd.camera_set import CameraBook, CameraSet, live_cameras, recorded_cameras
from alprd.config import CameraSettings
from alprd.core.types import CameraStatus
from support.outboxes import HandClock


class RecordingBoard:
    def __init__(self) -> None:
        self.statuses: list[tuple[str, str]] = []
        self.lights: list[str | None] = []
        self.messages: list[tuple[str, Mapping[str, Any], bool]] = []

    def camera_status(self, status: CameraStatus) -> None:
        self.statuses.append((status.camera_id, status.state))
        self.lights.append(status.light)

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        self.messages.append((name, payload, retain))


class Capture:
    def __init__(
        self, settings: CameraSettings, log: list[str], barrier: threading.Barrier
    ) -> None:
        self._id = settings.id
        self._log = log
        self._barrier = barrier

    def __enter__(self) -> Capture:
        self._log.append(f"start {self._id}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._barrier.wait(5.0)
        self._log.append(f"stop {self._id}")


def camera(name: str, *, enabled: bool = True) -> CameraSettings:
    return CameraSettings(id=name, source="/x", enabled=enabled)


def test_all_cameras_stop_at_the_same_time() -> None:
    log: list[str] = []
    together = threading.Barrier(3)  # breaks, and fails the test, unless all three stop at once
    with CameraSet(lambda s: Capture(s, log, together), RecordingBoard()) as cameras:
        cameras.start([camera("a"), camera("b"), camera("c")])
    assert log[:3] == ["start a", "start b", "start c"]
    assert sorted(log[3:]) == ["stop a", "stop b", "stop c"]


def test_one_camera_can_be_replaced_while_the_others_run() -> None:
    log: list[str] = []
    with CameraSet(lambda s: Capture(s, log, threading.Barrier(1)), RecordingBoard()) as cameras:
        cameras.start([camera("a"), camera("b")])
        cameras.stop(["a", "unknown"])
        cameras.start([camera("a")])
        assert log == ["start a", "start b", "stop a", "start a"]


def test_a_disabled_camera_is_reported_and_never_opened() -> None:
    log: list[str] = []
    board = RecordingBoard()
    with CameraSet(lambda s: Capture(s, log, threading.Barrier(1)), board) as cameras:
        cameras.start([camera("a", enabled=False)])
    assert log == []
    assert board.statuses == [("a", "disabled")]


def test_the_book_passes_everything_on_and_calls_back_only_on_a_change_of_state() -> None:
    board = RecordingBoard()
    changes: list[None] = []
    book = CameraBook(board, lambda: changes.append(None))
    for state in ("online", "online", "stalled"):
        book.camera_status(CameraStatus(camera_id="a", state=state))
    book.device("info", {}, retain=True)
    assert [state for _, state in board.statuses] == ["online", "online", "stalled"]
    assert board.messages == [("info", {}, True)]
    assert len(changes) == 2


def test_the_end_is_when_every_enabled_camera_has_ended() -> None:
    book = CameraBook(RecordingBoard(), lambda: None)
    files = {"a", "b"}
    book.camera_status(CameraStatus(camera_id="a", state="ended"))
    assert not book.over(files, files)  # b has not said anything yet
    book.camera_status(CameraStatus(camera_id="b", state="online"))
    assert not book.over(files, files)
    assert book.count("online") == 1
    assert book.over({"a"}, files)
    book.camera_status(CameraStatus(camera_id="b", state="ended"))
    assert book.over(files, files)
    assert book.failures() == {}


def test_a_file_that_cannot_be_opened_is_over_too_and_a_live_camera_is_not() -> None:
    book = CameraBook(RecordingBoard(), lambda: None)
    book.camera_status(CameraStatus(camera_id="a", state="offline"))
    assert not book.over({"a"}, {"a"})  # it has not been tried yet
    book.camera_status(CameraStatus(camera_id="a", state="offline", last_error="no such file"))
    assert book.over({"a"}, {"a"})
    assert not book.over({"a"}, set())
    assert book.failures() == {"a": "no such file"}


def test_time_goes_on_without_frames_for_all_but_files_read_as_fast_as_possible() -> None:
    cameras = [
        CameraSettings(id="stream", source="rtsp://h/x"),
        CameraSettings(id="clip", source="/clips/a.mp4"),
        CameraSettings(id="paced", source="/clips/a.mp4", realtime=True),
    ]
    assert recorded_cameras(cameras) == {"clip", "paced"}
    assert live_cameras(cameras) == {"stream", "paced"}


def test_a_status_is_passed_on_at_once_when_it_is_news_and_else_at_the_interval_in_force() -> None:
    board, clock, every_s = RecordingBoard(), HandClock(), [60.0]
    book = CameraBook(board, lambda: None, every_s=lambda: every_s[0], clock=clock)

    def said(seconds: int, state: str, fps: float | None = None) -> int:
        """How many messages came of so many seconds in this state, told every ten."""
        board.statuses.clear()
        for _ in range(seconds // 10):
            book.camera_status(CameraStatus(camera_id="gate", state=state, fps=fps))  # type: ignore[arg-type]
            clock.seconds += 10.0
        return len(board.statuses)

    assert said(10, "online") == 1
    assert said(10, "online", 9.5) == 1  # its first rate
    assert said(600, "online", 10.0) == 10
    assert said(10, "stalled") == 1
    assert said(10, "online", 10.0) == 1
    every_s[0] = 10.0  # a reload
    assert said(100, "online", 10.0) == 10
    assert book.statuses()["gate"].fps == 10.0


def test_a_cameras_light_is_news_once_and_stays_in_its_status() -> None:
    board = RecordingBoard()
    book = CameraBook(board, lambda: None, every_s=lambda: 60.0)
    book.note_light("gate", "day")  # before the camera was heard of
    book.camera_status(CameraStatus(camera_id="gate", state="online", fps=25.0))
    book.note_light("gate", "day")
    book.note_light("gate", "infrared")
    book.note_light("gate", "infrared")
    book.camera_status(CameraStatus(camera_id="gate", state="online", fps=24.9))
    assert board.lights == ["day", "infrared"]
    assert book.statuses()["gate"].light == "infrared"
