"""A Mosquitto on a free loopback port, for the time of a demonstration."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from pathlib import Path

from alprd.demo.children import Children

CHILD = "mosquitto"
HOST = "127.0.0.1"
_START_TIMEOUT_S = 10.0
_TRY_AGAIN_S = 0.05


def find_mosquitto() -> str:
    """Path of the mosquitto program (Debian keeps it in /usr/sbin).

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise FileNotFoundError(
            "mosquitto, the MQTT broker, is missing: sudo apt install mosquitto"
        )
    return program


def free_loopback_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def start_broker(children: Children, folder: Path) -> int:
    """Start Mosquitto as the child `CHILD`; returns its port once it listens.

    Raises:
        FileNotFoundError: it is not installed.
        OSError: it does not start.
    """
    program, port = find_mosquitto(), free_loopback_port()
    config, output = folder / "mosquitto.conf", folder / "mosquitto.log"
    config.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n", encoding="utf-8"
    )
    children.start(CHILD, [program, "-c", str(config)], output=output)
    give_up_at_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_at_s and children.is_running(CHILD):
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
        except OSError:
            threading.Event().wait(_TRY_AGAIN_S)  # nobody tells when it listens
        else:
            return port
    raise OSError(f"mosquitto did not start; its log: {output}")
