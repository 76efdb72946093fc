"""Events that the disk refuses wait in memory, in order, and are counted when they cannot."""

from __future__ import annotations

from collections.abc import Sequence

from alprd.core.types import PlateEvent
from alprd.inference.unsaved import CAPACITY, RETRY_S, UnsavedEvents
from alprd.ports import OutboxError
from support.inference import FakeClock, event


class Disk:
    """A sink that can be full."""

    def __init__(self) -> None:
        self.full = False
        self.attempts = 0
        self.saved: list[str] = []
        self.told: list[int] = []

    def add_lost(self, count: int) -> None:
        self.told.append(count)

    def add(self, events: Sequence[PlateEvent]) -> None:
        self.attempts += 1
        if self.full:
            raise OutboxError("outbox.sqlite: the disk is full; make room")
        self.saved += [each.plate for each in events]


def test_an_event_is_saved_at_once() -> None:
    disk = Disk()
    unsaved = UnsavedEvents(disk, FakeClock())

    unsaved.add([event("A"), event("B")])

    assert disk.saved == ["A", "B"]
    assert unsaved.count == 0


def test_nothing_to_save_does_not_touch_the_disk() -> None:
    disk = Disk()
    unsaved = UnsavedEvents(disk, FakeClock())

    unsaved.add([])

    assert unsaved.flush() is None
    assert disk.attempts == 0


def test_refused_events_are_kept_and_saved_in_order_once_the_disk_accepts_again() -> None:
    disk, clock = Disk(), FakeClock()
    unsaved = UnsavedEvents(disk, clock)
    disk.full = True
    unsaved.add([event("A")])
    unsaved.add([event("B")])
    assert unsaved.count == 2

    disk.full = False
    clock.advance(RETRY_S)
    unsaved.retry()
    unsaved.add([event("C")])

    assert disk.saved == ["A", "B", "C"]
    assert (unsaved.count, unsaved.lost) == (0, 0)


def test_a_refusing_disk_is_asked_once_in_a_while_not_with_every_event() -> None:
    disk, clock = Disk(), FakeClock()
    unsaved = UnsavedEvents(disk, clock)
    disk.full = True

    for _ in range(10):
        unsaved.add([event("A")])
        unsaved.retry()
    assert disk.attempts == 1

    clock.advance(RETRY_S)
    unsaved.retry()
    assert disk.attempts == 2


def test_beyond_the_capacity_the_oldest_are_lost_and_counted() -> None:
    disk, clock = Disk(), FakeClock()
    unsaved = UnsavedEvents(disk, clock, capacity=3)
    disk.full = True
    unsaved.add([event(name) for name in "ABCDE"])
    assert (unsaved.count, unsaved.lost) == (3, 2)

    disk.full = False
    assert unsaved.flush() is None

    assert disk.saved == ["C", "D", "E"]
    assert disk.told == [2]
    unsaved.add([event("F")])
    assert disk.told == [2]


def test_many_events_of_one_batch_reach_a_working_disk_whatever_the_capacity_is() -> None:
    disk = Disk()
    unsaved = UnsavedEvents(disk, FakeClock(), capacity=2)

    unsaved.add([event(name) for name in "ABCDE"])

    assert disk.saved == list("ABCDE")
    assert unsaved.lost == 0
    assert CAPACITY >= 10_000


def test_the_last_flush_tells_why_events_are_lost() -> None:
    disk = Disk()
    unsaved = UnsavedEvents(disk, FakeClock())
    disk.full = True
    unsaved.add([event("A")])

    error = unsaved.flush()

    assert "disk is full" in str(error)
    assert unsaved.lost == 1
