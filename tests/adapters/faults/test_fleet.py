"""A fleet at one broker that is restarted: nothing lost, every device's numbers without a hole."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import support.fleet_child
from alprd.core.audit import Audit
from support.broker import Broker
from support.children import python
from support.subscriber import Subscriber

pytestmark = pytest.mark.once

MAX_INFLIGHT = 16
RESTARTS = 2
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    processes: int
    devices_each: int
    seconds: float


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(processes=2, devices_each=10, seconds=4.5), id="short"),
        pytest.param(
            Plan(processes=4, devices_each=50, seconds=300.0),
            id="long",
            marks=[pytest.mark.soak, pytest.mark.timeout(900)],
        ),
    ],
)
def test_a_fleet_loses_nothing_when_its_broker_is_restarted(
    make_broker: Callable[..., Broker], folder: Path, tell: Tell, plan: Plan
) -> None:
    pause = threading.Event().wait
    # Saved when it stops, not with each of 200 changes a second: it is not killed here.
    broker = make_broker(config="allow_anonymous true\nautosave_on_changes false\n")
    broker.start()
    count = plan.processes * plan.devices_each
    with (
        Subscriber(broker, "alpr/+/plates", "alpr/devices/+/gaps") as subscriber,
        ExitStack() as running,
    ):
        children = [
            running.enter_context(
                python(
                    support.fleet_child,
                    str(folder),
                    broker.url,
                    str(index * plan.devices_each),
                    str(plan.devices_each),
                )
            )
            for index in range(plan.processes)
        ]
        subscriber.wait_for(count, 60.0)
        for _ in range(RESTARTS):
            pause(plan.seconds / (RESTARTS + 1))
            broker.restart()
        pause(plan.seconds / (RESTARTS + 1))
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        durable: dict[str, int] = {}
        for child in children:
            assert child.stdout is not None
            durable |= json.loads([line for line in child.stdout if line.startswith("{")][-1])
        total = sum(durable.values())
        give_up_at_s = time.monotonic() + 60.0
        while len({m.payload for m in subscriber.messages}) < total:
            assert time.monotonic() < give_up_at_s
            pause(0.5)  # looking at them with each of so many messages would hold them up
    audit = Audit(first_seq=1)
    heard: dict[str, list[int]] = defaultdict(list)
    own = 0
    for message in subscriber.messages:
        audit.take(message.topic, message.payload)
        event = json.loads(message.payload)
        own += not message.again
        heard[event["device_id"]].append(event["seq"])
    first_arrivals = {name: list(dict.fromkeys(seqs)) for name, seqs in heard.items()}
    report = audit.report()
    # A first arrival that the broker had to repeat is marked as repeated, too.
    doubled = max(0, own - total)
    tell(
        f"injected: {count} devices with 1 event/s for {plan.seconds:g} s, {RESTARTS} restarts of"
        f" the broker; counted: {total} durable, {sum(map(len, first_arrivals.values()))} received,"
        f" {doubled} doubled, audit: {'complete' if report.is_proven else 'NOT COMPLETE'}"
    )
    assert len(durable) == count
    assert {name: list(range(1, last + 1)) for name, last in durable.items()} == first_arrivals
    assert report.is_proven
    assert doubled <= RESTARTS * count * MAX_INFLIGHT
