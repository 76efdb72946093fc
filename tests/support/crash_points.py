"""Kills a process at every point at which an outbox touches the disk, one after the other.

Every SQL statement, every write of the mark and every rename or removal of a file is two points:
directly before and directly after it. For each point a child process runs the same story and ends
there without any clean-up; what it leaves must be the state before or after the step that it was
in. Run as a program: python crash_points.py FOLDER STORY; prints how many points there were, and
ends with an error at the first state that is neither.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from alprd.publish.outbox import Outbox
from support.outboxes import HandClock, open_outbox, rows

CRASHED: Final = 86
Step = tuple[str, Callable[[Outbox, HandClock], object]]
State = tuple[Any, ...]


class Trap:
    """Ends the process at the `at`-th point; None: counts only."""

    def __init__(self, at: int | None) -> None:
        self.points = 0
        self._at = at

    def pass_by(self) -> None:
        self.points += 1
        if self.points == self._at:
            os._exit(CRASHED)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def trapped(*arguments: Any, **options: Any) -> Any:
            self.pass_by()
            result = function(*arguments, **options)
            self.pass_by()
            return result

        return trapped

    def install(self) -> None:
        """Put it around everything that changes a file."""
        trap = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                trap.pass_by()
                cursor = super().execute(*arguments)
                trap.pass_by()
                return cursor

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                trap.pass_by()
                cursor = super().executemany(*arguments)
                trap.pass_by()
                return cursor

            def close(self) -> None:
                trap.pass_by()
                super().close()
                trap.pass_by()

        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(*a, **{**k, "factory": Connection})  # type: ignore
        os.pwrite = self.around(os.pwrite)
        Path.rename = self.around(Path.rename)  # type: ignore[method-assign]
        Path.unlink = self.around(Path.unlink)  # type: ignore[method-assign]


def state_of(outbox: Outbox) -> State:
    """Everything that an outbox promises to keep."""
    with sqlite3.connect(outbox.path) as db:
        found = tuple(
            tuple(db.execute(question))
            for question in (
                "SELECT seq, event_id FROM event ORDER BY seq",
                "SELECT seq, reason FROM parked ORDER BY seq",
                "SELECT from_seq, to_seq, reason, gap_id FROM gap ORDER BY id",
                "SELECT name, value FROM counter ORDER BY name",
            )
        )
    db.close()
    return found


def _age(outbox: Outbox, clock: HandClock) -> object:
    clock.seconds += 1000.0
    outbox.add(rows(1, start=200))
    return None


LIFE: Final[Sequence[Step]] = (
    ("add", lambda outbox, _: outbox.add(rows(3))),
    ("claim", lambda outbox, _: outbox.claim(0, 2)),
    ("delete", lambda outbox, _: outbox.delete([1])),
    ("add beyond the bound", lambda outbox, _: outbox.add(rows(6, start=10))),
    ("take gaps", lambda outbox, _: outbox.take_gaps(9, lambda: "the-gap")),
    ("delete gaps", lambda outbox, _: outbox.delete_gaps(["the-gap"])),
    ("park", lambda outbox, _: outbox.park([(8, "Not authorized", True)])),
    ("unpark", lambda outbox, _: outbox.unpark(after_seq=0, upto_seq=9)),
    ("lose", lambda outbox, _: outbox.add_lost(2)),
    ("time passes", _age),
    ("drop aged", lambda outbox, _: outbox.drop_aged()),
    ("space", lambda outbox, _: outbox.give_space_back()),
)
RECOVERY: Final[Sequence[Step]] = (("add", lambda outbox, _: outbox.add(rows(1, start=300))),)


def _open(folder: Path, clock: HandClock) -> Outbox:
    return open_outbox(
        folder / "outbox.sqlite", max_events=6, max_age_s=500.0, boot_s=clock, boot_id="boot"
    )


def damaged(folder: Path) -> None:
    """A file with five events, of which the third does not match its checksum any more."""
    with _open(folder, HandClock()) as outbox:
        outbox.add(rows(5, padding=2000))
    with (folder / "outbox.sqlite").open("r+b") as file:
        content = file.read()
        at = content.index(b'"id-2"')
        file.seek(at)
        file.write(b"\x00" * 4)
    # SQLite does not notice that by itself; a missing counter it does.
    with sqlite3.connect(folder / "outbox.sqlite") as db:
        db.execute("DELETE FROM counter WHERE name = 'gaps'")
    db.close()


STORIES: Final[dict[str, tuple[Callable[[Path], object], Sequence[Step]]]] = {
    "life": (lambda _: None, LIFE),
    "recovery": (damaged, RECOVERY),
}


def _run(folder: Path, steps: Sequence[Step], note: Callable[[Outbox | None], object]) -> None:
    clock = HandClock()
    outbox = _open(folder, clock)
    note(outbox)
    for _, step in steps:
        step(outbox, clock)
        note(outbox)
    outbox.close()


def _tell(fd: int, _outbox: Outbox | None) -> None:
    os.write(fd, b".")


def main(base: str, story: str) -> int:
    """Returns the exit code."""
    prepare, steps = STORIES[story]
    folder = Path(base) / "reference"
    folder.mkdir()
    prepare(folder)
    reference: list[State] = []
    _run(folder, steps, lambda outbox: reference.append(state_of(outbox)) if outbox else None)
    shutil.rmtree(folder)
    point = 0
    while True:
        point += 1
        folder = Path(base) / f"point-{point}"
        folder.mkdir()
        prepare(folder)
        reached_fd, tell_fd = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reached_fd)
            trap = Trap(point)
            trap.install()
            _run(folder, steps, partial(_tell, tell_fd))
            os._exit(0)
        os.close(tell_fd)
        done = 0
        while got := os.read(reached_fd, 1000):
            done += len(got)
        os.close(reached_fd)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            print(f"{point - 1} points")  # noqa: T201
            return 0
        if os.WEXITSTATUS(status) != CRASHED:
            print(f"point {point}: the child failed")  # noqa: T201
            return 1
        with _open(folder, HandClock(1e6)) as outbox:
            found = state_of(outbox)
        allowed = reference[max(0, done - 1) : done + 1]
        started = ("opening", *(name for name, _ in steps), "closing")[done]
        if found not in allowed:
            print(f"point {point}, in step {started!r}: {found}\n allowed: {allowed}")  # noqa: T201
            return 1
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
