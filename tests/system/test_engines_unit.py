"""The unit that builds engines, beside a daemon that runs meanwhile or waits. No GPU is needed.

A program that takes as long as the test wants stands for TensorRT's builder, which GPUs try.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.machine import COMMAND_TIMEOUT_S, Machine

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(1800)]

BootMachine = Callable[[], Machine]
ENGINES = "alprd-engines"
# Tells its progress as `alprd engines build` does, and ends with a new plan once it is let go.
BUILDER = """\
#!/usr/bin/python3
import os, pathlib, socket, time
said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
said.sendto(b"STATUS=plate-detector: building  50%, 0:07", os.environ["NOTIFY_SOCKET"])
while not pathlib.Path("/srv/let-go").exists():
    time.sleep(0.1)
pathlib.Path("/var/cache/alprd/engines").mkdir(exist_ok=True)
plan = pathlib.Path("/var/cache/alprd/engines/plate-detector.fp16.plan")
if not plan.exists():
    plan.write_bytes(b"a plan")
"""
SLOW = "[Service]\nExecStart=\nExecStart=/srv/builder\n"
CONFIG = """\
device_id = "machine"
[mqtt]
url = "mqtt://127.0.0.1:1"
[inference]
threads = 1
[[cameras]]
id = "demo"
source = "/srv/demo.mp4"
enabled = false
"""


@pytest.fixture
def machine(boot_machine: BootMachine) -> Machine:
    """A machine with a configured daemon and what looks like TensorRT and a GPU."""
    machine = boot_machine()
    (machine.root / "etc/alprd/alprd.toml").write_text(CONFIG)
    machine.write("/usr/lib/python3/dist-packages/tensorrt/__init__.py", "")
    machine.run("touch", "/dev/nvidia0")
    return machine


def build_slowly(machine: Machine, more: str = "") -> None:
    machine.write("/srv/builder", BUILDER, 0o755)
    machine.write(f"/etc/systemd/system/{ENGINES}.service.d/slow.conf", f"{more}{SLOW}")
    machine.run("systemctl", "daemon-reload")


def wait_for(machine: Machine, name: str, value: str, unit: str = "alprd") -> None:
    Machine.wait_until(
        lambda: machine.property(name, unit) == value,
        f"{unit}: {name} is not {value}",
        COMMAND_TIMEOUT_S,
    )


def test_what_cannot_build_engines_says_why_and_the_daemon_starts(machine: Machine) -> None:
    machine.run("systemctl", "start", "alprd")  # the real builder, and a TensorRT that is none
    assert "nothing is built: " in machine.journal(ENGINES)
    assert machine.property("Result", ENGINES) == "success"
    machine.run("systemctl", "stop", "alprd")

    machine.run("rm", "/dev/nvidia0")
    machine.run("systemctl", "start", "alprd")
    assert machine.property("ConditionResult", ENGINES) == "no"
    assert machine.property("ActiveState") == "active"


def test_the_daemon_runs_meanwhile_and_is_started_again_once_for_new_engines(
    machine: Machine,
) -> None:
    build_slowly(machine)
    machine.run("systemctl", "start", "alprd")
    wait_for(machine, "StatusText", "plate-detector: building  50%, 0:07", ENGINES)
    assert "building  50%" in machine.run("systemctl", "status", ENGINES, check=False)
    assert machine.property("ActiveState") == "active"
    before = machine.property("MainPID")
    machine.write("/srv/let-go", "")
    Machine.wait_until(
        lambda: machine.property("MainPID") not in (before, "0"), "not restarted", COMMAND_TIMEOUT_S
    )
    wait_for(machine, "ActiveState", "active")
    wait_for(machine, "ActiveState", "inactive", ENGINES)
    # The start built nothing new, so there is no third one.
    assert "alprd" not in machine.run("systemctl", "list-jobs")
    assert machine.journal().count("daemon.ready") == 2


@pytest.mark.soak
def test_a_daemon_that_waits_does_so_for_as_long_as_the_unit_says(machine: Machine) -> None:
    wait = "[Unit]\nAfter=alprd-engines.service\n"
    machine.write("/etc/systemd/system/alprd.service.d/wait.conf", wait)
    build_slowly(machine, "[Unit]\nJobTimeoutSec=5\n")
    machine.run("systemctl", "start", "--no-block", "alprd")
    wait_for(machine, "ActiveState", "activating", ENGINES)
    assert machine.property("ActiveState") == "inactive"
    wait_for(machine, "ActiveState", "active")
    assert machine.property("ActiveState", ENGINES) == "activating"  # the build goes on
