"""A daemon beside a tegrastats on PATH that misbehaves: health goes on, at next to no cost."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.payloads import validator
from support.subscriber import Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

LINE = "RAM 5/6MB (lfb 1x1MB) CPU [1%@729] cpu@41C"
NEWER = "07-23-2026 15:29:26 RAM 7/8MB (lfb 1x1MB) CPU [5%@972] cpu@34.8C/36C NEWER thing"
MEGABYTE = f"""exec {sys.executable} -c '
import sys, time
line = "{LINE}\\n".encode()
while True:
    sys.stdout.buffer.write(line * (100_000 // len(line)))
    sys.stdout.buffer.flush()
    time.sleep(0.1)
'"""
BODIES = {
    "floods with 1 MB a second": MEGABYTE,
    "floods without pause": f'exec yes "{LINE}"',
    "exits": "exit 3",
    "hangs": "exec sleep 60",
    "writes garbage": "exec cat /dev/urandom",
    "writes a line of 1 MB": "head -c 1000000 /dev/zero; exec sleep 60",
    "stops half way in a line": 'printf "RAM 5/6MB (lf"; exec sleep 60',
    "changes its format": f'echo "{LINE}"; sleep 1; while echo "{NEWER}"; do sleep 1; done',
    "ignores the polite signal": f'trap "" TERM; while echo "{LINE}"; do sleep 1; done',
}
IN_CI = {"floods with 1 MB a second", "ignores the polite signal"}
WATCHED_S = 5.0


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def running(program: Path) -> list[str]:
    """Processes whose command names the program."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if str(program).encode() in command:
            found.append(path.parent.name)
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in IN_CI else pytest.mark.soak) for n in BODIES],
)
def test_whatever_tegrastats_does_health_goes_on_and_costs_next_to_nothing(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    tmp_path: Path,
    name: str,
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "tegrastats"
    program.write_text(f"#!/bin/sh\n{BODIES[name]}\n")
    program.chmod(0o755)
    camera = {"id": "gone", "source": str(tmp_path / "none.mp4")}
    daemon = make_daemon(
        make_config(camera, extra="[health]\ninterval_s = 2"),
        environ={"PATH": f"{folder}:{os.environ['PATH']}"},
    )
    daemon.start()
    subscriber.wait_until(lambda seen: any(m.topic.endswith("/health") for m in seen))
    used_s, from_s = cpu_s(daemon.process.pid), time.monotonic()
    threading.Event().wait(WATCHED_S)
    share = (cpu_s(daemon.process.pid) - used_s) / (time.monotonic() - from_s)
    samples = [json.loads(m.payload) for m in subscriber.messages if m.topic.endswith("/health")]
    assert len(samples) >= 3
    assert samples[-1]["tegrastats"] is not None
    assert [e.message for s in samples for e in validator("health-1").iter_errors(s)] == []
    assert share < 0.02
    assert daemon.stop()[0] == 0
    assert running(program) == []
