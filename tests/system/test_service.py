"""The installed service under a real systemd: start, reload, stop, watchdog, crashes, boot."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alprd.demo.clip import DEMO_CARS
from support.broker import Broker
from support.heard import assert_no_gap, availability, events
from support.machine import COMMAND_TIMEOUT_S, Machine
from support.subscriber import Subscriber

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(1800)]

BootMachine = Callable[[], Machine]
WEDGE = Path(__file__).parents[1] / "support" / "wedge.py"
MEMORY = Path("/sys/fs/cgroup/memory")
WATCHDOG_S = 10
STALL_S = 5
QUICK = f"""\
[Service]
WatchdogSec={WATCHDOG_S}
RestartSec=1
Environment=OMP_NUM_THREADS=1
"""


def config(broker: Broker, *extra: str, camera: str = "/srv/demo.mp4") -> str:
    return "\n".join(
        [
            f'device_id = "machine"\n[mqtt]\nurl = "{broker.url}"',
            "reconnect_max_s = 1.0",
            f"[process]\nstall_timeout_s = {STALL_S}",
            "[inference]\nthreads = 1",
            *extra,
            f'[[cameras]]\nid = "demo"\nsource = "{camera}"\nrealtime = true\nloop = true\n',
        ]
    )


def configure(machine: Machine, text: str) -> None:
    """As an administrator: the owner and the mode stay those of the installation."""
    (machine.root / "etc/alprd/alprd.toml").write_text(text)


def quicken(machine: Machine) -> None:
    """Shorter times than the unit's, so that a test need not wait a minute for each."""
    machine.write("/etc/systemd/system/alprd.service.d/quick.conf", QUICK)
    machine.run("systemctl", "daemon-reload")


@pytest.fixture
def hear(make_broker: Callable[..., Broker]) -> Iterator[tuple[Broker, Subscriber]]:
    broker = make_broker()
    broker.start()
    with Subscriber(broker, "alpr/#") as subscriber:
        yield broker, subscriber


def test_the_service_gets_ready_reads_plates_reloads_and_stops(
    boot_machine: BootMachine, hear: tuple[Broker, Subscriber]
) -> None:
    broker, subscriber = hear
    machine = boot_machine()
    machine.write("/etc/alprd/mqtt.password", "secret\n", 0o600)  # root's alone: a credential
    configure(machine, config(broker).replace("[process]", 'username = "edge"\n[process]', 1))

    machine.run("systemctl", "start", "alprd")
    assert machine.property("ActiveState") == "active"
    plates = {car.text for car in DEMO_CARS}
    subscriber.wait_until(lambda seen: plates <= {e["plate"] for e in events(seen)}, timeout_s=90)
    Machine.wait_until(
        lambda: "1 of 1 cameras online" in machine.run("systemctl", "status", "alprd"),
        "no status line that says so",
        20,
    )

    (machine.root / "etc/alprd/conf.d/yard.toml").write_text(
        '[[cameras]]\nid = "yard"\nsource = "/srv/demo.mp4"\nrealtime = true\nloop = true\n'
    )
    machine.run("systemctl", "reload", "alprd")
    assert '"started": ["yard"]' in machine.journal()  # at once: it waits until that is so
    main_process = machine.property("MainPID")

    (machine.root / "etc/alprd/conf.d/yard.toml").write_text("[mqtt]\nurll = 1\n")
    said = machine.run("systemctl", "reload", "alprd", check=False)
    assert "failed" in said
    assert "alprd: mqtt.urll: no setting has this name" in machine.journal()
    assert machine.property("ActiveState") == "active"
    assert machine.property("MainPID") == main_process
    before = len(events(subscriber.messages))
    subscriber.wait_until(lambda seen: len(events(seen)) > before, timeout_s=60)

    started_s = time.monotonic()
    machine.run("systemctl", "stop", "alprd")
    assert time.monotonic() - started_s < 30
    assert machine.property("Result") == "success"
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
    # Nothing of a library's lies about in the daemon's home: no identifier, no database.
    kept = machine.run("ls", "-A", "/var/lib/alprd").split()
    assert [name for name in kept if not name.startswith("outbox.sqlite")] == []


@pytest.mark.parametrize("wedged", ["process", "inference", "publisher"])
def test_what_hangs_is_restarted_with_its_stacks_in_the_journal_and_no_event_lost(
    boot_machine: BootMachine, hear: tuple[Broker, Subscriber], wedged: str
) -> None:
    broker, subscriber = hear
    machine = boot_machine()
    quicken(machine)
    configure(machine, config(broker))
    machine.run("systemctl", "start", "alprd")
    subscriber.wait_until(events, timeout_s=60)
    pid = machine.main_process()
    if wedged == "process":
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
        limit_s = WATCHDOG_S
    else:
        stopped = subprocess.Popen(
            [sys.executable, str(WEDGE), str(pid), wedged], stdout=subprocess.PIPE, text=True
        )
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "wedged\n"
        limit_s = STALL_S + WATCHDOG_S
    # Half a watchdog's time for what systemd and writing the stacks take.
    Machine.wait_until(
        lambda: machine.property("NRestarts") == "1", "no restart", limit_s + WATCHDOG_S / 2 + 5
    )
    Machine.wait_until(
        lambda: machine.property("ActiveState") == "active", "not up again", COMMAND_TIMEOUT_S
    )
    journal = machine.journal()
    assert "Watchdog timeout" in journal
    # A thread that was stopped in the midst of Python holds the interpreter's lock, and nobody can
    # answer the signal; any other thread leaves it.
    assert "alprd: ended by SIGABRT" in journal or "status=14/ALRM" in journal
    for module in ("alprd/app.py", "alprd/publish/loop.py", "alprd/inference/thread.py"):
        assert module in journal
    if wedged != "process":
        stopped.wait(20)
        stopped.stdout.close()
    before = len(events(subscriber.messages))
    subscriber.wait_until(lambda seen: len(events(seen)) > before, timeout_s=60)
    machine.run("systemctl", "stop", "alprd")
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))


