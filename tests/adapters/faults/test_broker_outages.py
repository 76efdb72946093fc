"""The broker goes away: stopped, restarted, killed. Nothing is lost, little is doubled."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.broker import Broker
from support.device import Device
from support.judge import judge
from support.load import Load
from support.subscriber import Subscriber

pytestmark = pytest.mark.once

MAX_INFLIGHT = 16
BROKERS_INFLIGHT = 20
PER_S = 50.0
TOPICS = ("alpr/+/plates", "alpr/devices/+/gaps")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is done to the broker."""

    outage_s: float
    restarts: int
    kills: int


SHORT, LONG = Plan(outage_s=3.0, restarts=4, kills=2), Plan(outage_s=60.0, restarts=20, kills=10)
PLANS = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="long", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
]


def pause(seconds: float) -> None:
    """Let the load run on; what follows comes at a random moment on purpose."""
    threading.Event().wait(seconds)


def all_arrived(subscriber: Subscriber, device: Device, load: Load) -> None:
    device.wait_until(lambda stats: stats.connected and stats.pending == 0, 120.0)
    wanted = set(load.durable)
    subscriber.wait_until(
        lambda seen: len({m.payload for m in seen if m.topic.endswith("/plates")}) >= len(wanted),
        120.0,
    )


@pytest.mark.parametrize("plan", PLANS)
def test_a_broker_that_is_away_for_a_while_costs_nothing(
    fresh_broker: Broker, folder: Path, tell: Tell, plan: Plan
) -> None:
    with (
        Subscriber(fresh_broker, *TOPICS) as subscriber,
        Device(folder, fresh_broker.url) as device,
    ):
        with Load(device, per_s=PER_S) as load:
            pause(1.0)
            fresh_broker.stop()
            pause(plan.outage_s)
            fresh_broker.start()
            pause(1.0)
        all_arrived(subscriber, device, load)
        connects = device.publisher.stats().connects
    verdict = judge(subscriber.messages, load.durable)
    tell(
        f"injected: broker stopped for {plan.outage_s:g} s under {PER_S:g} events/s;"
        f" counted: {len(load.durable)} durable, {verdict}, {connects} connects"
    )
    assert not verdict.lost
    assert verdict.proven
    assert verdict.doubled <= MAX_INFLIGHT
    assert not verdict.announced


@pytest.mark.parametrize("plan", PLANS)
def test_a_broker_restarted_at_random_moments_costs_nothing(
    fresh_broker: Broker, folder: Path, tell: Tell, plan: Plan
) -> None:
    dice = random.Random(5)  # noqa: S311 - seeded, so that a failure can be repeated
    with (
        Subscriber(fresh_broker, *TOPICS) as subscriber,
        Device(folder, fresh_broker.url) as device,
    ):
        with Load(device, per_s=PER_S) as load:
            for _ in range(plan.restarts):
                pause(dice.uniform(0.2, 1.5))
                fresh_broker.restart()
        all_arrived(subscriber, device, load)
    verdict = judge(subscriber.messages, load.durable)
    tell(
        f"injected: {plan.restarts} restarts of the broker under {PER_S:g} events/s;"
        f" counted: {len(load.durable)} durable, {verdict}"
    )
    assert not verdict.lost
    assert verdict.proven
    assert verdict.in_order
    assert verdict.doubled <= plan.restarts * MAX_INFLIGHT


@pytest.mark.parametrize("plan", PLANS)
def test_a_broker_killed_at_random_moments_costs_nothing(
    fresh_broker: Broker, folder: Path, tell: Tell, plan: Plan
) -> None:
    dice = random.Random(6)  # noqa: S311 - seeded, so that a failure can be repeated
    with (
        Subscriber(fresh_broker, *TOPICS, client_id="the-counter") as subscriber,
        Device(folder, fresh_broker.url) as device,
    ):
        with Load(device, per_s=PER_S) as load:
            for _ in range(plan.kills):
                # A broker that is killed before it has stored a session has lost it, and what it
                # had acknowledged for it: only one that knows its subscriber is judged.
                seen = len(subscriber.messages)
                subscriber.wait_until(lambda m, n=seen: len(m) > n + 10, 30.0)
                fresh_broker.wait_for_saved(b"the-counter")
                pause(dice.uniform(0.0, 0.7))
                fresh_broker.kill()
                fresh_broker.start()
        all_arrived(subscriber, device, load)
    verdict = judge(subscriber.messages, load.durable)
    tell(
        f"injected: {plan.kills} kill -9 of the broker under {PER_S:g} events/s;"
        f" counted: {len(load.durable)} durable, {verdict}"
    )
    assert not verdict.lost
    assert verdict.proven
    assert verdict.doubled <= plan.kills * (MAX_INFLIGHT + BROKERS_INFLIGHT)
