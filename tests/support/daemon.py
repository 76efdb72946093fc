"""The real daemon as a process, with a real notify socket beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 30.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer alprd."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ALPRD_")
        and name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
    }
    return {**kept, "OMP_NUM_THREADS": "1", **(extra or {})}


def alprd(*arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command of alprd to its end."""
    return subprocess.run(
        [sys.executable, "-m", "alprd", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=environment(),
    )


class Notifications:
    """The service manager's end of the notify socket."""

    def __init__(self) -> None:
        # An abstract address: a path below tmp_path may be longer than a socket's name can be.
        self.address = f"@alprd-test-{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self._socket.settimeout(0.2)
        self._news = threading.Condition()
        self._received: list[str] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def received(self) -> list[str]:
        """Every line so far."""
        with self._news:
            return list(self._received)

    def wait_for(self, start: str, *, after: int = 0, timeout_s: float = START_TIMEOUT_S) -> str:
        """The first line from number `after` on that starts so."""

        def found() -> str | None:
            return next((line for line in self._received[after:] if line.startswith(start)), None)

        with self._news:
            line = self._news.wait_for(found, timeout_s)
            if line is None:
                raise AssertionError(f"no {start!r} in {timeout_s:g} s; got {self._received}")
            return line

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                lines = self._socket.recv(65536).decode().splitlines()
            except TimeoutError:
                continue
            with self._news:
                self._received += lines
                self._news.notify_all()


class Daemon:
    """`alprd run` on a configuration in `folder`; a context manager that leaves no process.

    Args:
        folder: holds alprd.toml, the outbox and the log.
        config: the text of alprd.toml.
        arguments: further ones of `alprd run`.
        environ: further variables.
        prelude: Python that runs in the process first, to inject a fault.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        prelude: str | None = None,
    ) -> None:
        self.folder = folder
        self.config_path = folder / "alprd.toml"
        self.outbox_path = folder / "outbox.sqlite"
        self.log_path = folder / "alprd.log"
        self.notifications = Notifications()
        self._arguments = arguments
        self._environ = environ or {}
        self._program = ["-m", "alprd"]
        if prelude is not None:
            self._program = [
                "-c",
                f"{prelude}\nimport sys\nfrom alprd.cli import main\nsys.exit(main())",
            ]
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write alprd.toml; a running daemon reads it on `reload`."""
        self.config_path.write_text(config, encoding="utf-8")

    def start(self) -> None:
        """Returns when it is ready."""
        before = len(self.notifications.received)
        self.spawn()
        try:
            self.notifications.wait_for("READY=1", after=before)
        except AssertionError:
            raise AssertionError(f"not ready; it said:\n{self.log}") from None

    def spawn(self) -> None:
        """Start it and return at once."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *self._program,
                    *("run", "--config", str(self.config_path)),
                    *self._arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment({"NOTIFY_SOCKET": self.notifications.address, **self._environ}),
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything that it wrote."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def log_events(self) -> list[dict[str, Any]]:
        """Its structured lines."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def wait_for_log(self, event: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The first structured line with this event."""
        return self.wait_for_log_where(event, timeout_s)

    def wait_for_log_where(
        self, event: str, timeout_s: float = 40.0, **values: object
    ) -> dict[str, Any]:
        """The first structured line with this event and these values."""
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            for line in self.log_events:
                if line["event"] == event and values.items() <= line.items():
                    return line
            threading.Event().wait(0.05)  # nobody tells us when another process has written
        raise AssertionError(f"no {event} {values} in {timeout_s:g} s; it said:\n{self.log}")

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Until something holds that the process brings about without telling us."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up_at:
                raise AssertionError(f"not in {timeout_s:g} s; it said:\n{self.log}")
            threading.Event().wait(0.05)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def reload(self) -> None:
        """SIGHUP; returns when the daemon is ready again."""
        before = len(self.notifications.received)
        self.signal(signal.SIGHUP)
        self.notifications.wait_for("RELOADING=1", after=before)
        self.notifications.wait_for("READY=1", after=before)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how long it took, seconds."""
        started_s = time.monotonic()
        self.signal(signal.SIGTERM)
        code = self.wait()
        return code, time.monotonic() - started_s

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.kill()
        self.notifications.close()
        if self.log_path.exists():
            sys.stderr.write(self.log)  # pytest shows it beside a failure
