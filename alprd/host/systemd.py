"""Talking to systemd: ready, reloading, stopping, status and the watchdog's keepalive.

The sdnotify library sends the datagrams; it reads neither WATCHDOG_USEC nor WATCHDOG_PID and
encodes in Latin-1 what systemd expects in UTF-8, so that is done here. Outside systemd nothing is
sent.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType

import sdnotify  # type: ignore[import-untyped]
import structlog

log = structlog.get_logger(__name__)

# A datagram waits when systemd does not read; the main thread must not.
_SEND_TIMEOUT_S = 1.0


class Notifier:
    """sd_notify(3) of this process; used by one thread.

    Args:
        connection: sdnotify's, made with debug=True so that it raises; None outside systemd.
        watchdog_interval_s: pause between keepalives; None when nobody watches.
        monotonic_ns: CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        connection: sdnotify.SystemdNotifier | None,
        *,
        watchdog_interval_s: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._connection = connection
        self._watchdog_interval_s = watchdog_interval_s if connection is not None else None
        self._monotonic_ns = monotonic_ns

    @classmethod
    def from_environment(cls) -> Notifier:
        """The notifier for NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of this process."""
        address = os.environ.get("NOTIFY_SOCKET")
        if not address:
            return cls(None)
        try:
            with warnings.catch_warnings():
                # It drops its socket unclosed when it cannot connect.
                warnings.simplefilter("ignore", ResourceWarning)
                connection = sdnotify.SystemdNotifier(debug=True)
        except OSError as error:
            log.warning(
                "systemd.unreachable",
                socket=address,
                error=str(error),
                remedy="NOTIFY_SOCKET names no listening socket; unset it outside systemd",
            )
            return cls(None)
        connection.socket.settimeout(_SEND_TIMEOUT_S)
        return cls(connection, watchdog_interval_s=watchdog_interval_s(os.environ, os.getpid()))

    @property
    def watchdog_interval_s(self) -> float | None:
        """Pause between keepalives, half of what systemd grants; None when nobody watches."""
        return self._watchdog_interval_s

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The stop begins."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def watchdog(self) -> None:
        """Everything makes progress."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for more time to start or stop than the unit grants, from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def close(self) -> None:
        """Give the socket back; nothing is sent any more."""
        if self._connection is not None:
            self._connection.socket.close()
            self._connection = None

    def __enter__(self) -> Notifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, state: str) -> None:
        if self._connection is None:
            return
        try:
            # sdnotify encodes as Latin-1, which turns these characters back into the UTF-8 bytes.
            self._connection.notify(state.encode("utf-8", "replace").decode("latin-1"))
        except OSError as error:
            log.warning("systemd.not_notified", state=state.partition("=")[0], error=str(error))


def watchdog_interval_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Half of WATCHDOG_USEC, in seconds; None when no watchdog waits for this process.

    Args:
        environ: the environment.
        pid: this process.
    """
    try:
        period_us = int(environ.get("WATCHDOG_USEC", ""))
        watched = int(environ.get("WATCHDOG_PID") or pid)
    except ValueError:
        return None
    if period_us <= 0 or watched != pid:
        return None
    return period_us / 2e6
