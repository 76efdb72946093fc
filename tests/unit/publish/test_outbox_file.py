"""An outbox file that is missing, damaged, foreign or out of reach."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from alprd.publish.outbox import NewRow, OutboxReader, OutboxWriter

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


def open_writer(path: Path) -> OutboxWriter:
    return OutboxWriter(path, max_events=1000, now=lambda: NOW)


def row(event_id: str, *, padding: int = 0) -> NewRow:
    return NewRow(
        topic="alpr/gate/plates",
        event_id=event_id,
        build=lambda seq: json.dumps(
            {"seq": seq, "event_id": event_id, "padding": "x" * padding}
        ).encode(),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def filled(path: Path) -> Path:
    """An outbox of 200 events, two pages each, numbered 1..200, of which 1..10 are delivered."""
    with open_writer(path) as writer, OutboxReader(path) as reader:
        writer.add([row(f"id-{number}", padding=5000) for number in range(1, 201)])
        reader.delete(range(1, 11))
    return path


def test_a_missing_folder_is_an_error_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match=f"create it: mkdir -p {tmp_path}/no/such"):
        open_writer(tmp_path / "no" / "such" / "outbox.sqlite")


def test_a_folder_in_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(
        OutboxError, match=re.escape("is a folder; set outbox.path to a file in it")
    ):
        open_writer(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutboxError, match="make the file and its folder writable"):
        open_writer(tmp_path / "outbox.sqlite")


@pytest.mark.parametrize(
    "content",
    [b"device_id = 'x'\n", "Gr\u00fc\u00dfe\n".encode() * 200, b"\xff\xfe no, this is binary"],
)
def test_a_text_file_is_never_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if b"\xff" in content:
        with open_writer(path) as writer:  # noise, as a damaged page is: set aside, not lost
            assert writer.set_aside is not None
            assert writer.set_aside.read_bytes() == content
        return
    with pytest.raises(OutboxError, match=re.escape("is not an outbox of alprd; set outbox.path")):
        open_writer(path)
    assert path.read_bytes() == content


def test_somebody_elses_database_is_never_touched(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE music (title TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(OutboxError, match="is not an outbox of alprd"):
        open_writer(path)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_version_is_refused_and_kept(path: Path) -> None:
    with open_writer(path) as writer:
        writer._db.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="written by a newer alprd"):
        open_writer(path)


def test_an_empty_file_becomes_an_outbox(path: Path) -> None:
    path.touch()
    with open_writer(path) as writer:
        assert writer.set_aside is None
        assert writer.add([row("a")]) == [1]


def test_a_second_process_on_the_same_outbox_is_refused(path: Path) -> None:
    with open_writer(path), pytest.raises(OutboxError, match="another alprd uses this outbox"):
        open_writer(path)
    with open_writer(path) as later:
        assert later.add([row("a")]) == [1]


def damage(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(length))


def test_a_damaged_page_costs_only_its_events_and_numbers_go_on(filled: Path) -> None:
    damage(filled, filled.stat().st_size // 2, 8192)
    with open_writer(filled) as writer, OutboxReader(filled) as reader:
        assert writer.set_aside == filled.with_name("outbox.sqlite.corrupt-20261121T090000")
        assert writer.set_aside.exists()
        left = [pending.seq for pending in reader.pending(0, 1000)]
        assert 150 <= len(left) < 190
        assert left == sorted(left)
        assert set(left) <= set(range(11, 201))
        assert reader.counts().pending == len(left)
        assert writer.add([row("next")]) == [201]


@pytest.mark.parametrize("wipe", [b"\x00", b"\xa5"])
def test_a_lost_first_page_does_not_stop_the_service(filled: Path, wipe: bytes) -> None:
    with filled.open("r+b") as file:
        file.write(wipe * 4096)
    with open_writer(filled) as writer:
        assert writer.set_aside is not None
        assert writer.add([row("next")])


def test_a_truncated_file_does_not_stop_the_service(filled: Path) -> None:
    os.truncate(filled, filled.stat().st_size // 2 + 100)
    with open_writer(filled) as writer:
        assert writer.set_aside is not None
        assert writer.add([row("next")])


def test_a_second_damage_in_the_same_second_keeps_both_files(filled: Path) -> None:
    asides = []
    for _ in range(2):
        with filled.open("r+b") as file:
            file.write(b"\x00" * 4096)
        with open_writer(filled) as writer:
            asides.append(writer.set_aside)
    assert len(set(asides)) == 2
    assert all(aside is not None and aside.exists() for aside in asides)
