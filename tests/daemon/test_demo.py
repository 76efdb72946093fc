"""`alprd demo` as a process: what a new user sees, and that nothing is left running."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from alprd.demo.broker import find_mosquitto
from alprd.demo.clip import DEMO_CARS, write_clip
from support.broker import free_port
from support.daemon import environment

TIMEOUT_S = 60.0
EVENT = re.compile(r"alpr/demo/plates +(\w+) ")
SPEED = re.compile(r"alpr/demo/plates +(\w+) .* (\d+) km/h ")


@pytest.fixture(autouse=True)
def _needs_the_mosquitto_program() -> None:
    try:
        find_mosquitto()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def silent() -> Iterator[str]:
    """An RTSP address that takes the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"rtsp://viewer:se$cret@127.0.0.1:{listening.getsockname()[1]}/main"


class Demo:
    """A running demonstration; `said` grows line by line."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.mark = f"DEMO_OF_TEST={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alprd", "demo", "--out", str(out), "--", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment({name: value}),
            start_new_session=True,  # as a terminal's foreground job
        )
        self._news = threading.Condition()
        self._said = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def said(self) -> str:
        with self._news:
            return self._said

    def wait_for(self, text: str, timeout_s: float = TIMEOUT_S) -> None:
        with self._news:
            if not self._news.wait_for(lambda: text in self._said, timeout_s):
                raise AssertionError(f"no {text!r} in {timeout_s:g} s; it said:\n{self._said}")

    def ctrl_c(self) -> None:
        """As the terminal does: to the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit code, once everything that it said is here."""
        code = self.process.wait(timeout_s)
        self._reading.join(TIMEOUT_S)
        return code

    def others(self) -> dict[int, str]:
        """Every other process of this demonstration: pid -> command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environ = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:  # gone meanwhile, or another user's
                continue
            if self.mark.encode() in environ.split(b"\0") and int(folder.name) != self.process.pid:
                found[int(folder.name)] = command.replace(b"\0", b" ").decode()
        return found

    def kill_child(self, part: str) -> None:
        """SIGKILL for the child with `part` in its command line, once it is there."""
        give_up_at_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < give_up_at_s:
            for pid, command in self.others().items():
                if part in command and "setpriv" not in command:
                    os.kill(pid, signal.SIGKILL)
                    return
            threading.Event().wait(0.05)  # nobody tells us when another process starts one
        raise AssertionError(f"no {part} among {self.others()}")

    def leaves_nothing_running(self) -> bool:
        give_up_at_s = time.monotonic() + 5.0
        while self.others() and time.monotonic() < give_up_at_s:
            threading.Event().wait(0.05)
        return not self.others()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._news:
                    self._said += line
                    self._news.notify_all()


@contextmanager
def demo(out: Path, *arguments: str) -> Iterator[Demo]:
    running = Demo(out, *arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.wait()
        for pid in running.others():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.once
@pytest.mark.timeout(240)
def test_the_rendered_vehicles_are_reported_once_each_and_drawn_and_rendered_once(
    tmp_path: Path,
) -> None:
    for beginning in ("Rendering", "Using"):
        with demo(tmp_path) as running:
            code = running.wait(110.0)  # half a minute's work, shared with others
        assert code == 0, running.said
        assert running.said.startswith(beginning)
        assert sorted(EVENT.findall(running.said)) == sorted(car.text for car in DEMO_CARS)
        told_kmh = {text: float(kmh) for text, kmh in SPEED.findall(running.said)}
        for car in DEMO_CARS:
            assert told_kmh[car.text] == pytest.approx(3.6 * abs(car.speed_mps), abs=1.5)
        (drawn,) = (tmp_path / "annotated").iterdir()
        assert f"drawn: {drawn}\n" in running.said
        capture = cv2.VideoCapture(str(drawn))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 180
        capture.release()
        assert running.leaves_nothing_running()


@pytest.mark.once
@pytest.mark.timeout(240)
def test_ctrl_c_still_shows_the_vehicles_in_sight(tmp_path: Path) -> None:
    clip = tmp_path / "long.mp4"
    write_clip(clip, seconds=20.0)
    with demo(tmp_path / "out", str(clip)) as running:
        running.wait_for("alpr/demo/plates")
        running.ctrl_c()
        code = running.wait()
        assert code == 130, running.said
        afterwards = running.said.partition("Stopping")[2]
        assert EVENT.search(afterwards), running.said
        assert "drawn" not in running.said
        assert running.leaves_nothing_running()


def test_a_missing_clip_is_one_line_and_begins_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with demo(out, "nosuch.mp4") as running:
        assert running.wait() == 1
    assert running.said.count("\n") == 1
    assert "nosuch.mp4" in running.said
    assert not out.exists()


def test_a_clip_that_cannot_be_read_says_why_and_claims_no_drawing(tmp_path: Path) -> None:
    clip = tmp_path / "broken.mp4"
    clip.write_bytes(b"\0" * 1000)
    with demo(tmp_path / "out", str(clip)) as running:
        assert running.wait() == 1
        assert running.leaves_nothing_running()
    assert re.search(r"alpr/demo/status +offline: .*broken\.mp4", running.said), running.said
    assert "drawn: " not in running.said
    assert not (tmp_path / "out" / "annotated").exists()


def test_a_camera_that_refuses_is_named_with_the_reason_and_without_its_password(
    tmp_path: Path,
) -> None:
    with demo(tmp_path, f"rtsp://viewer:se$cret@127.0.0.1:{free_port()}/main") as running:
        running.wait_for("offline: ")
        running.ctrl_c()
        assert running.wait() == 0, running.said
        assert running.leaves_nothing_running()
    assert "0 events" in running.said
    assert "se$cret" not in running.said + (tmp_path / "alprd.log").read_text()
    config = tmp_path / "state" / "alprd.toml"
    assert "se$cret" in config.read_text()
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "--until-end" not in running.said


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGHUP,
        pytest.param(
            signal.SIGKILL,
            marks=pytest.mark.skipif(
                os.geteuid() == 0 or shutil.which("setpriv") is None,
                reason="root's Mosquitto changes its user; the kernel forgets whose child it is",
            ),
        ),
    ],
)
def test_no_way_of_ending_it_leaves_a_process_behind(
    tmp_path: Path, silent: str, number: signal.Signals
) -> None:
    with demo(tmp_path, silent) as running:
        running.wait_for("Watching")
        give_up_at_s = time.monotonic() + TIMEOUT_S
        while len(running.others()) < 2 and time.monotonic() < give_up_at_s:
            threading.Event().wait(0.05)
        running.process.send_signal(number)
        running.wait()
        assert running.leaves_nothing_running(), running.others()


@pytest.mark.parametrize(
    ("part", "complaint"),
    [("mosquitto -c", "mosquitto has ended"), ("alprd run", "the daemon was ended by SIGKILL")],
)
def test_a_part_that_dies_ends_the_demonstration_with_the_reason(
    tmp_path: Path, silent: str, part: str, complaint: str
) -> None:
    with demo(tmp_path, silent) as running:
        running.wait_for("Watching")
        running.kill_child(part)
        assert running.wait() == 1, running.said
        assert complaint in running.said
        assert running.leaves_nothing_running()


def test_two_demonstrations_do_not_share_a_folder(tmp_path: Path, silent: str) -> None:
    with demo(tmp_path, silent) as first:
        first.wait_for("Watching")
        with demo(tmp_path, silent) as second:
            assert second.wait() == 1
        assert "--out" in second.said
        assert first.process.poll() is None


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, silent: str) -> None:
    command = [sys.executable, "-m", "alprd", "demo", "--out", str(tmp_path), silent]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
