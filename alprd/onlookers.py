"""Those who look on at events, pictures and live tracks, may fail; no event is the worse for it.

They are called on the events' way to the disk. What one of them raised there would end inference,
and events that are on the disk already would be stored once more at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

TRACKS: Final = "tracks"
PICTURES: Final = "pictures"

log = structlog.get_logger(__name__)


class Onlookers:
    """Counts what they failed at; used by one thread, the figure is read by others."""

    def __init__(self) -> None:
        self.failed = 0
        """How often one of them fell over, since start."""

    @contextmanager
    def look(self, part: str) -> Iterator[None]:
        """Around what one of them does."""
        try:
            yield
        except Exception:  # whatever it is, it must not cost an event
            self.failed += 1
            log.error("extras.failed", part=part, exc_info=True)