def restarts_nothing(machine: Machine, broker: Broker, *, for_s: float) -> None:
    """A dead camera, a dead broker and a dead tegrastats for so long."""
    machine.write("/usr/local/bin/tegrastats", "#!/bin/sh\nexit 1\n", 0o755)
    dead = 'id = "dead"\nsource = "rtsp://127.0.0.1:1/none"\n'
    configure(machine, f"{config(broker)}\n[[cameras]]\n{dead}")
    broker.kill()
    machine.run("systemctl", "start", "alprd")
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        assert machine.property("ActiveState") == "active"
        assert machine.property("NRestarts") == "0"
        time.sleep(2)
    assert "0 of 2 cameras" not in machine.run("systemctl", "status", "alprd")


def test_a_dead_camera_broker_and_tegrastats_restart_nothing(
    boot_machine: BootMachine, make_broker: Callable[..., Broker]
) -> None:
    broker = make_broker()
    broker.start()
    machine = boot_machine()
    quicken(machine)
    restarts_nothing(machine, broker, for_s=3.5 * WATCHDOG_S)
    broker.start()
    with Subscriber(broker, "alpr/#") as subscriber:  # what waited arrives
        heard = subscriber.wait_until(lambda seen: len(events(seen)) >= 3, timeout_s=60)
    assert_no_gap(events(heard))


@pytest.mark.soak
def test_a_dead_camera_broker_and_tegrastats_restart_nothing_in_five_minutes(
    boot_machine: BootMachine, make_broker: Callable[..., Broker]
) -> None:
    broker = make_broker()
    broker.start()
    restarts_nothing(boot_machine(), broker, for_s=300)


def test_it_starts_at_boot_before_there_is_a_network_or_a_broker(
    boot_machine: BootMachine, make_broker: Callable[..., Broker]
) -> None:
    broker = make_broker()
    elsewhere = "198.51.100.1"  # on the other side of a cable that is not there yet
    machine = boot_machine()
    configure(machine, config(broker).replace("127.0.0.1", elsewhere))
    machine.run("systemctl", "enable", "alprd")
    machine.shut_down()
    machine.boot(alone=True)
    Machine.wait_until(
        lambda: machine.property("ActiveState") == "active", "not started", COMMAND_TIMEOUT_S
    )
    assert "Network is unreachable" in machine.journal()
    assert machine.connect() == elsewhere
    broker.configure(f"listener {broker.port} {elsewhere}\nallow_anonymous true\n")
    broker.start()
    with Subscriber(broker, "alpr/#") as subscriber:
        heard = subscriber.wait_until(lambda seen: len(events(seen)) >= 2, timeout_s=60)
    assert_no_gap(events(heard))
    assert machine.property("NRestarts") == "0"


def exhaust_memory(machine: Machine) -> None:
    """Have the kernel kill the daemon for its memory, as on a machine that has no more.

    A machine in here has no memory controller of its own, so a group of the host's takes the
    daemon in; what the daemon already has is not counted there, what a reload takes is.
    """
    pid = machine.main_process()
    if not MEMORY.is_dir():
        subprocess.run(["kill", "-KILL", str(pid)], check=True)  # the unified hierarchy
        return
    group = MEMORY / machine.name
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(1 << 20))
        (group / "cgroup.procs").write_text(str(pid))
        another = '[[cameras]]\nid = "another"\nsource = "/srv/demo.mp4"\n'
        (machine.root / "etc/alprd/conf.d/another.toml").write_text(another)
        machine.run("systemctl", "reload", "alprd", check=False)
        Machine.wait_until(
            lambda: not Path(f"/proc/{pid}").exists(), "the kernel does not kill it", 30
        )
        assert "oom_kill 1" in (group / "memory.oom_control").read_text()
    finally:
        Machine.wait_until(
            lambda: not (group / "cgroup.procs").read_text(), "the group is not empty", 30
        )
        group.rmdir()


def test_a_bad_model_is_not_tried_again_and_what_was_killed_is(
    boot_machine: BootMachine, hear: tuple[Broker, Subscriber]
) -> None:
    broker, subscriber = hear
    machine = boot_machine()
    quicken(machine)
    machine.run("cp", "-r", "/usr/share/alprd/engines", "/srv/models")
    machine.write("/srv/models/plate-reader/model.onnx", "no model")
    configure(
        machine, config(broker).replace("[inference]", '[inference]\nmodels_dir = "/srv/models"')
    )
    machine.run("systemctl", "start", "alprd", check=False)
    Machine.wait_until(lambda: machine.property("ActiveState") == "failed", "it goes on trying", 30)
    assert machine.property("ExecMainStatus") == "78"
    assert machine.property("NRestarts") == "0"

    configure(machine, config(broker))
    machine.run("systemctl", "start", "alprd")
    subscriber.wait_until(events, timeout_s=60)
    exhaust_memory(machine)
    Machine.wait_until(lambda: machine.property("NRestarts") == "1", "no restart", 20)
    before = len(events(subscriber.messages))
    heard = subscriber.wait_until(lambda seen: len(events(seen)) > before + 1, timeout_s=60)
    assert_no_gap(events(heard))
