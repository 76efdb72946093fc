"""Keeps the recording of CUDA graphs apart from what the whole GPU must be still for.

While a stream is captured the driver lets no thread wait for the whole context, whatever the mode
of the capture: the wait fails, and so does the capture. Loading an engine may wait so inside, and
starting a decoder; cameras and inference share the context, and with it this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class Stillness:
    """Who would disturb, and whether one may record.

    What disturbs is never held up for longer than a capture takes; a capture does not wait for it,
    but is left for another time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works = 0

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Nothing is captured meanwhile; several may disturb at once."""
        with self._lock:
            self._works += 1
        try:
            yield
        finally:
            with self._lock:
                self._works -= 1

    @contextmanager
    def captured(self) -> Iterator[bool]:
        """Whether nobody disturbs; if so nobody will meanwhile."""
        with self._lock:
            if self._works == 0:
                yield True
                return
        yield False


STILLNESS: Final = Stillness()
"""Of this process: all of its users of the GPU share one context."""
