"""What survives a process that is killed in the middle of everything."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import support.adding_child
from support.broker import Broker
from support.children import python
from support.device import DEVICE_ID, Device
from support.judge import judge
from support.plate_events import plate_event
from support.subscriber import Subscriber

pytestmark = pytest.mark.once

MAX_INFLIGHT = 16
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    kills: int


PLANS = [
    pytest.param(Plan(kills=6), id="short"),
    pytest.param(Plan(kills=100), id="long", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
]


def add_until_killed(folder: Path, url: str, prefix: str, first: int, after_s: float) -> int:
    """Returns the last number whose `add` is known to have returned."""
    with python(support.adding_child, str(folder), url, prefix, str(first)) as child:
        assert child.stdout is not None
        numbers = (int(line) for line in child.stdout if line.strip().isdigit())
        last = next(numbers)  # it is connected and adding
        killer = threading.Timer(after_s, child.kill)
        killer.start()
        last = max([last, *numbers])
        killer.join()
        return last


@pytest.mark.parametrize("plan", PLANS)
def test_a_killed_process_loses_no_event_that_was_durable_and_no_number_is_missing(
    broker: Broker, topic_prefix: str, tmp_path: Path, tell: Tell, plan: Plan
) -> None:
    dice = random.Random(2)  # noqa: S311 - seeded, so that a failure can be repeated
    durable: set[int] = set()
    with Subscriber(broker, f"{topic_prefix}/+/plates", f"{topic_prefix}/devices/#") as subscriber:
        for _ in range(plan.kills):
            first = max(durable, default=0) + 2  # the one after the last may be durable as well
            last = add_until_killed(
                tmp_path, broker.url, topic_prefix, first, dice.uniform(0.0, 0.5)
            )
            durable |= set(range(first, last + 1))
        with Device(tmp_path, broker.url, prefix=topic_prefix) as device:
            device.wait_until(lambda stats: stats.connected and stats.pending == 0, 60.0)
        availability = f"{topic_prefix}/devices/{DEVICE_ID}/availability"
        subscriber.wait_until(
            lambda _: [m.payload for m in subscriber.on(availability)][-1:] == [b"stopped"], 60.0
        )
    verdict = judge(subscriber.messages, {plate_event(number).event_id for number in durable})
    said = [message.payload for message in subscriber.on(availability)]
    tell(
        f"injected: {plan.kills} kill -9 while adding as fast as the disk takes it;"
        f" counted: {len(durable)} durable, {verdict}, {said.count(b'offline')} times offline"
    )
    assert not verdict.lost
    assert verdict.proven
    assert verdict.in_order
    assert not verdict.announced
    assert verdict.doubled <= plan.kills * MAX_INFLIGHT
    assert said.count(b"offline") == plan.kills
