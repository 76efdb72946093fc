"""Who asks for a reload hears what became of it, and a daemon whom nobody asked is not held up."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alprd.cli import main
from alprd.host.reload_result import ReloadListener, runtime_folder, tell
from alprd.threads import show_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_the_runtime_folder_is_the_one_that_systemd_made() -> None:
    assert runtime_folder({"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == Path("/run/a")
    assert runtime_folder({}) == Path("/run/alprd")


@pytest.mark.parametrize("problems", [[], ["mqtt.url: no URL; correct it", "x: y; z"]])
def test_a_listener_hears_the_outcome(folder: Path, problems: list[str]) -> None:
    with ReloadListener(folder) as listener:
        tell(folder, problems)
        assert listener.wait(5.0) == problems


def test_thousands_of_problems_still_fit_into_one_message(folder: Path) -> None:
    with ReloadListener(folder) as listener:
        tell(folder, ["ü" * 5000] * 3000)
        heard = listener.wait(5.0)
    assert 0 < len(heard) <= 3000


def test_nobody_listening_costs_nothing(folder: Path) -> None:
    tell(folder, ["a problem"])
    with ReloadListener(folder):
        pass
    tell(folder, [])
    tell(folder / "missing", [])


def test_what_a_killed_listener_left_behind_does_not_stop_the_next(folder: Path) -> None:
    (folder / "reload.socket").touch()
    tell(folder, [])
    with ReloadListener(folder) as listener:
        tell(folder, [])
        assert listener.wait(5.0) == []
    assert list(folder.iterdir()) == []


@pytest.fixture
def hung_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """This process plays the daemon: SIGHUP is answered with the first of these."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    answers: list[list[str]] = []
    before = signal.signal(signal.SIGHUP, lambda *_: tell(folder, answers[0]) if answers else None)
    yield answers
    signal.signal(signal.SIGHUP, before)


def test_the_command_succeeds_once_the_configuration_is_in_force(
    hung_up: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    hung_up.append([])
    assert main(["reload", "--pid", str(os.getpid())]) == 0
    assert "in force" in capsys.readouterr().out


def test_the_command_fails_with_what_is_wrong(
    hung_up: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    hung_up.append(["mqtt.url: no URL; correct it"])
    assert main(["reload", "--pid", str(os.getpid())]) == 78
    said = capsys.readouterr().err
    assert "alprd: mqtt.url: no URL; correct it" in said
    assert "stays in force" in said


def test_the_command_does_not_wait_for_ever(
    hung_up: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    started_s = time.monotonic()
    assert main(["reload", "--pid", str(os.getpid()), "--timeout", "0.1"]) == 1
    assert time.monotonic() - started_s < 5.0
    assert "no answer in 0.1 s" in capsys.readouterr().err
    assert hung_up == []


def test_a_process_that_is_gone_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    with subprocess.Popen(["true"]) as process:
        gone = process.pid
    assert main(["reload", "--pid", str(gone)]) == 1
    assert f"process {gone} cannot be told" in capsys.readouterr().err


def test_a_missing_runtime_folder_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder / "missing"))
    assert main(["reload", "--pid", str(os.getpid())]) == 1
    assert "systemctl reload alprd" in capsys.readouterr().err


def test_a_thread_shows_its_name_to_the_kernel() -> None:
    seen: list[str] = []

    def look() -> None:
        show_name()
        seen.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text())

    thread = threading.Thread(target=look, name="inference")
    thread.start()
    thread.join()
    assert seen == ["inference\n"]
