"""An outbox file that is missing, damaged, foreign or out of reach."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from support.outboxes import HandClock, gaps, open_outbox, peek, row, rows, waiting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def filled(path: Path) -> Path:
    """An outbox of 200 events, two pages each, numbered 1..200, of which 1..10 are delivered."""
    with open_outbox(path) as outbox:
        outbox.add([row(f"id-{number}", padding=5000) for number in range(1, 201)])
        outbox.delete(range(1, 11))
    return path


def test_a_missing_folder_is_an_error_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match=f"create it: mkdir -p {tmp_path}/no/such"):
        open_outbox(tmp_path / "no" / "such" / "outbox.sqlite")


def test_a_folder_in_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(
        OutboxError, match=re.escape("is a folder; set outbox.path to a file in it")
    ):
        open_outbox(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutboxError, match="make the file and its folder writable"):
        open_outbox(tmp_path / "outbox.sqlite")


@pytest.mark.parametrize(
    "content",
    [b"device_id = 'x'\n", "Gr\u00fc\u00dfe\n".encode() * 200, b"\xff\xfe no, this is binary"],
)
def test_a_text_file_is_never_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if b"\xff" in content:
        with open_outbox(path) as outbox:  # noise, as a damaged page is: set aside, not lost
            assert outbox.set_aside is not None
            assert outbox.set_aside.read_bytes() == content
        return
    with pytest.raises(OutboxError, match=re.escape("is not an outbox of alprd; set outbox.path")):
        open_outbox(path)
    assert path.read_bytes() == content


def test_somebody_elses_database_is_never_touched(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE music (title TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(OutboxError, match="is not an outbox of alprd"):
        open_outbox(path)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_version_is_refused_and_kept(path: Path) -> None:
    with open_outbox(path) as outbox:
        assert outbox.store.db is not None
        outbox.store.db.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="written by a newer alprd"):
        open_outbox(path)


def test_an_empty_file_becomes_an_outbox(path: Path) -> None:
    path.touch()
    with open_outbox(path) as outbox:
        assert outbox.set_aside is None
        assert outbox.add([row("a")]) == [1]


def test_a_second_process_on_the_same_outbox_is_refused(path: Path) -> None:
    with open_outbox(path), pytest.raises(OutboxError, match="another alprd uses this outbox"):
        open_outbox(path)
    with open_outbox(path) as later:
        assert later.add([row("a")]) == [1]


def damage(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(length))


def without_mark(path: Path) -> None:
    path.with_name(f"{path.name}.seq").unlink()


@pytest.mark.parametrize("marked", [True, False])
def test_a_damaged_page_costs_only_its_events_which_are_announced_and_numbers_go_on(
    filled: Path, *, marked: bool
) -> None:
    damage(filled, filled.stat().st_size // 2, 8192)
    if not marked:
        without_mark(filled)
    with open_outbox(filled) as outbox:
        assert outbox.set_aside == filled.with_name("outbox.sqlite.corrupt-20261121T090000")
        assert outbox.set_aside.exists()
        left = waiting(outbox)
        assert 150 <= len(left) < 190
        announced = {seq for first, last, _ in gaps(outbox) for seq in range(first, last + 1)}
        assert announced == set(range(11, 201)) - set(left)
        assert outbox.counts().pending == len(left)
        assert outbox.counts().lost == len(announced)
        assert outbox.add([row("next")]) == [201]
    with open_outbox(filled) as again:
        assert again.set_aside is not None  # still to be told


@pytest.mark.parametrize("wipe", [b"\x00", b"\xa5"])
def test_a_lost_first_page_stops_nothing_and_gives_no_number_twice(
    filled: Path, wipe: bytes
) -> None:
    with filled.open("r+b") as file:
        file.write(wipe * 4096)
    with open_outbox(filled) as outbox:
        assert outbox.set_aside is not None
        assert outbox.add([row("next")]) == [201]
        assert gaps(outbox) == [(11, 200, "damaged")]


def test_a_truncated_file_stops_nothing_and_gives_no_number_twice(filled: Path) -> None:
    os.truncate(filled, filled.stat().st_size // 2 + 100)
    with open_outbox(filled) as outbox:
        assert outbox.set_aside is not None
        left = waiting(outbox)
        announced = {seq for first, last, _ in gaps(outbox) for seq in range(first, last + 1)}
        assert announced | set(left) == set(range(11, 201))
        assert not announced & set(left)
        assert outbox.add([row("next")]) == [201]


def test_a_file_that_was_deleted_gives_no_number_twice(filled: Path) -> None:
    filled.unlink()
    with open_outbox(filled) as outbox:
        assert outbox.add([row("next")]) == [201]
        assert gaps(outbox) == [(11, 200, "damaged")]


def test_a_file_that_was_turned_back_announces_what_it_lacks(path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox.add(rows(5))
    old = path.read_bytes()
    with open_outbox(path) as outbox:
        outbox.add(rows(5))
    path.write_bytes(old)
    with open_outbox(path) as outbox:
        assert waiting(outbox) == [1, 2, 3, 4, 5]
        assert gaps(outbox) == [(6, 10, "damaged")]
        assert outbox.add(rows(1)) == [11]


def test_after_a_restart_of_the_machine_a_lost_file_skips_what_may_have_been_given(
    path: Path,
) -> None:
    with open_outbox(path) as outbox:
        outbox.add(rows(5))
    path.unlink()
    with open_outbox(path, boot_id="next-boot") as outbox:
        (next_seq,) = outbox.add(rows(1))
        assert 5 < next_seq <= 5 + 2000
        assert gaps(outbox) == [(1, next_seq - 1, "damaged")]


def test_bytes_that_changed_inside_an_event_are_noticed_while_it_runs(filled: Path) -> None:
    with open_outbox(filled) as outbox:
        assert outbox.store.db is not None
        outbox.store.db.execute("UPDATE event SET payload = x'00' WHERE seq = 50")
        claimed = [each.seq for each in outbox.claim(0, 1000)]
        assert claimed == [seq for seq in range(11, 201) if seq != 50]
        assert outbox.set_aside is not None
        assert gaps(outbox) == [(50, 50, "damaged")]
        assert outbox.add(rows(1)) == [201]


@pytest.mark.parametrize("column", ["topic", "event_id"])
@pytest.mark.parametrize("running", [True, False])
def test_a_text_that_is_no_text_any_more_costs_only_its_event(
    filled: Path, column: str, *, running: bool
) -> None:
    def flip() -> None:
        with closing(sqlite3.connect(filled)) as db:
            question = f"SELECT CAST({column} AS BLOB) FROM event WHERE seq = 50"  # noqa: S608
            ((stored,),) = db.execute(question).fetchall()
            flipped = bytes([stored[0] | 0x80]) + stored[1:]  # no UTF-8 any more
            change = f"UPDATE event SET {column} = CAST(? AS TEXT) WHERE seq = 50"  # noqa: S608
            db.execute(change, (flipped,))
            db.commit()

    if not running:
        flip()
    with open_outbox(filled) as outbox:
        if running:
            flip()
        claimed = [each.seq for each in outbox.claim(0, 1000)]
        assert claimed == [seq for seq in range(11, 201) if seq != 50]
        assert gaps(outbox) == [(50, 50, "damaged")]
        assert outbox.set_aside is not None


def test_a_changed_letter_of_a_message_that_is_still_json_is_never_sent(filled: Path) -> None:
    with open_outbox(filled) as outbox:
        assert outbox.store.db is not None
        outbox.store.db.execute(
            "UPDATE event SET payload = CAST(payload || ' ' AS BLOB) WHERE seq = 50"
        )
        assert 50 not in [each.seq for each in outbox.claim(0, 1000)]
        assert gaps(outbox) == [(50, 50, "damaged")]


def test_a_file_that_breaks_while_in_use_is_set_aside_and_the_call_goes_on(filled: Path) -> None:
    with open_outbox(filled) as outbox:
        assert outbox.store.db is not None
        outbox.store.db.execute("DROP TABLE event")
        assert outbox.add(rows(1)) == [201]
        assert waiting(outbox) == [201]
        assert gaps(outbox) == [(11, 200, "damaged")]
        assert outbox.set_aside is not None


def test_a_file_of_version_1_is_migrated_with_its_events_and_numbers(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript(
        "PRAGMA application_id = 0x616C7072; PRAGMA user_version = 1;"
        "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);"
        "INSERT INTO counter VALUES ('next_seq', 8), ('pending', 2), ('dropped', 3);"
        "CREATE TABLE event (seq INTEGER PRIMARY KEY, topic TEXT NOT NULL, event_id TEXT NOT NULL,"
        " payload BLOB NOT NULL, size INTEGER NOT NULL, added_at_s REAL NOT NULL);"
        "INSERT INTO event VALUES (6, 't', 'a', x'7b7d', 2, 1.0), (7, 't', 'b', x'7b7d', 2, 1.0);"
    )
    old.close()
    with open_outbox(path) as outbox:
        counts = outbox.counts()
        assert (counts.pending, counts.bytes, counts.dropped, counts.parked) == (2, 4, 3, 0)
        assert [(each.seq, each.payload) for each in outbox.claim(0, 9)] == [(6, b"{}"), (7, b"{}")]
        assert outbox.add(rows(1)) == [8]
    with open_outbox(path) as again:
        assert waiting(again) == [6, 7, 8]


VERSION_2 = """
PRAGMA application_id = 0x616C7072; PRAGMA user_version = 2;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counter VALUES ('next_seq', 5), ('pending', 1), ('dropped', 0), ('bytes', 9),
 ('parked', 2), ('lost', 0), ('gaps', 1);
