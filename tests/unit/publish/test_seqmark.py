"""The number that is known when the outbox is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from alprd.publish.seqmark import RESERVE, SeqMark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite.seq"


def written(path: Path, *steps: int) -> None:
    mark = SeqMark(path, boot_id="a")
    mark.reserve(steps[0])
    for step in steps:
        mark.advance(next_seq=step, floor=step - 1)
    mark.close()


def test_a_new_file_knows_nothing(path: Path) -> None:
    mark = SeqMark(path, boot_id="a")
    assert mark.found is None
    assert mark.safe_next == 1
    mark.close()


def test_within_one_run_of_the_machine_the_number_is_exact(path: Path) -> None:
    written(path, 5, 6, 7)
    mark = SeqMark(path, boot_id="a")
    assert (mark.safe_next, mark.next_seq, mark.floor) == (7, 7, 6)
    mark.close()


@pytest.mark.parametrize("boot_id", ["b", None])
def test_after_another_start_of_the_machine_the_reserve_counts_as_given(
    path: Path, boot_id: str | None
) -> None:
    written(path, 5, 6)
    mark = SeqMark(path, boot_id=boot_id)
    assert mark.safe_next == 5 + RESERVE
    assert mark.next_seq == 6
    mark.close()


def test_a_torn_write_costs_one_step_only(path: Path) -> None:
    written(path, 5, 6, 7)
    content = bytearray(path.read_bytes())
    newest = 512 if b" 7 6 " in content[512:] else 0
    content[newest + 20 : newest + 30] = b"\x00" * 10
    path.write_bytes(content)
    mark = SeqMark(path, boot_id="a")
    assert mark.next_seq == 6
    mark.close()


@pytest.mark.parametrize("content", [b"\x00" * 1024, b"alprd-seq 1 x", b"\xff" * 600])
def test_nonsense_is_as_good_as_nothing(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    mark = SeqMark(path, boot_id="a")
    assert mark.found is None
    mark.close()


def test_the_disk_is_waited_for_once_per_reserve_only(path: Path) -> None:
    waits: list[int] = []
    mark = SeqMark(path, boot_id="a", sync=waits.append)
    for number in range(1, 2 * RESERVE):
        mark.reserve(number + 1)
        mark.advance(next_seq=number + 1)
    assert len(waits) == 2
    mark.close()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    mark = SeqMark(tmp_path / "no" / "such.seq", boot_id="a")
    mark.reserve(5)
    mark.advance(next_seq=5)
    assert mark.next_seq == 5
    mark.close()
