"""A real Mosquitto for tests: in a container, or as a plain program.

ALPRD_TEST_BROKER=container or =binary chooses; without it a container is used where one can be
run, else the program. CI (the variable CI is set) insists on the container.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.mosquitto_image import PROGRAM, Engine, NoContainerError, find_engine

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Launcher:
    """Starts Mosquitto in the foreground: the `program` of this machine, or in a container."""

    program: str
    engine: Engine | None = None

    @property
    def kind(self) -> str:
        """`container` or `binary`."""
        return "binary" if self.engine is None else "container"

    def command(self, name: str, folder: Path, arguments: Sequence[str]) -> list[str]:
        """What to execute; a container's client stays in the foreground beside it."""
        if self.engine is None:
            return [self.program, *arguments]
        return self.engine.run_command(name, folder, arguments)

    def kill(self, name: str, process: subprocess.Popen[str]) -> None:
        """SIGKILL for Mosquitto itself."""
        if self.engine is None:
            process.kill()
            return
        # A container's client passes every signal on but this one.
        subprocess.run(
            [*self.engine.command, "kill", "--signal", "KILL", name],
            check=True,
            capture_output=True,
            timeout=STOP_TIMEOUT_S,
        )


def choose_launcher() -> Launcher:
    """What the environment asks for; fails the test run where nothing works, never skips."""
    wanted = os.environ.get("ALPRD_TEST_BROKER", "")
    if wanted not in {"", "binary", "container"}:
        pytest.fail(f"ALPRD_TEST_BROKER={wanted}: must be binary or container", pytrace=False)
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if wanted != "binary":
        try:
            return Launcher(PROGRAM, find_engine())
        except NoContainerError as error:
            if wanted == "container" or os.environ.get("CI") or program is None:
                pytest.fail(str(error), pytrace=False)
    if program is None:
        pytest.fail("mosquitto is missing; install it: apt-get install mosquitto", pytrace=False)
    return Launcher(program)


def password_line(username: str, password: str) -> str:
    """A line of Mosquitto's password_file; made here, because a container has no tool for it."""
    salt, iterations = b"0123456789ab", 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"{username}:$7${iterations}${b64encode(salt).decode()}${b64encode(digest).decode()}\n"


def free_port() -> int:
    """A TCP port of the loopback address that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """One Mosquitto with one port and one persistence file over all its starts."""

    def __init__(
        self, launcher: Launcher, folder: Path, *, port: int | None = None, config: str = ""
    ) -> None:
        """Not started yet.

        Args:
            launcher: how to start it.
            folder: configuration and persistence; made by the caller, visible to the container.
            port: default: a free one.
            config: further lines of mosquitto.conf; without any, anybody may connect.
        """
        self.host = HOST
        self.port = port if port is not None else free_port()
        self.folder = folder
        self._launcher = launcher
        self._process: subprocess.Popen[str] | None = None
        self._name = ""
        self._lines: list[str] = []
        self._running = threading.Event()
        self._reader: threading.Thread | None = None
        self._config = folder / "mosquitto.conf"
        self.configure(config or "allow_anonymous true\n")

    def configure(self, lines: str) -> None:
        """Set the lines of mosquitto.conf that say who may do what; from the next start on."""
        self._config.write_text(
            f"listener {self.port} {HOST}\n"
            "user root\n"  # do not change to a user that an unpacked image does not know
            "log_dest stderr\n"
            "persistence true\n"
            f"persistence_location {self.folder}/\n"
            # Saved with each change, as far as Mosquitto can: a killed broker comes back with it.
            "autosave_on_changes true\n"
            "autosave_interval 1\n"
            # Else it drops what a slow subscriber has not fetched. Not 0 (no limit): Mosquitto 2.0
            # then cuts the connection of a client whose message it does not allow.
            "max_queued_messages 1000000\n"
            f"{lines}"
        )

    def configure_whole(self, text: str) -> None:
        """Set the whole mosquitto.conf; it must log to stderr."""
        self._config.write_text(text)

    @property
    def kind(self) -> str:
        """`container` or `binary`."""
        return self._launcher.kind

    @property
    def url(self) -> str:
        """As in the configuration of alprd."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """What Mosquitto has written so far, over all starts."""
        return "".join(self._lines)

    def start(self) -> None:
        """Returns when it takes connections."""
        self._name = f"alprd-test-{uuid.uuid4().hex[:12]}"
        command = self._launcher.command(self._name, self.folder, ["-c", str(self._config)])
        self._running.clear()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C belongs to pytest, which then stops the broker.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._running.wait(START_TIMEOUT_S) or self._process.poll() is not None:
            self.close()
            pytest.fail(f"mosquitto did not start:\n{self.log}", pytrace=False)

    def stop(self) -> None:
        """SIGTERM: it saves what it holds."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._ended()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._launcher.kill(self._name, self._process)
            self._ended()

    def restart(self) -> None:
        """The same port, the same persistence."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it whatever its state."""
        if self._process is None:
            return
        if self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        else:
            self._ended()

    def wait_for_log(self, text: str) -> None:
        """Until Mosquitto has written `text`."""
        self._poll(lambda: text in self.log, f"did not write {text!r}")

    def wait_for_saved(self, content: bytes) -> None:
        """Until its persistence file holds `content`."""
        file = self.folder / "mosquitto.db"
        self._poll(lambda: file.exists() and content in file.read_bytes(), f"kept no {content!r}")

    def _poll(self, holds: Callable[[], bool], problem: str) -> None:
        give_up_at = time.monotonic() + 10.0
        while not holds():
            if time.monotonic() > give_up_at:
                pytest.fail(f"mosquitto {problem}:\n{self.log}")
            threading.Event().wait(0.02)  # nobody tells us when another process has written

    def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.wait(STOP_TIMEOUT_S)
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        for line in process.stdout:
            self._lines.append(line)
            if " running" in line:
                self._running.set()
        self._running.set()  # it has ended: nobody needs to wait for the time-out

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
