"""Size, start and memory of the installed packages, on a booted Debian; as root.

    python tests/bench/package_figures.py FOLDER_WITH_DEBS [MINUTES]

Four cameras show the demonstration's clip at two frames per second each.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from alprd.demo.clip import write_clip
from support.machine import Machine, base_tree

CAMERAS = 4
CONFIG = """\
device_id = "machine"
[mqtt]
url = "mqtt://127.0.0.1:1"
[inference]
threads = 1
"""
CAMERA = """\
[[cameras]]
id = "gate-{number}"
source = "/srv/demo.mp4"
realtime = true
loop = true
max_fps = 2.0
"""


def start_s(machine: Machine) -> float:
    """Seconds from `systemctl start` to READY."""
    started_s = time.monotonic()
    machine.run("systemctl", "start", "alprd")
    took_s = time.monotonic() - started_s
    machine.run("systemctl", "stop", "alprd")
    return took_s


def evict(machine: Machine) -> None:
    """Take the environment's files out of the page cache, and no others."""
    machine.run(
        *("find", "/usr/lib/alprd", "/usr/share/alprd", "-type", "f", "-exec"),
        *("dd", "if={}", "iflag=nocache", "count=0", "status=none", ";"),
    )


def main(folder: str, minutes: str = "10") -> None:
    """Print every figure."""
    with tempfile.TemporaryDirectory() as scratch:
        with Machine(Path(scratch) / "machine", base_tree()) as machine:
            write_clip(machine.root / "srv/demo.mp4")
            began_s = time.monotonic()
            machine.install(*Path(folder).glob("*.deb"))
            print(f"load of this machine: {os.getloadavg()[0]:.1f}")
            print(f"apt install: {time.monotonic() - began_s:.0f} s")
            sizes = machine.run("du", "-sm", "/usr/lib/alprd", "/usr/share/alprd").split()
            print(f"installed: environment {sizes[0]} MB, models {sizes[2]} MB, with bytecode")
            cameras = "".join(CAMERA.format(number=number) for number in range(CAMERAS))
            (machine.root / "etc/alprd/alprd.toml").write_text(CONFIG + cameras)
            evict(machine)
            print(f"start to READY, cold: {start_s(machine):.1f} s")
            print(f"start to READY, warm: {min(start_s(machine) for _ in range(3)):.1f} s")
            machine.run("systemctl", "start", "alprd")
            for minute in range(int(minutes) + 1):
                status = Path(f"/proc/{machine.main_process()}/status").read_text()
                rss_kb = next(line for line in status.splitlines() if line.startswith("VmRSS"))
                print(
                    f"resident after {minute} min: {int(rss_kb.split()[1]) / 1024:.0f} MB",
                    flush=True,
                )
                if minute < int(minutes):
                    time.sleep(60)
            print(machine.property("StatusText"))
        Path(scratch).chmod(0o700)


if __name__ == "__main__":
    main(*sys.argv[1:])
