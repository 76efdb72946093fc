"""Real network cameras: GStreamer's RTSP server, and everything that goes wrong on the way."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.cameras import CameraThread, FrameMux, open_source
from alprd.config.models import CameraSettings
from alprd.core.types import Frame
from alprd.ports import CameraError
from support.boards import RecordingBoard
from support.clips import number_of, write_clip
from support.rtsp import RtspServer, require_rtsp_server

ODD = "p:@/ä ?#%"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of numbered frames."""
    return write_clip(tmp_path_factory.mktemp("rtsp") / "clip.mp4", frames=30, repeats=50)


@pytest.fixture
def server(clip: Path) -> Iterator[RtspServer]:
    require_rtsp_server()
    with RtspServer(clip) as running:
        yield running


class Listener:
    """A TCP server on a free port that answers every connection with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self._stopped = threading.Event()
        self.accepted = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)
        self._socket.close()

    def _serve(self) -> None:
        kept = []  # a connection that is forgotten would be closed
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                break
            kept.append(connection)
            self.accepted.release()
            if self._answer:
                connection.settimeout(1.0)
                try:
                    connection.recv(4096)
                    connection.sendall(self._answer)
                    connection.close()
                except OSError:
                    continue
        for connection in kept:
            connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def settings_of(source: str, **more: object) -> CameraSettings:
    short = {"open_timeout_s": 2.0, "read_timeout_s": 2.0, "retry_max_s": 1.0}
    return CameraSettings.model_validate({"id": "gate", "source": source, **short, **more})


def refusal(source: str, **more: object) -> str:
    """Why the source cannot be opened."""
    camera = open_source(settings_of(source, **more))
    with pytest.raises(CameraError) as caught:
        camera.open()
    camera.close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def next_frame(mux: FrameMux) -> Frame:
    for item in mux.take(1, 20.0):
        if isinstance(item, Frame):
            return item
    raise AssertionError("no frame within 20 s")


def test_frames_of_an_rtsp_stream_come_in_order_stamped_with_the_steady_clock(
    server: RtspServer,
) -> None:
    camera = open_source(settings_of(server.url))
    camera.open()
    before_s = time.monotonic()
    frames = [camera.read() for _ in range(30)]
    camera.close()
    numbers = [number_of(frame.image) for frame in frames if frame is not None]
    assert numbers == [(numbers[0] + n) % 30 for n in range(30)]
    times = [frame.t_s for frame in frames if frame is not None]
    assert before_s <= times[0] <= times[-1] <= time.monotonic()


def test_the_rate_limit_of_a_live_camera_keeps_reading_so_that_frames_stay_fresh(
    server: RtspServer,
) -> None:
    taken = []
    camera = open_source(settings_of(server.url, max_fps=2.0), on_grab=lambda: taken.append(1))
    camera.open()
    frames = [camera.read() for _ in range(4)]
    camera.close()
    steps = np.diff([frame.t_s for frame in frames if frame is not None])
    assert (steps > 0.45).all()
    assert len(taken) > 30


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_a_login_with_odd_characters_works_and_a_wrong_one_is_named(
    clip: Path, method: str
) -> None:
    require_rtsp_server()
    with RtspServer(clip, user="ad min", password=ODD, method=method) as running:
        camera = open_source(settings_of(running.url, username="ad min", password=ODD))
        camera.open()
        assert camera.read() is not None
        camera.close()
        assert "unauthorised (401): wrong user name or password" in refusal(
            running.url, username="ad min", password=ODD[::-1]
        )
        with_wrong = running.url.replace("//", "//admin:geheim@")
        assert "geheim" not in refusal(with_wrong)
        assert "wants a login; set username and password_file" in refusal(running.url)


def test_a_wrong_path_is_named(server: RtspServer) -> None:
    assert "no such stream (404 not found); check the path" in refusal(server.url + "/nope")


def test_a_closed_port_is_named() -> None:
    port = free_port()
    said = refusal(f"rtsp://u:geheim@127.0.0.1:{port}/x")
    assert said.startswith(f"127.0.0.1:{port}: connection refused; check the port")


def test_an_unknown_host_is_named() -> None:
    assert "camera.invalid: unknown host name; check the name" in refusal("rtsp://camera.invalid/x")


def test_a_server_that_answers_rubbish_is_named() -> None:
    with Listener(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as other:
        said = refusal(f"rtsp://127.0.0.1:{other.port}/x")
    assert "not with RTSP; check the port" in said


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_flood_of_random_bytes_is_refused_in_time(scheme: str) -> None:
    with Listener(np.random.default_rng(3).bytes(200_000)) as other:
        started_s = time.monotonic()
        refusal(f"{scheme}://127.0.0.1:{other.port}/x")
        assert time.monotonic() - started_s < 6.0


def test_a_server_that_never_answers_is_refused_after_the_timeout() -> None:
    with Listener(b"") as silent:
        started_s = time.monotonic()
        said = refusal(f"rtsp://127.0.0.1:{silent.port}/x")
        assert 1.5 < time.monotonic() - started_s < 4.0
    assert "accepts the connection but sends no video (timeout after 2 s)" in said


def test_a_camera_that_never_answers_does_not_keep_another_from_opening(
    server: RtspServer,
) -> None:
    mux, board = FrameMux(), RecordingBoard()
    with (
        Listener(b"") as silent,
        CameraThread(
            settings_of(f"rtsp://127.0.0.1:{silent.port}/x", id="bad", open_timeout_s=8.0),
            mux,
            RecordingBoard(),
            beat=lambda: None,
        ),
    ):
        for _ in range(2):  # our own trial connection, then OpenCV's, which now waits inside open
            assert silent.accepted.acquire(timeout=10.0)
        started_s = time.monotonic()
        with CameraThread(settings_of(server.url), mux, board, beat=lambda: None):
            assert next_frame(mux).camera_id == "gate"
        assert time.monotonic() - started_s < 5.0


def test_a_killed_server_is_offline_and_its_return_is_noticed(server: RtspServer) -> None:
    mux, board = FrameMux(), RecordingBoard()
    with CameraThread(settings_of(server.url), mux, board, beat=lambda: None):
        board.wait_for_state("online")
        next_frame(mux)
        server.kill()
        lost = board.wait_for(lambda s: s.state == "offline" and "refused" in (s.last_error or ""))
        assert lost.fps is None
        known = len(board.statuses)
        server.start()
        board.wait_for_state("online", after=known)
        newest = next_frame(mux)
        while (later := next_frame(mux)).t_s <= newest.t_s + 0.5:
            continue
    assert later.t_s > newest.t_s
    assert board.states[-1] == "offline"


def test_a_server_that_freezes_is_stalled_then_offline_then_online_again(
    server: RtspServer,
) -> None:
    mux, board = FrameMux(), RecordingBoard()
    with CameraThread(settings_of(server.url), mux, board, beat=lambda: None, tick_s=0.1):
        board.wait_for_state("online")
        server.pause()
        try:
            stalled = board.wait_for_state("stalled", timeout_s=10.0)
            assert stalled.last_error == "no frame for 2 s; reconnecting"
            board.wait_for_state("offline", after=board.statuses.index(stalled))
            known = len(board.statuses)
        finally:
            server.resume()
        board.wait_for_state("online", after=known)


def test_an_offline_camera_costs_next_to_no_processor_time() -> None:
    board = RecordingBoard()
    source = f"rtsp://127.0.0.1:{free_port()}/x"
    with CameraThread(settings_of(source), FrameMux(), board, beat=lambda: None):
        board.wait_for(lambda s: s.last_error is not None)
        used_s, started_s = time.process_time(), time.monotonic()
        threading.Event().wait(3.0)
        share = (time.process_time() - used_s) / (time.monotonic() - started_s)
    assert share < 0.02


def test_a_pipeline_without_gstreamer_names_the_remedy() -> None:
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    said = refusal("videotestsrc ! videoconvert ! appsink")
    assert "has no GStreamer" in said
    assert "apt install python3-opencv" in said


def test_a_pipeline_delivers_frames_where_opencv_has_gstreamer() -> None:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has no GStreamer")
    camera = open_source(
        settings_of(
            "videotestsrc is-live=true ! video/x-raw,width=320,height=240 ! videoconvert "
            "! video/x-raw,format=BGR ! appsink drop=1 max-buffers=1"
        )
    )
    camera.open()
    frame = camera.read()
    camera.close()
    assert frame is not None
    assert frame.image.shape == (240, 320, 3)


def test_a_missing_device_names_the_remedy() -> None:
    assert "no such device" in refusal("/dev/video-that-is-not-there")


def test_a_device_that_is_no_camera_is_refused() -> None:
    assert "not a camera" in refusal("/dev/null")


def test_a_real_device_delivers_frames() -> None:
    device = os.environ.get("ALPRD_TEST_VIDEO_DEVICE")
    if device is None:
        pytest.skip("no camera: name one in ALPRD_TEST_VIDEO_DEVICE, for instance a v4l2loopback")
    camera = open_source(settings_of(device))
    camera.open()
    assert camera.read() is not None
    camera.close()
