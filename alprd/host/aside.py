"""Asks what may hang in the kernel (a driver, a network file system) in a thread of its own.

A thread in such a call cannot be ended, only left alone; who wants the answer must not share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from alprd.threads import show_name

log = structlog.get_logger(__name__)

_Answer = TypeVar("_Answer")

_PATIENCE_S = 1.0
_JOIN_S = 1.0


class Aside(Generic[_Answer]):
    """Asks again at every `look`, unless the question before is still open.

    A context manager; `look` is called by one thread.

    Args:
        name: of the thread, and of what is asked, in the log.
        ask: the question; called in the thread.
        finish: called in the thread when it ends.
        patience_s: `look` waits for an answer for so long, and not at all while one is overdue.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], _Answer],
        *,
        finish: Callable[[], None] = lambda: None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._name = name
        self._ask = ask
        self._finish = finish
        self._patience_s = patience_s
        self._wanted = threading.Event()
        self._answered = threading.Event()
        self._answered.set()
        self._stop = threading.Event()
        self._answer: _Answer | None = None
        self._error: str | None = None
        self._told: str | None = None
        self._is_late = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Aside[_Answer]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wanted.set()
        if not self._is_late:
            self._thread.join(_JOIN_S)

    def look(self) -> _Answer | None:
        """The answer of now, or of the look before; None while it hangs or has failed."""
        former = None
        if self._answered.is_set():
            # One that came late is better than none, with a driver that is slow again and again.
            former = self._answer if self._is_late else None
            self._is_late = False
            self._answered.clear()
            self._wanted.set()
        in_time = self._answered.wait(0.0 if self._is_late else self._patience_s)
        self._is_late = not in_time
        answer = self._answer if in_time else former
        trouble = self._error if in_time else None
        if not in_time and former is None:
            trouble = "hangs in the kernel or in its driver"
        if trouble is not None and trouble != self._told:
            log.error("health.failed", part=self._name, error=trouble)
        if trouble is not None or answer:  # an empty answer does not prove that it is well again
            self._told = trouble
        return answer

    def _run(self) -> None:
        show_name()
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stop.is_set():
                break
            try:
                self._answer, self._error = self._ask(), None
            except Exception as error:  # noqa: BLE001 -- a driver's library; told by `look`
                self._answer, self._error = None, f"{type(error).__name__}: {error}"
            self._answered.set()
        try:
            self._finish()
        except Exception as error:
            log.error("health.failed", part=self._name, error=str(error), exc_info=True)
