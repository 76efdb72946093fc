"""A Mosquitto on a free loopback port, for the time of a demonstration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

_START_TIMEOUT_S = 10.0


def find_mosquitto() -> str:
    """Path of the mosquitto program (Debian keeps it in /usr/sbin).

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise FileNotFoundError("mosquitto is not installed: apt install mosquitto")
    return program


def free_loopback_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """Mosquitto as a child process; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.port = free_loopback_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Broker:
        program = find_mosquitto()
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n",
            encoding="utf-8",
        )
        with (self._folder / "mosquitto.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- found on PATH, our own arguments
                [program, "-c", str(config)], stdout=log, stderr=log
            )
        self._await_listening(self._process)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _await_listening(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        process.kill()
        raise OSError(f"mosquitto did not start; see {self._folder / 'mosquitto.log'}")
