"""The process or the machine ends at any moment: what the files then hold."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import support.crash_points
import support.outbox_child
from support.children import python
from support.outboxes import gaps, open_outbox, row, waiting

pytestmark = pytest.mark.once

Tell = Callable[[str], None]
WAL = "outbox.sqlite-wal"
COPIES = [
    pytest.param(15, id="short"),
    pytest.param(300, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("story", sorted(support.crash_points.STORIES))
def test_a_crash_at_every_point_leaves_the_state_before_or_after_the_step(
    tmp_path: Path, tell: Tell, story: str
) -> None:
    # The end of a process needs no slow disk: a file system in memory where there is one.
    shared = Path("/dev/shm")  # noqa: S108
    with (
        TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder,
        python(support.crash_points, folder, story) as child,
    ):
        said, _ = child.communicate(timeout=100.0)
    last = said.splitlines()[-1]
    tell(f"injected: a crash at each point of {story!r}; counted: {last}, all states whole")
    assert child.returncode == 0, said
    assert int(last.split()[0]) > 100


@dataclass
class Progress:
    """What the child has told so far: the `add` of these had returned."""

    added: int = 0
    wal_bytes: int = 0
    lines: int = 0


class Filler:
    """A process that fills an outbox; can be frozen, and says how far it had come by then."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self._progress = Progress()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, lines: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._progress.lines >= lines, 30.0)

    @property
    def lines(self) -> int:
        return self._progress.lines

    def seen(self) -> Progress:
        """What had certainly happened before now."""
        with self._news:
            now = self._progress
            return Progress(now.added, now.wal_bytes, now.lines)

    def freeze(self) -> None:
        self._child.send_signal(signal.SIGSTOP)
        # The state "T" of the process says that it has really stopped.
        stat = Path(f"/proc/{self._child.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            threading.Event().wait(0.001)

    def close(self) -> None:
        self._child.kill()
        self._thread.join(10.0)

    def go_on(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if not line.endswith("\n"):
                return  # killed in the midst of it
            word, *numbers = line.split()
            with self._news:
                if word == "added":
                    self._progress.added = int(numbers[0])
                    self._progress.wal_bytes = int(numbers[1])
                self._progress.lines += 1
                self._news.notify_all()


def copies(
    base: Path, count: int, dice: random.Random, *, frozen: bool
) -> Iterator[tuple[Path, Progress]]:
    """Copies of a working outbox at random moments: (folder, what had happened before).

    A new process after a few copies, so that the log does not start anew behind the back of the
    sizes that are noted.
    """
    done = 0
    while done < count:
        folder = base / f"live-{done}"
        folder.mkdir()
        # Large events let the log be moved into the file, and started anew, now and then.
        padding = 600 if frozen else 20_000
        with (
            python(support.outbox_child, str(folder), str(padding)) as child,
            closing(Filler(child)) as filler,
        ):
            for _ in range(5):
                filler.wait_for(filler.lines + dice.randint(1, 25 if frozen else 200))
                if frozen:
                    filler.freeze()
                before = filler.seen()
                copy = base / f"copy-{done}"
                copy.mkdir()
                # The file before its log, as most tools would.
                for name in ("outbox.sqlite", WAL, "outbox.sqlite.seq"):
                    shutil.copy(folder / name, copy / name)
                yield copy, before
                if frozen:
                    filler.go_on()
                done += 1
                shutil.rmtree(copy)
        shutil.rmtree(folder)


def deleted_by_then(there: set[int]) -> set[int]:
    """What the process may have deleted: the oldest, one after every three that it had added."""
    return set(range(1, (max(there, default=0) + 1) // 3 + 2))


@pytest.mark.parametrize("count", COPIES)
def test_after_a_power_cut_everything_that_was_added_is_there(
    tmp_path: Path, tell: Tell, count: int
) -> None:
    dice = random.Random(11)  # noqa: S311 - seeded, so that a failure can be repeated
    checked = torn = 0
    for copy, before in copies(tmp_path, count, dice, frozen=True):
        log = copy / WAL
        # What was not synchronised when the power went may be there, torn, or noise.
        if log.stat().st_size > before.wal_bytes and (choice := dice.randrange(3)):
            torn += 1
            content = log.read_bytes()
            keep = dice.randint(before.wal_bytes, len(content))
            noise = dice.randbytes(len(content) - keep) if choice == 2 else b""
            log.write_bytes(content[:keep] + noise)
        with open_outbox(copy / "outbox.sqlite", boot_id="next-boot") as outbox:
            assert outbox.set_aside is None
            there = set(waiting(outbox))
            given = set(range(1, before.added + 1))
            assert given - there <= deleted_by_then(there)
            # The mark may know of one that was torn away here and had not been confirmed.
            lost = {seq for first, last, _ in gaps(outbox) for seq in range(first, last + 1)}
            assert lost.isdisjoint(given)
            (next_seq,) = outbox.add([row("next")])
            assert next_seq == max(there | lost | given) + 1
            checked += len(given & there)
    tell(
        f"injected: {count} power cuts at random moments, {torn} with a torn log;"
        f" counted: {checked} events that had to be there, 0 missing, no number twice"
    )


@pytest.mark.parametrize("count", COPIES)
def test_a_file_copied_while_it_is_written_loses_nothing_silently(
    tmp_path: Path, tell: Tell, count: int
) -> None:
    dice = random.Random(12)  # noqa: S311 - seeded, so that a failure can be repeated
    damaged = announced = 0
    for copy, before in copies(tmp_path, count, dice, frozen=False):
        with open_outbox(copy / "outbox.sqlite", boot_id="next-boot") as outbox:
            there = set(waiting(outbox))
            missing = {seq for first, last, _ in gaps(outbox) for seq in range(first, last + 1)}
            given = set(range(1, before.added + 1))
            assert given - there - missing <= deleted_by_then(there | missing)
            (next_seq,) = outbox.add([row("next")])
            assert next_seq > max(there | {before.added})
            damaged += outbox.set_aside is not None
            announced += len(missing)
    tell(
        f"injected: {count} copies of a working outbox, file and log not of one moment;"
        f" counted: {damaged} set aside, {announced} numbers announced, 0 lost silently"
    )


def test_the_children_say_what_they_do(tmp_path: Path) -> None:
    """The two programs above rest on lines that are read word by word."""
    with python(support.outbox_child, str(tmp_path), "9") as child:
        assert child.stdout is not None
        assert [child.stdout.readline().split()[0] for _ in range(4)] == [
            *("added", "added", "added", "deleting"),
        ]
