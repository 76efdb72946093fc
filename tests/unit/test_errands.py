"""One thread does what others ask of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from alprd.errands import ErrandError, Errands


@contextmanager
def worker(errands: Errands, wake: threading.Event) -> Iterator[None]:
    """A thread that runs errands whenever it is woken."""
    ending = threading.Event()

    def serve() -> None:
        while not ending.is_set():
            wake.wait(5.0)
            wake.clear()
            errands.run()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        wake.set()
        thread.join(5.0)


def test_the_thread_does_it_and_the_asker_gets_what_came_of_it() -> None:
    wake = threading.Event()
    errands = Errands(wake.set)
    with worker(errands, wake):
        name = errands.ask(lambda: threading.current_thread().name, 5.0)
        assert name != threading.current_thread().name
        with pytest.raises(ZeroDivisionError):
            errands.ask(lambda: 1 // 0, 5.0)
        assert errands.ask(lambda: 42, 5.0) == 42  # a failure ends nothing


def test_what_was_not_begun_in_time_is_never_begun() -> None:
    errands = Errands()
    done: list[int] = []
    with pytest.raises(ErrandError, match="not done within"):
        errands.ask(lambda: done.append(1), 0.01)
    errands.run()
    assert not done


def test_closing_tells_those_who_wait() -> None:
    asked = threading.Event()
    errands = Errands(asked.set)
    said: list[str] = []

    def ask() -> None:
        with pytest.raises(ErrandError) as refused:
            errands.ask(lambda: None, 5.0)
        said.append(str(refused.value))

    asker = threading.Thread(target=ask)
    asker.start()
    assert asked.wait(5.0)
    errands.close()
    asker.join(5.0)
    assert "stopping" in said[0]
    with pytest.raises(ErrandError, match="stopping"):
        errands.ask(lambda: None, 5.0)
