"""Keeps the plate lists as their files are; a file that turns bad leaves its list as it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import structlog

from alprd.config.plate_lists import read_plates, unreadable
from alprd.config.policy import ListSettings
from alprd.core.lists import PlateList, PlateListError

POLL_S: Final = 2.0
_JOIN_S: Final = 2.0

log = structlog.get_logger(__name__)

_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A list and where it stands; replaced as a whole.

    Attributes:
        plates: in force.
        loaded: what its file looked like when it was read last.
        seen: what its file looked like at the last look.
        error: why the file is not in force.
    """

    plates: PlateList
    loaded: _Signature | None = None
    seen: _Signature | None = None
    error: str | None = None


class ListWatcher:
    """The lists in force, read at once on entering and again whenever a file changes.

    A thread of its own looks at the files, because a network share may hang; nobody waits for it.
    A file is read when it has been the same for two looks, so that one that is being written is
    left alone, and it replaces the whole list or nothing.
    """

    def __init__(self, settings: Sequence[ListSettings], *, poll_s: float = POLL_S) -> None:
        """Nothing is read yet.

        Args:
            settings: [[lists]].
            poll_s: pause between looks.
        """
        self._settings = tuple(settings)
        self._poll_s = poll_s
        self._states = tuple(
            _State(plates=PlateList(name=each.name, plates=frozenset())) for each in settings
        )
        self._lists: tuple[PlateList, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lists", daemon=True)

    def lists(self) -> tuple[PlateList, ...]:
        """The lists in force; callable from any thread, never blocks."""
        return self._lists

    def figures(self) -> list[dict[str, Any]]:
        """For health: what each list holds, and why its file is not in force."""
        return [
            {"name": s.plates.name, "plates": len(s.plates.plates), "error": s.error}
            for s in self._states
        ]

    def __enter__(self) -> ListWatcher:
        self._look(wait_until_steady=False)
        if self._settings:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)  # one that hangs on a dead share ends with the process

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self._look(wait_until_steady=True)
            except Exception:  # a surprise in one file must not freeze the lists for ever
                log.error("lists.failed", exc_info=True)

    def _look(self, *, wait_until_steady: bool) -> None:
        self._states = tuple(
            self._looked_at(each, state, wait_until_steady=wait_until_steady)
            for each, state in zip(self._settings, self._states, strict=True)
        )
        self._lists = tuple(state.plates for state in self._states)

    def _looked_at(
        self, settings: ListSettings, state: _State, *, wait_until_steady: bool
    ) -> _State:
        try:
            signature = _signature(settings.file)
        except OSError as error:
            # Read it again when it is back, whatever it says then.
            return _refused(settings, replace(state, loaded=None, seen=None), unreadable(error))
        steady = signature == state.seen or not wait_until_steady
        state = replace(state, seen=signature)
        return _read(settings, state) if steady and signature != state.loaded else state


def _read(settings: ListSettings, state: _State) -> _State:
    """The list as its file, which changed, says; the one before when it cannot be used."""
    try:
        plates = read_plates(settings.file)
    except PlateListError as error:
        return _refused(settings, replace(state, loaded=state.seen), str(error))
    if _has_changed_since(settings.file, state.seen):
        return state
    log.info("lists.loaded", list=settings.name, file=str(settings.file), plates=len(plates))
    return _State(
        plates=PlateList(
            name=settings.name, plates=plates, fuzzy=settings.match == "fuzzy", drop=settings.drop
        ),
        loaded=state.seen,
        seen=state.seen,
    )


def _refused(settings: ListSettings, state: _State, problem: str) -> _State:
    if problem != state.error:
        log.error(
            "lists.refused",
            list=settings.name,
            file=str(settings.file),
            problem=problem,
            in_force=f"the {len(state.plates.plates)} plates from before",
        )
    return replace(state, error=problem)


def _signature(file: Path) -> _Signature:
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _has_changed_since(file: Path, signature: _Signature | None) -> bool:
    try:
        return _signature(file) != signature
    except OSError:
        return True
