"""Troubles of the machine around the daemon: odd names, a scarce resource, a hang."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from support.daemon import Daemon, alprd, environment
from support.heard import availability, events, statuses
from support.subscriber import Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]


def test_a_file_name_that_is_not_utf8_is_reported_and_kills_nothing(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(street, folder)
    Path(os.fsdecode(os.fsencode(folder) + b"/stra\xdfe.png")).write_bytes(b"no picture")
    odd = {"id": "odd", "source": str(folder), "folder_fps": 12}
    good = {"id": "good", "source": str(street), "folder_fps": 12, "loop": True}
    daemon = make_daemon(make_config(odd, good))
    daemon.start()
    heard = subscriber.wait_until(
        lambda seen: [s for s in statuses(seen, "odd") if s["last_error"]]
    )
    assert r"stra\udcdfe.png" in statuses(heard, "odd")[-1]["last_error"]
    before = len(events(subscriber.messages, "good"))
    subscriber.wait_until(lambda seen: len(events(seen, "good")) >= before + 2)
    assert "crashed" not in daemon.log
    assert daemon.stop()[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_recognize_prints_any_file_name_on_any_output(
    models_dir: Path, street: Path, tmp_path: Path, encoding: str
) -> None:
    picture = os.fsdecode(os.fsencode(tmp_path) + b"/stra\xdfe.png")
    shutil.copy(street / "00006.png", picture)
    done = subprocess.run(
        [sys.executable, "-m", "alprd", "recognize", "--models-dir", str(models_dir), picture],
        capture_output=True,
        timeout=60.0,
        check=False,
        env=environment({"PYTHONIOENCODING": f"{encoding}:strict"}),
    )
    assert done.stderr == b""
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["source"] == picture


def test_check_config_prints_what_an_output_cannot_say_escaped(
    models_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "alprd.toml"
    config = (
        f'[inference]\nmodels_dir = "{models_dir}"\n[[cameras]]\nid = "a"\nsource = "/straße"\n'
    )
    file.write_text(config, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "alprd", "check-config", "--config", str(file)],
        capture_output=True,
        timeout=60.0,
        check=False,
        env=environment({"PYTHONIOENCODING": "ascii:strict"}),
    )
    assert done.returncode == 0
    assert rb'source = "/stra\xdfe"' in done.stdout


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_shortage_while_a_model_is_read_is_no_bad_configuration(
    make_config: MakeConfig, tmp_path: Path, street: Path, command: str
) -> None:
    scarce = (
        "import pathlib\n"
        "read = pathlib.Path.read_bytes\n"
        "def read_bytes(self):\n"
        "    if self.suffix == '.onnx':\n"
        "        raise OSError(24, 'Too many open files')\n"
        "    return read(self)\n"
        "pathlib.Path.read_bytes = read_bytes\n"
        "import sys\nfrom alprd.cli import main\nsys.exit(main())\n"
    )
    file = tmp_path / "alprd.toml"
    file.write_text(make_config({"id": "gate", "source": str(street)}))
    done = subprocess.run(
        [sys.executable, "-c", scarce, command, "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
        env=environment(),
    )
    assert done.returncode == 1
    assert "model.onnx cannot be read now (Too many open files); check the disk" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_watchdogs_signal_leaves_every_threads_stack_in_the_log(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path
) -> None:
    # Threads of a library's own are among them: numpy's linear algebra has some for each core.
    daemon = make_daemon(
        make_config({"id": "gate", "source": str(street), "loop": True}),
        environ={"OPENBLAS_NUM_THREADS": "4"},
    )
    daemon.start()
    abort_bit = 1 << signal.SIGABRT - 1
    threads = []
    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended meanwhile
            status = (task / "status").read_text()
            mask = re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)
            assert mask is not None
            threads.append(((task / "comm").read_text().strip(), int(mask[1], 16) & abort_bit))
    # The kernel gives it to the one thread that waits for it, and to no other.
    assert [name for name, blocked in threads if not blocked] == ["stacks"]
    assert {"inference", "publisher"} <= {name for name, _ in threads}
    daemon.signal(signal.SIGABRT)
    assert daemon.wait() == -signal.SIGABRT
    assert "alprd: ended by SIGABRT" in daemon.log
    for module in ("alprd/app.py", "alprd/publish/loop.py", "alprd/inference/thread.py"):
        assert module in daemon.log


def test_the_reason_of_a_failing_camera_stays_retained_after_the_stop(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, tmp_path: Path
) -> None:
    daemon = make_daemon(make_config({"id": "gate", "source": str(tmp_path / "no-such.mp4")}))
    daemon.start()
    subscriber.wait_until(lambda seen: [s for s in statuses(seen, "gate") if s["last_error"]])
    assert daemon.stop()[0] == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    last = statuses(heard, "gate")[-1]
    assert last["state"] == "offline"
    assert "no-such.mp4" in last["last_error"]


def test_no_value_of_a_cameras_query_reaches_a_log_a_message_or_an_output(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber
) -> None:
    source = "http://127.0.0.1:1/cgi?loginuse=admin&loginpas=hush-pas&odd=hush-odd"
    daemon = make_daemon(
        make_config({"id": "gate", "source": source}, extra="[log]\nlevel = 'debug'")
    )
    daemon.start()
    subscriber.wait_until(lambda seen: [s for s in statuses(seen, "gate") if s["last_error"]])
    assert daemon.stop()[0] == 0
    checked = alprd("check-config", "--config", str(daemon.config_path))
    said = daemon.log + checked.stdout + checked.stderr
    said += "".join(m.topic + m.payload.decode() for m in subscriber.messages)
    assert "loginpas=***" in said
    assert "hush" not in said
