"""A real RTSP server for tests: GStreamer's, under the distribution's own Python."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad"
)
START_TIMEOUT_S = 20.0


class RtspServer:
    """Serves one H.264 MP4 file; may be killed and started again on the same port.

    Args:
        file: the clip; every client gets it from its start, once.
        user: wants this login when given.
        password: the login's password.
        method: basic or digest.
    """

    def __init__(
        self,
        file: Path,
        *,
        user: str | None = None,
        password: str | None = None,
        method: str = "digest",
    ) -> None:
        self._arguments = [str(file)]
        if user is not None:
            self._arguments += ["--user", user, "--password", password or "", "--method", method]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The stream's address."""
        return f"rtsp://127.0.0.1:{self.port}/main"

    def start(self) -> None:
        """Start it, on the port of the first start; returns once it listens."""
        script = Path(__file__).with_name("rtsp_server.py")
        process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), *self._arguments, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))},
        )
        self._process = process
        if process.stdout is None:
            raise RuntimeError("a pipe was asked for")
        readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
        line = process.stdout.readline() if readable else ""
        if not line.startswith("ready "):
            process.kill()
            _, said = process.communicate()
            raise RuntimeError(f"the RTSP server does not start: {said.strip()[-600:]}")
        self.port = int(line.split()[1])

    def pause(self) -> None:
        """Stop it as a hung camera does: connections stay, nothing comes any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """The opposite of `pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server does not run")
        self._process.send_signal(number)

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def require_rtsp_server() -> None:
    """Skip the test where the server's packages are missing; fail in CI, which must have them."""
    script = Path(__file__).with_name("rtsp_server.py")
    said = "no " + SYSTEM_PYTHON
    if Path(SYSTEM_PYTHON).exists():
        tried = subprocess.run(
            [SYSTEM_PYTHON, str(script), "--help"], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0:
            return
        said = tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else "no reason given"
    reason = f"no RTSP server for tests ({said}); apt-get install {PACKAGES}"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)
