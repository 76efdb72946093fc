"""How `systemctl reload` learns what became of it: the daemon tells a socket in its runtime folder.

A signal has no answer, and systemd before 253 does not wait for a reload's end. So who asks listens
on a socket first, then sends SIGHUP, and the daemon tells that socket the outcome, if it is there.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import structlog

log = structlog.get_logger(__name__)

DEFAULT_FOLDER = Path("/run/alprd")
_NAME = "reload.socket"
_MAX_BYTES = 131072
_MAX_PROBLEMS = 50  # of 500 characters each: they fit into one datagram


def runtime_folder(environ: Mapping[str, str]) -> Path:
    """What RuntimeDirectory= made for this unit."""
    return Path(environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or DEFAULT_FOLDER)


def tell(folder: Path, problems: Sequence[str]) -> None:
    """Called by the daemon after a reload; nothing happens when nobody listens.

    Args:
        folder: the unit's runtime folder.
        problems: why the configuration before stays in force; none when the new one is.
    """
    message = json.dumps(
        [problem[:500] for problem in problems[:_MAX_PROBLEMS]], ensure_ascii=False
    ).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.setblocking(False)
        try:
            teller.sendto(message, str(folder / _NAME))
        except (FileNotFoundError, ConnectionRefusedError):
            return  # sent by hand: kill -HUP
        except OSError as error:
            log.warning("reload.not_told", error=str(error))


class ReloadListener:
    """The end of who asks for a reload.

    Args:
        folder: the unit's runtime folder. Entering raises OSError when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> ReloadListener:
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # of one that was killed
            self._socket.bind(str(self._path))
        except OSError:
            self._socket.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def wait(self, timeout_s: float) -> list[str]:
        """The problems; none when the new configuration is in force. Raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        problems: list[str] = json.loads(self._socket.recv(_MAX_BYTES))
        return problems