CREATE TABLE event (seq INTEGER PRIMARY KEY, topic TEXT NOT NULL, event_id TEXT NOT NULL,
 payload BLOB NOT NULL, size INTEGER NOT NULL, added_at_s REAL NOT NULL,
 aged_s REAL NOT NULL DEFAULT 0, crc INTEGER, tries INTEGER NOT NULL DEFAULT 0);
INSERT INTO event VALUES (2, 't', 'b', x'7b7d', 3, 1.0, 1.0, NULL, 0);
CREATE TABLE parked (seq INTEGER PRIMARY KEY, topic TEXT NOT NULL, event_id TEXT NOT NULL,
 payload BLOB NOT NULL, size INTEGER NOT NULL, added_at_s REAL NOT NULL, aged_s REAL NOT NULL,
 crc INTEGER, tries INTEGER NOT NULL, reason TEXT NOT NULL, retry_aged_s REAL);
INSERT INTO parked VALUES (3, 't', 'c', x'7b7d', 3, 1.0, 1.0, NULL, 1, 'Quota exceeded', 61.0),
 (4, 't', 'd', x'7b7d', 3, 1.0, 1.0, NULL, 1, 'Not authorized', NULL);
CREATE TABLE gap (id INTEGER PRIMARY KEY, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
 reason TEXT NOT NULL, detail TEXT, at_s REAL NOT NULL, gap_id TEXT);
