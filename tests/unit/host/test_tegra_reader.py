"""tegrastats is kept running, whatever it does, and never delays anybody: real child processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alprd.host.tegra_reader import MAX_LINE_BYTES, Retry, TegrastatsReader

LINE = "RAM 5/6MB (lfb 1x1MB) CPU [1%@729]"
QUICK = Retry(first_s=0.02, most_s=0.08, calm_s=60.0)
Program = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a program that stands for tegrastats; returns its path."""

    def program(body: str) -> str:
        path = tmp_path / "tegrastats"
        path.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return program


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """The processes that the program has been, so far; none outlives the test."""

    def pids() -> list[int]:
        path = tmp_path / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    yield pids
    alive = [pid for pid in pids() if _exists(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert alive == []


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for a condition of another process or thread, which offers no event to wait on."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail("did not happen in time")
        pause.wait(0.01)


def test_the_newest_line_is_at_hand_until_it_is_too_old(program: Program) -> None:
    now_s = [0.0]
    path = program(f'echo "{LINE}"; exec sleep 60')
    with TegrastatsReader(path, clock=lambda: now_s[0]) as reader:
        until(lambda: reader.latest(3.0))
        sample = reader.latest(3.0)
        assert sample is not None
        assert sample.cores[0].load_pct == 1
        now_s[0] = 3.1
        assert reader.latest(3.0) is None


def test_a_program_that_says_nothing_is_reported_before_it_is_started_again(
    program: Program,
) -> None:
    now_s = [0.0]
    with TegrastatsReader(
        program("exec sleep 60"), silence_s=1e9, clock=lambda: now_s[0]
    ) as reader:
        assert reader.last_error is None
        now_s[0] = 8.0
        assert str(reader.last_error).endswith("tegrastats has been silent for 8 s")


def test_the_interval_is_handed_to_the_program(program: Program, tmp_path: Path) -> None:
    path = program(f'echo "$@" > {tmp_path}/arguments; exec sleep 60')
    with TegrastatsReader(path, interval_s=2.0):
        until(lambda: (tmp_path / "arguments").exists() and (tmp_path / "arguments").read_text())
    assert (tmp_path / "arguments").read_text() == "--interval 2000\n"


def test_leaving_ends_and_reaps_the_program(
    program: Program, pids: Callable[[], list[int]]
) -> None:
    path = program(f'while echo "{LINE}"; do sleep 0.05; done')
    with TegrastatsReader(path) as reader:
        until(lambda: reader.latest(3.0))
        (pid,) = pids()
        assert _exists(pid)
    assert not _exists(pid)


def test_a_program_that_ignores_the_polite_signal_is_ended_with_its_children(
    program: Program, pids: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.host.tegra_reader._TERMINATE_S", 0.1)
    path = program(f'trap "" TERM; echo "{LINE}"; while :; do sleep 0.1; done')
    with TegrastatsReader(path) as reader:
        until(lambda: reader.latest(3.0))
    assert not _exists(pids()[0])


def test_a_program_that_dies_is_started_again_with_growing_pauses(
    program: Program, pids: Callable[[], list[int]]
) -> None:
    path = program("exit 3")
    started_s = time.monotonic()
    with TegrastatsReader(path, retry=QUICK) as reader:
        until(lambda: reader.starts >= 5)
        took_s = time.monotonic() - started_s
        assert reader.last_error == f"{path} ended with status 3"
    assert took_s >= 0.02 + 0.04 + 0.08 + 0.08
    assert len(pids()) <= reader.starts


def test_a_program_killed_from_outside_comes_back(
    program: Program, pids: Callable[[], list[int]]
) -> None:
    path = program(f'while echo "{LINE}"; do sleep 0.02; done')
    with TegrastatsReader(path, retry=QUICK) as reader:
        until(lambda: reader.latest(3.0))
        os.kill(pids()[0], signal.SIGKILL)
        until(lambda: len(pids()) == 2)
        until(lambda: reader.last_error is None)
        assert reader.latest(3.0) is not None


def test_a_program_that_falls_silent_is_started_again(
    program: Program, pids: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.host.tegra_reader._POLL_S", 0.02)
    path = program(f'echo "{LINE}"; exec sleep 60')
    with TegrastatsReader(path, silence_s=0.1, retry=QUICK) as reader:
        until(lambda: len(pids()) >= 3)
        until(lambda: f"{path} was silent for 0.1 s" == reader.last_error)


def test_a_program_that_never_ends_its_line_is_started_again(
    program: Program, pids: Callable[[], list[int]]
) -> None:
    path = program(f"head -c {MAX_LINE_BYTES + 1} /dev/zero; exec sleep 60")
    with TegrastatsReader(path, retry=QUICK) as reader:
        until(lambda: len(pids()) >= 2)
        assert "a line of more than" in str(reader.last_error)


def test_bytes_that_are_no_text_do_no_harm(program: Program) -> None:
    path = program(rf"printf '\377\376 {LINE.replace('%', '%%')}\n'; exec sleep 60")
    with TegrastatsReader(path) as reader:
        until(lambda: reader.latest(3.0))
        sample = reader.latest(3.0)
    assert sample is not None
    assert sample.ram is not None
    assert sample.unknown == ("\ufffd\ufffd",)


def cpu_share(reader: TegrastatsReader, seconds: float) -> float:
    """This process's CPU time over wall time, while somebody asks as health does."""
    used_s, wall_s = time.process_time(), time.monotonic()
    while time.monotonic() < wall_s + seconds:
        threading.Event().wait(0.5)
        reader.latest(3.0)
    return (time.process_time() - used_s) / (time.monotonic() - wall_s)


FLOOD = """exec {python} -c '
import sys, time
line = "{line}\\n".encode()
while True:
    sys.stdout.buffer.write(line * (100_000 // len(line)))
    sys.stdout.buffer.flush()
    time.sleep(0.1)
'"""


@pytest.mark.once
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f'exec yes "{LINE}"', id="floods without pause"),
        pytest.param(
            FLOOD.format(python=sys.executable, line=LINE), id="floods with 1 MB a second"
        ),
        pytest.param("exec cat /dev/urandom", id="garbage without pause"),
        pytest.param("head -c 1000000 /dev/zero; exec sleep 60", id="a line of 1 MB"),
        pytest.param("exit 3", id="exits"),
        pytest.param("exec sleep 60", id="hangs"),
    ],
)
def test_whatever_the_program_does_it_costs_next_to_nothing(program: Program, body: str) -> None:
    with TegrastatsReader(program(body), silence_s=0.5) as reader:
        threading.Event().wait(0.3)
        assert cpu_share(reader, 2.0) < 0.02


def test_a_line_that_stops_half_way_is_no_line(
    program: Program, pids: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.host.tegra_reader._POLL_S", 0.02)
    path = program(f'printf "{LINE.replace("%", "%%")[:20]}"; exec sleep 60')
    with TegrastatsReader(path, silence_s=0.3, retry=QUICK) as reader:
        until(lambda: len(pids()) >= 2)
        assert reader.latest(3.0) is None
        assert "was silent" in str(reader.last_error)


def test_a_program_that_changes_its_format_midway_is_followed(
    program: Program, tmp_path: Path
) -> None:
    newer = "07-23-2026 15:29:26 RAM 7/8MB (lfb 1x1MB) CPU [5%@972] cpu@34.8C/36C NEWER thing"
    change = tmp_path / "changed"
    path = program(
        f'while :; do if [ -e {change} ]; then echo "{newer}"; else echo "{LINE}"; fi; '
        "sleep 0.02; done"
    )
    with TegrastatsReader(path) as reader:
        until(lambda: reader.latest(3.0))
        change.touch()
        until(lambda: (seen := reader.latest(3.0)) and seen.zones)
        sample = reader.latest(3.0)
    assert sample is not None
    assert sample.ram is not None
    assert (sample.ram.used_kb, sample.unknown) == (7 * 1024, ("NEWER", "thing"))
    assert reader.starts == 1


def test_a_machine_without_the_program_starts_no_thread() -> None:
    before = threading.active_count()
    for name in ("no-such-program-here", ""):
        with TegrastatsReader(name) as reader:
            assert not reader.available
            assert reader.latest(3.0) is None
            assert threading.active_count() == before


def test_a_program_that_cannot_run_is_reported_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "tegrastats"
    path.write_bytes(b"\x7fELF of another machine")
    path.chmod(0o755)
    with TegrastatsReader(str(path), retry=QUICK) as reader:
        until(lambda: reader.starts >= 2)
        assert f"{path} cannot be started: Exec format error" == reader.last_error
