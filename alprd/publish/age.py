"""How long events have been waiting, whatever the wall clock does meanwhile.

A device without a battery starts in 1970 and is set right later; a wrong time server moves a clock
by a day. Neither may make events look old enough to be dropped. So ages are measured on an axis of
the outbox's own: it follows the kernel's clock since boot, and only over a restart of the machine,
where nothing better is left, the wall clock, which can lengthen an age by a day but never shorten
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

AWAY_MAX_S: Final = 86_400.0
"""What a restart of the machine can add to an age. A clock that stood years back and was set right
between two starts looks like a machine that was off for years; to keep an event for longer than
asked is better than to drop a whole queue for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One moment on all axes: seconds since boot `boot_id`, Unix time, and the outbox's own."""

    boot_id: str | None
    boot_s: float
    wall_s: float
    aged_s: float


def since_boot_s() -> float:
    """Seconds since the machine started, sleep included; the same for every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class AgeAxis:
    """Seconds that only grow, over restarts too."""

    def __init__(
        self,
        last: Anchor | None,
        *,
        boot_id: str | None,
        boot_s: Callable[[], float],
        wall_s: Callable[[], float],
    ) -> None:
        """Go on where `last` was stored.

        Args:
            last: the newest stored anchor; None for a new outbox.
            boot_id: changes when the machine restarts; None where the kernel does not tell.
            boot_s: seconds since boot.
            wall_s: Unix time.
        """
        self._boot_id = boot_id
        self._boot_s = boot_s
        self._wall_s = wall_s
        here_s = boot_s()
        if last is None:
            self._offset_s = -here_s
        elif boot_id is not None and boot_id == last.boot_id and here_s >= last.boot_s:
            self._offset_s = last.aged_s - last.boot_s
        else:
            away_s = min(max(0.0, wall_s() - last.wall_s), AWAY_MAX_S)
            self._offset_s = last.aged_s + away_s - here_s

    def now_s(self) -> float:
        """The present moment on the outbox's own axis."""
        return self._boot_s() + self._offset_s

    def anchor(self) -> Anchor:
        """The present moment, to be stored."""
        boot_s = self._boot_s()
        return Anchor(
            boot_id=self._boot_id,
            boot_s=boot_s,
            wall_s=self._wall_s(),
            aged_s=boot_s + self._offset_s,
        )
