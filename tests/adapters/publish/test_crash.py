"""What survives a process that is killed in the middle of everything."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import support.adding_child
from support.broker import Broker
from support.device import DEVICE_ID, Device
from support.plate_events import plate_event
from support.subscriber import Subscriber

ROUNDS = 4
MAX_INFLIGHT = 16


def add_until_killed(folder: Path, url: str, prefix: str, first: int, count: int) -> int:
    """Returns the last number whose `add` is known to have returned."""
    script = support.adding_child.__file__
    child = subprocess.Popen(
        [sys.executable, script, str(folder), url, prefix, str(first)],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(script).parents[1]), *sys.path]),
        },
    )
    try:
        assert child.stdout is not None
        numbers = (int(line) for line in child.stdout if line.strip().isdigit())
        last = first - 1
        while last < first + count - 1:
            last = next(numbers)
        child.kill()
        return max([last, *numbers])
    finally:
        child.kill()
        child.wait(10.0)
        child.stdout.close()


def test_a_killed_process_loses_no_event_that_was_durable_and_no_number_is_missing(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    dice = random.Random(2)  # noqa: S311 - seeded, so that a failure can be repeated
    durable: set[int] = set()
    with Subscriber(
        broker, f"{topic_prefix}/gate/plates", f"{topic_prefix}/devices/#"
    ) as subscriber:
        for _ in range(ROUNDS):
            first = max(durable, default=0) + 2  # the one after the last may be durable as well
            last = add_until_killed(tmp_path, broker.url, topic_prefix, first, dice.randint(5, 120))
            durable |= set(range(first, last + 1))
        with Device(tmp_path, broker.url, prefix=topic_prefix) as device:
            device.wait_until(lambda stats: stats.connected and stats.pending == 0)
        availability = f"{topic_prefix}/devices/{DEVICE_ID}/availability"
        subscriber.wait_until(
            lambda _: [m.payload for m in subscriber.on(availability)][-1:] == [b"stopped"]
        )
    messages = subscriber.on(f"{topic_prefix}/gate/plates")
    events = [json.loads(message.payload) for message in messages]
    event_ids = {event["event_id"] for event in events}
    assert {plate_event(number).event_id for number in durable} <= event_ids
    assert len({(event["seq"], event["event_id"]) for event in events}) == len(event_ids)
    seqs = list(dict.fromkeys(event["seq"] for event in events))
    assert seqs == list(range(1, len(event_ids) + 1))
    assert len(events) - len(seqs) <= ROUNDS * MAX_INFLIGHT
    said = [message.payload for message in subscriber.on(availability)]
    assert said.count(b"offline") == ROUNDS
