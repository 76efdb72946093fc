"""Copying pictures in memory, with the help of threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from queue import SimpleQueue

import numpy as np

from alprd.ports import ImageU8
from alprd.threads import show_name

_PIECE_BYTES = 1 << 20
"""Less is copied sooner than another thread has woken up."""
_HELPERS_MAX = 7  # the memory is not faster for more
_CORES_PER_HAND = 2  # decoders and Python want some, too

_Piece = tuple[int, ImageU8, ImageU8]
"""Of which pair; to, from."""


def usual_helpers() -> int:
    """As many as the cores bear that this process may use."""
    cores = len(os.sched_getaffinity(0))
    return max(0, min(_HELPERS_MAX, cores // _CORES_PER_HAND - 1))


class Copiers:
    """Threads that help whoever copies pictures; numpy frees the interpreter meanwhile.

    The caller copies too, piece by piece, and they take what is left: nobody waits for a thread
    that wakes up late. One caller at a time.

    Args:
        helpers: threads besides the caller's own.
    """

    def __init__(self, helpers: int) -> None:
        self._jobs = SimpleQueue[_Job | None]()
        self._threads = [
            threading.Thread(target=self._help, name=f"frame-copy-{number}", daemon=True)
            for number in range(helpers)
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def copying(self, pairs: Sequence[tuple[ImageU8, ImageU8]]) -> Iterator[Iterator[int]]:
        """Copy into the first picture of each pair from the second.

        Gives the index of each pair, once it is copied. Afterwards nobody copies any more, though
        they were not all asked for.
        """
        if not self._threads:
            yield _one_by_one(pairs)
            return
        job = _Job(pairs)
        for _ in range(min(len(self._threads), job.pieces - 1)):
            self._jobs.put(job)
        try:
            yield job.copied()
        finally:
            job.give_up()

    def _help(self) -> None:
        show_name()
        while (job := self._jobs.get()) is not None:
            while job.work():
                pass

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


class _Job:
    """Pieces to copy; any thread may `work`, the caller does the rest."""

    def __init__(self, pairs: Sequence[tuple[ImageU8, ImageU8]]) -> None:
        pieces = [[*_pieces(index, *pair)] for index, pair in enumerate(pairs)]
        self._todo = deque(chain.from_iterable(pieces))
        self._done = SimpleQueue[int]()
        self._left = {index: len(mine) for index, mine in enumerate(pieces)}
        self.pieces = len(self._todo)

    def work(self) -> bool:
        """Copy one piece; False if none is left to begin."""
        try:
            index, to, from_ = self._todo.popleft()
        except IndexError:
            return False
        try:
            np.copyto(to, from_)
        finally:  # whatever happened, the caller must not wait for it
            self._done.put(index)
        return True

    def copied(self) -> Iterator[int]:
        """Which pairs are copied, as soon as they are; works meanwhile."""
        while self._left:
            self.work()
            index = self._done.get()
            self._left[index] -= 1
            if not self._left[index]:
                del self._left[index]
                yield index

    def give_up(self) -> None:
        """Begin no other piece, and wait for those that others have begun."""
        left = sum(self._left.values())
        while self._todo:
            with suppress(IndexError):  # somebody else was faster
                self._todo.popleft()
                left -= 1
        for _ in range(left):
            self._done.get()


def _one_by_one(pairs: Sequence[tuple[ImageU8, ImageU8]]) -> Iterator[int]:
    """Copy without any help."""
    for index, (to, from_) in enumerate(pairs):
        np.copyto(to, from_)
        yield index


def _pieces(index: int, to: ImageU8, from_: ImageU8) -> Iterator[_Piece]:
    """A pair of pictures in bands of rows."""
    rows = len(from_)
    count = max(1, from_.nbytes // _PIECE_BYTES)
    for band in range(count):
        part = slice(rows * band // count, rows * (band + 1) // count)
        yield index, to[part], from_[part]
