"""Lists follow their files, and never become worse than they were."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alprd.config import ListSettings
from alprd.policy.watcher import ListWatcher


def wait_until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 5.0
    while not holds():
        assert time.monotonic() < give_up_at
        threading.Event().wait(0.005)  # the watcher polls, so nobody tells us


def plates(watcher: ListWatcher) -> list[list[str]]:
    return [sorted(each.plates) for each in watcher.lists()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "staff.txt"
    path.write_text("AB12CDE\n")
    return path


def watcher_of(file: Path, poll_s: float = 0.01) -> ListWatcher:
    settings = ListSettings(name="staff", file=file, match="fuzzy", drop=True)
    return ListWatcher([settings], poll_s=poll_s)


def test_a_list_is_there_at_once_with_what_the_configuration_says_of_it(file: Path) -> None:
    with watcher_of(file) as watcher:
        (staff,) = watcher.lists()
    assert (staff.name, staff.plates, staff.fuzzy, staff.drop) == ("staff", {"AB12CDE"}, True, True)


def test_a_changed_file_is_in_force_without_a_reload(file: Path) -> None:
    with watcher_of(file) as watcher:
        file.write_text("XX11XXX\nYY22YYY\n")
        wait_until(lambda: plates(watcher) == [["XX11XXX", "YY22YYY"]])
        other = file.with_name("new")
        other.write_text("ZZ33ZZZ\nYY22YYY\n")
        os.replace(other, file)
        wait_until(lambda: plates(watcher) == [["YY22YYY", "ZZ33ZZZ"]])


@pytest.mark.parametrize("content", [b"AB12CDE\nno, this is\xff", b"hello world?\n", b"A" * 17])
def test_a_bad_file_keeps_the_old_list_and_says_so(file: Path, content: bytes) -> None:
    with watcher_of(file) as watcher:
        file.write_bytes(content)
        wait_until(lambda: watcher.figures()[0]["error"])
        assert plates(watcher) == [["AB12CDE"]]
        assert ";" in watcher.figures()[0]["error"]
        file.write_text("XX11XXX\n")
        wait_until(lambda: plates(watcher) == [["XX11XXX"]])
        assert watcher.figures() == [{"name": "staff", "plates": 1, "error": None}]


def test_a_vanished_file_keeps_the_list_and_is_read_when_it_is_back(file: Path) -> None:
    with watcher_of(file) as watcher:
        file.unlink()
        wait_until(lambda: watcher.figures()[0]["error"])
        assert plates(watcher) == [["AB12CDE"]]
        file.write_text("AB12CDE\n")
        wait_until(lambda: watcher.figures()[0]["error"] is None)


def test_a_file_that_is_being_written_is_left_alone_until_it_is_whole(file: Path) -> None:
    seen: list[list[list[str]]] = []
    with watcher_of(file, poll_s=0.2) as watcher:
        with file.open("w") as writing:
            for number in range(200):
                writing.write(f"AB{number:04d}\n")
                writing.flush()
                seen.append(plates(watcher))
        wait_until(lambda: len(plates(watcher)[0]) == 200)
    assert all(each == [["AB12CDE"]] for each in seen)


def test_what_is_said_about_a_list_can_go_into_the_health_message(file: Path) -> None:
    with watcher_of(file) as watcher:
        assert json.loads(json.dumps(watcher.figures()))[0]["plates"] == 1
