"""The outbox: its folder, its file, what it holds, and whether a daemon uses it now."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.doctor.person import ENTER, READ, WRITE, Person

_MAGIC = b"SQLite format 3\0"


def daemon_runs(outbox: Path) -> bool | None:
    """Whether a daemon holds this outbox; None where we are not allowed to look.

    The look is a shared lock of a few microseconds: a daemon that starts within them is refused
    the outbox, and systemd starts it again.
    """
    try:
        with outbox.with_name(f"{outbox.name}.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return False


def outbox(path: Path, who: Person, *, is_running: bool | None) -> Iterator[Finding]:
    """Whether events can be kept.

    Args:
        path: outbox.path.
        who: the daemon's user.
        is_running: a daemon uses it: the file is left alone. None: nobody knows, so it is, too.
    """
    if is_running is None:
        yield warning("outbox", f"{path} is not for this user to see; run the doctor as root")
        return
    folder = path.absolute().parent
    try:
        may_write = who.may(folder, READ | WRITE | ENTER)
    except FileNotFoundError:
        yield problem("outbox", f"{folder} does not exist; create it, owned by {who.name}")
        return
    except OSError as error:
        yield problem("outbox", f"{folder}: {error.strerror}; run the doctor as {who.name} or root")
        return
    if not may_write:
        yield problem("outbox", f"{who.name} may not write to {folder}; chown {who.name} {folder}")
        return
    aside = sorted(folder.glob(f"{path.name}.corrupt-*"))
    if aside:
        yield warning(
            "outbox",
            f"a damaged file was set aside as {aside[-1]}; look at the disk, then move it away",
        )
    if is_running:
        yield ok("outbox", f"{path}, used by the running daemon")
    elif not path.exists():
        yield ok("outbox", f"{folder} is writable; the file comes with the first start")
    else:
        yield from _file(path, who)


def _file(path: Path, who: Person) -> Iterator[Finding]:
    try:
        if not who.may(path, READ | WRITE):
            yield problem("outbox", f"{who.name} may not write to {path}; chown {who.name} {path}")
            return
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        yield problem("outbox", f"{path}: {error.strerror}; run the doctor as {who.name} or root")
        return
    if head and head != _MAGIC:
        yield problem("outbox", f"{path} is no outbox; move it away, or set outbox.path")
        return
    try:
        # Without a log beside it the file is all there is, and SQLite need not make one: nobody
        # would take that away again.
        mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        ) as db:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            waiting = db.execute("SELECT count(*) FROM event").fetchone()[0] if head else 0
    except sqlite3.Error as error:
        yield problem(
            "outbox",
            f"{path}: {error}; check the disk; the next start sets a damaged file aside and saves "
            "what can be read",
        )
        return
    if verdict != "ok":
        yield problem("outbox", f"{path} is damaged ({verdict}); check the disk")
    else:
        yield ok("outbox", f"{path}, {waiting} events wait")