INSERT INTO gap VALUES (1, 3, 4, 'refused', 'no', 1.0, NULL);
CREATE TABLE anchor (id INTEGER PRIMARY KEY CHECK (id = 1), boot_id TEXT,
 boot_s REAL NOT NULL, wall_s REAL NOT NULL, aged_s REAL NOT NULL);
INSERT INTO anchor VALUES (1, 'this-boot', 900.0, 100.0, 100.0);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def test_a_file_of_version_2_is_migrated_with_what_is_parked_and_announced(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript(VERSION_2)
    old.close()
    with open_outbox(path, boot_s=HandClock(1000.0)) as outbox:
        assert (outbox.counts().pending, outbox.counts().parked) == (1, 2)
        assert gaps(outbox) == [(3, 4, "refused")]
        assert outbox.unpark_due() == 1
        assert waiting(outbox) == [2, 3]
        assert outbox.unpark(after_seq=0, upto_seq=outbox.last_parked()) == [4]
        assert outbox.add(rows(1)) == [5]
    with open_outbox(path) as again:
        assert again.set_aside is None
        assert waiting(again) == [2, 3, 4, 5]
    assert peek(path, "PRAGMA user_version") == [3]
    # The same questions as in a new file are answered without looking at every row.
    assert set(peek(path, "SELECT name FROM sqlite_master WHERE type = 'index'")) >= {
        "parked_due",
        "gap_from",
        "gap_named",
    }


def test_a_second_damage_in_the_same_second_keeps_both_files(filled: Path) -> None:
    asides = []
    for _ in range(2):
        with filled.open("r+b") as file:
            file.write(b"\x00" * 4096)
        with open_outbox(filled) as outbox:
            asides.append(outbox.set_aside)
    assert len(set(asides)) == 2
    assert all(aside is not None and aside.exists() for aside in asides)
