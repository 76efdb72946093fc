"""One thread that does what another one gives it, in that order, one thing at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from alprd.ports import EngineError
from alprd.threads import show_name


class Task:
    """Work that was given to the thread.

    Args:
        work: to be done; let go of as soon as that was tried.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work
        self._failure: BaseException | None = None
        self._over = threading.Event()

    def run(self) -> None:
        """Do it; what it raises is kept for whoever asks."""
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        except BaseException as error:  # noqa: BLE001 -- it belongs to whoever waits for the work
            self._failure = error
        finally:
            self._over.set()

    def drop(self) -> None:
        """It will not be done any more."""
        self._work = None
        self._failure = EngineError("the models were closed; restart alprd")
        self._over.set()

    def wait(self) -> None:
        """Until it is over, whatever came of it."""
        self._over.wait()

    def failure(self) -> BaseException | None:
        """What it raised, once; waits until it is over."""
        self._over.wait()
        failure, self._failure = self._failure, None
        return failure


class Aside:
    """The thread; it starts with the first work. One other thread at a time gives it work.

    Args:
        name: for tools that show threads, at most 15 bytes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks = SimpleQueue[Task | None]()
        self._last: Task | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def begin(self, work: Callable[[], None]) -> Task:
        """Give it work, which is done after all that it has already. Raises EngineError."""
        if self._closed.is_set():
            raise EngineError("the models were closed; restart alprd")
        if self._thread is None:
            # A call into a hung driver must not keep the process alive: a daemon thread.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        task = self._last = Task(work)
        self._tasks.put(task)
        return task

    def wait(self) -> None:
        """Until it has nothing to do."""
        if self._last is not None:
            self._last.wait()

    def _run(self) -> None:
        show_name()
        while (task := self._tasks.get()) is not None:
            if self._closed.is_set():
                task.drop()
            else:
                task.run()
            del task  # with what it raised it would keep pictures

    def close(self) -> None:
        """End the thread after what it does now; what it has not begun is dropped."""
        self._closed.set()
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()
            self._thread = None
