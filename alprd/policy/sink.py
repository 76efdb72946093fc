"""Between inference and the outbox: names the lists, drops what is not wanted, hides the plate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from alprd.core.lists import PlateList, lists_of
from alprd.core.privacy import without_plate
from alprd.core.types import PlateEvent
from alprd.ports import EventSink

Lists = Callable[[], tuple[PlateList, ...]]
"""The lists as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What becomes of an event.

    Attributes:
        lists: gives the lists in force; must not block.
        drop_unlisted: events of plates that are on no list are not published.
        key: of the pseudonyms; None publishes plates as they are.
    """

    lists: Lists
    drop_unlisted: bool
    key: bytes | None

    def apply(self, event: PlateEvent) -> PlateEvent | None:
        """The event as it is published; None when it is dropped.

        A plate that is on several lists is dropped when all of them say so: being on the staff
        list hides nobody who is also on the one of unwanted visitors.
        """
        # A vehicle without a readable plate is on no list.
        found = () if event.plate is None else lists_of(event.plate, self.lists())
        if self.drop_unlisted if not found else all(each.drop for each in found):
            return None
        event = replace(event, lists=tuple(each.name for each in found))
        return event if self.key is None else without_plate(event, self.key)

    @property
    def drops(self) -> bool:
        """Whether there are plates whose events are dropped."""
        return self.drop_unlisted or any(each.drop for each in self.lists())


class PolicySink:
    """An `EventSink` in front of another one; used by the inference thread.

    A dropped event never gets a number, so it leaves no gap.
    """

    def __init__(self, sink: EventSink, policy: Policy) -> None:
        self._sink = sink
        self.policy = policy
        """In force; replaced as a whole."""
        self.dropped = 0
        """Events that were not published by the configuration's wish, since start."""

    def use(self, policy: Policy) -> None:
        """Go by another policy from the next event on; callable from any thread."""
        self.policy = policy

    def add(self, events: Sequence[PlateEvent]) -> None:
        """Return once those that remain are on disk. Raises OutboxError: none was added."""
        policy = self.policy
        kept = [done for done in map(policy.apply, events) if done is not None]
        if kept:
            self._sink.add(kept)
        self.dropped += len(events) - len(kept)

    def add_lost(self, count: int) -> None:
        """Pass on that events are lost; whether they were wanted is not known any more."""
        self._sink.add_lost(count)
