"""What is taken away from the broker, because it belongs there no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alprd.publish.leftovers import NOTE, Leftovers
from alprd.publish.notes import Notes
from alprd.publish.outbox import Outbox
from support.outboxes import open_outbox


class Device:
    """One start after the other, on one outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self.notes = Notes(outbox)
        self.taken_away: list[str] = []

    def start(self, *topics: str, device_id: str = "edge") -> Leftovers:
        """With these topics."""
        self.taken_away.clear()
        leftovers = Leftovers(self.notes, device_id=device_id, take_away=self.taken_away.append)
        leftovers.keep(topics)
        return leftovers


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with open_outbox(tmp_path / "outbox.sqlite") as opened:
        yield opened


def test_what_is_no_longer_configured_is_taken_away_until_the_broker_has_heard_it(
    outbox: Outbox,
) -> None:
    device = Device(outbox)
    device.start("gate", "yard")
    assert device.taken_away == []
    device.start("gate")
    assert device.taken_away == ["yard"]
    leftovers = device.start("gate")  # no broker was there
    assert device.taken_away == ["yard"]
    leftovers.gone("yard")
    device.start("gate")
    assert device.taken_away == []


def test_what_comes_back_is_left_alone(outbox: Outbox) -> None:
    device = Device(outbox)
    device.start("gate", "yard")
    leftovers = device.start("gate")
    leftovers.keep(["gate", "yard"])
    leftovers.gone("yard")  # late: it is ours again
    device.start("gate")
    assert device.taken_away == ["yard"]


def test_what_another_device_has_left_is_none_of_our_business(outbox: Outbox) -> None:
    device = Device(outbox)
    device.start("gate")
    device.start("yard", device_id="a-copy-of-edge")
    assert device.taken_away == []


@pytest.mark.parametrize(
    "note", ["", "null", "[1]", '{"device_id": "edge", "topics": ["a/#", 5, "", "old"]}', "{"]
)
def test_a_note_that_makes_no_sense_costs_nothing(outbox: Outbox, note: str) -> None:
    outbox.remember(NOTE, note)
    device = Device(outbox)
    device.start("gate")
    assert device.taken_away in ([], ["old"])


def test_a_disk_that_takes_no_note_stops_nothing(outbox: Outbox) -> None:
    assert outbox.store.db is not None
    outbox.store.db.execute("PRAGMA query_only = ON")
    device = Device(outbox)
    device.start("gate").gone("yard")
    assert device.taken_away == []
