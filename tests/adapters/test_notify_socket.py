"""What systemd receives, at a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alprd.host.systemd import Notifier, watchdog_interval_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end; its address is in NOTIFY_SOCKET, as systemd does it."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield receiver


def received(manager: socket.socket) -> bytes:
    return manager.recv(4096)


def nothing_received(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    return False


def test_the_states_of_a_service_arrive(manager: socket.socket) -> None:
    with Notifier.from_environment() as notify:
        notify.ready()
        assert received(manager) == b"READY=1"
        notify.stopping()
        assert received(manager) == b"STOPPING=1"
        notify.watchdog()
        assert received(manager) == b"WATCHDOG=1"
        notify.extend_timeout(90.0)
        assert received(manager) == b"EXTEND_TIMEOUT_USEC=90000000"


def test_a_reload_carries_the_monotonic_time_that_systemd_checks(manager: socket.socket) -> None:
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with Notifier.from_environment() as notify:
        notify.reloading()
    state, stamp = received(manager).decode().split("\n")
    name, _, value = stamp.partition("=")
    assert (state, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before_us <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line_of_utf8(manager: socket.socket) -> None:
    with Notifier.from_environment() as notify:
        notify.status("Zufahrt Süd: 2 of 3 cameras\nREADY=1 車")
    assert received(manager) == "STATUS=Zufahrt Süd: 2 of 3 cameras READY=1 車".encode()


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"alprd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        receiver.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        with Notifier.from_environment() as notify:
            notify.ready()
        assert received(receiver) == b"READY=1"


def test_the_keepalive_comes_at_half_the_granted_time(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with Notifier.from_environment() as notify:
        assert notify.watchdog_interval_s == 15.0


def test_a_watchdog_for_another_process_is_not_ours(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    with Notifier.from_environment() as notify:
        assert notify.watchdog_interval_s is None


@pytest.mark.parametrize("value", ["", "0", "-5", "soon"])
def test_a_watchdog_without_a_time_is_none(value: str) -> None:
    assert watchdog_interval_s({"WATCHDOG_USEC": value}, pid=1) is None


def test_outside_systemd_nothing_is_sent_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with Notifier.from_environment() as notify:
        notify.ready()
        notify.watchdog()
        assert notify.watchdog_interval_s is None


def test_a_socket_that_nobody_made_does_not_stop_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    with Notifier.from_environment() as notify:
        notify.ready()


def test_a_manager_that_went_away_does_not_stop_the_daemon(manager: socket.socket) -> None:
    with Notifier.from_environment() as notify:
        manager.close()
        notify.watchdog()


def test_a_manager_that_does_not_read_delays_a_keepalive_by_a_second_at_most(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.host.systemd._SEND_TIMEOUT_S", 0.05)
    with Notifier.from_environment() as notify:
        started_s = time.monotonic()
        for _ in range(600):  # more than a socket's queue holds
            notify.watchdog()
            if time.monotonic() - started_s > 0.05:
                break
        else:
            pytest.fail("the queue never filled")
    assert time.monotonic() - started_s < 2.0


def test_nothing_is_sent_after_close(manager: socket.socket) -> None:
    notify = Notifier.from_environment()
    notify.close()
    notify.ready()
    assert nothing_received(manager)
