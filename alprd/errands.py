"""Asking a thread to do something that only it may do, and waiting for what comes of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

_T = TypeVar("_T")


class ErrandError(Exception):
    """It was not done: the thread is busy or ends; the message names the remedy."""


class Errands:
    """What others want from one thread, which calls `run` whenever it has time.

    Args:
        wake: called when there is something to do.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether there is something to do."""
        with self._lock:
            return bool(self._waiting)

    def ask(self, work: Callable[[], _T], timeout_s: float) -> _T:
        """Have the thread do it; returns or raises what `work` does. Never called by itself.

        Raises:
            ErrandError: it was not even begun in time.
        """
        future: Future[_T] = Future()
        with self._lock:
            if self._closed:
                raise ErrandError("the daemon is stopping; ask again after the start")
            self._waiting.append((future, work))
        self._wake()
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:
            future.cancel()
            raise ErrandError(f"not done within {timeout_s:g} s; try again later") from None

    def run(self) -> None:
        """Do what waits."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                future, work = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the asker's
                future.set_exception(error)

    def close(self) -> None:
        """Nothing is done any more: who waits is told so."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for future, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(
                    ErrandError("the daemon is stopping; ask again after the start")
                )
