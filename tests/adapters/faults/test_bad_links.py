"""A link that is slow, breaks in the midst of a packet, or swallows what it should carry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from alprd.core.types import CameraStatus
from alprd.publish import loop
from support.broker import Broker
from support.device import DEVICE_ID, Device
from support.judge import Verdict, judge
from support.link import Faults, Link, random_cuts
from support.load import Load
from support.plate_events import plate_event
from support.subscriber import Subscriber

pytestmark = pytest.mark.once

MAX_INFLIGHT = 16
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    events: int
    cuts: int
    rounds: int


PLANS = [
    pytest.param(Plan(events=150, cuts=12, rounds=2), id="short"),
    pytest.param(
        Plan(events=5000, cuts=150, rounds=20),
        id="long",
        marks=[pytest.mark.soak, pytest.mark.timeout(1800)],
    ),
]


def listen(broker: Broker, prefix: str) -> Subscriber:
    return Subscriber(broker, f"{prefix}/+/plates", f"{prefix}/devices/+/gaps")


def ids(count: int) -> list[str]:
    return [plate_event(number).event_id for number in range(1, count + 1)]


def all_arrived(subscriber: Subscriber, device: Device, count: int) -> Verdict:
    # That nothing waits may be old news.
    device.wait_until(lambda stats: stats.published >= count and stats.pending == 0, 600.0)
    assert device.outbox.counts().parked == 0
    subscriber.wait_until(lambda seen: len({m.payload for m in seen}) >= count, 60.0)
    return judge(subscriber.messages, ids(count))


@pytest.mark.parametrize("plan", PLANS)
def test_a_link_that_delays_everything_doubles_nothing(
    broker: Broker, topic_prefix: str, folder: Path, tell: Tell, plan: Plan
) -> None:
    with (
        Link(broker.port, Faults(delay_s=0.2)) as link,
        listen(broker, topic_prefix) as subscriber,
        Device(folder, link.url, prefix=topic_prefix) as device,
    ):
        device.add(*range(1, plan.events + 1))
        verdict = all_arrived(subscriber, device, plan.events)
    tell(f"injected: 200 ms in each direction, {plan.events} events; counted: {verdict}")
    assert (verdict.lost, verdict.doubled, verdict.announced) == (0, 0, {})
    assert verdict.proven
    assert verdict.in_order


@pytest.mark.parametrize("plan", PLANS)
def test_a_link_cut_in_the_midst_of_packets_loses_nothing(
    broker: Broker, topic_prefix: str, folder: Path, tell: Tell, plan: Plan
) -> None:
    faults = Faults(cut_after=random_cuts(3, 600, 25_000, plan.cuts))
    with (
        Link(broker.port, faults) as link,
        listen(broker, topic_prefix) as subscriber,
        Device(folder, link.url, prefix=topic_prefix, settings={"reconnect_max_s": 1.0}) as device,
    ):
        with Load(device, per_s=50.0) as load:
            # After the last cut a connection lasts.
            device.wait_until(lambda stats: stats.connected and link.cuts == plan.cuts, 900.0)
        device.wait_until(lambda stats: stats.pending == stats.parked == 0, 200.0)
        subscriber.wait_until(
            lambda seen: len({m.payload for m in seen}) >= len(load.durable), 60.0
        )
        verdict = judge(subscriber.messages, load.durable)
    tell(
        f"injected: {link.cuts} cuts after 600 to 25,000 bytes under 50 events/s;"
        f" counted: {len(load.durable)} durable, {verdict}"
    )
    assert verdict.lost == 0
    assert verdict.proven
    assert verdict.doubled <= link.cuts * MAX_INFLIGHT


@pytest.mark.parametrize("plan", PLANS)
def test_a_link_that_swallows_everything_without_closing_loses_nothing(
    broker: Broker,
    topic_prefix: str,
    folder: Path,
    tell: Tell,
    *,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "CONNECT_TIMEOUT_S", 1.5)
    added = 0
    with (
        Link(broker.port) as link,
        listen(broker, topic_prefix) as subscriber,
        Device(
            folder,
            link.url,
            prefix=topic_prefix,
            settings={"ack_timeout_s": 1.0, "reconnect_max_s": 1.0},
        ) as device,
    ):
        for _ in range(plan.rounds):
            device.wait_until(lambda stats: stats.connected and stats.pending == 0, 60.0)
            link.faults.black_hole = True
            connections = link.connections
            device.add(*range(added + 1, added + 31))
            added += 30
            device.wait_until(lambda _, n=connections: link.connections > n, 60.0)
            link.faults.black_hole = False
        verdict = all_arrived(subscriber, device, added)
    tell(f"injected: {plan.rounds} black holes, {added} events; counted: {verdict}")
    assert (verdict.lost, verdict.announced) == (0, {})
    assert verdict.proven
    assert verdict.in_order
    assert verdict.doubled <= plan.rounds * MAX_INFLIGHT


@pytest.mark.parametrize("plan", PLANS)
def test_acknowledgements_that_never_come_are_waited_for_only_so_long(
    broker: Broker, topic_prefix: str, folder: Path, tell: Tell, plan: Plan
) -> None:
    with (
        Link(broker.port) as link,
        listen(broker, topic_prefix) as subscriber,
        Device(
            folder,
            link.url,
            prefix=topic_prefix,
            settings={"ack_timeout_s": 1.0, "reconnect_max_s": 1.0},
        ) as device,
    ):
        added = 0
        for _ in range(plan.rounds):
            device.wait_until(lambda stats: stats.connected and stats.pending == 0, 60.0)
            connects = device.publisher.stats().connects
            link.faults.swallow_pubacks = True
            device.add(*range(added + 1, added + 31))
            added += 30
            # The broker has the first ones; only we do not know.
            device.wait_until(lambda stats, n=connects: stats.connects > n, 60.0)
            link.faults.swallow_pubacks = False
        verdict = all_arrived(subscriber, device, added)
    tell(
        f"injected: {link.swallowed} acknowledgements swallowed on {plan.rounds} occasions,"
        f" {added} events; counted: {verdict}"
    )
    assert (verdict.lost, verdict.announced) == (0, {})
    assert verdict.proven
    assert 1 <= verdict.doubled <= 2 * plan.rounds * MAX_INFLIGHT


@dataclass(frozen=True)
class Burst:
    events: int
    cameras: int
    described_bytes: int
    ack_timeout_s: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(
            Burst(events=10, cameras=4, described_bytes=8_000, ack_timeout_s=4.0), id="short"
        ),
        pytest.param(
            Burst(events=300, cameras=100, described_bytes=60_000, ack_timeout_s=20.0),
            id="long",
            marks=[pytest.mark.soak, pytest.mark.timeout(900)],
        ),
    ],
)
def test_two_kilobytes_per_second_are_slow_and_no_dead_line_and_double_nothing(
    broker: Broker, topic_prefix: str, folder: Path, tell: Tell, load: Burst
) -> None:
    faults = Faults()
    with (
        Link(broker.port, faults) as link,
        listen(broker, topic_prefix) as subscriber,
        Device(
            folder,
            link.url,
            prefix=topic_prefix,
            settings={"ack_timeout_s": load.ack_timeout_s},
            flush_timeout_s=60.0,
        ) as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        faults.bytes_per_s = 2000.0
        started_s = time.monotonic()
        # Everything at once, as after an outage: the large message takes longer than the time-out.
        device.publisher.announce(f"{topic_prefix}/described", b"x" * load.described_bytes)
        for number in range(load.cameras):
            name = f"camera-{number}"
            device.publisher.camera_status(CameraStatus(camera_id=name, state="online"))
        device.add(*range(1, load.events + 1))
        verdict = all_arrived(subscriber, device, load.events)
        took_s = time.monotonic() - started_s
        connects = device.publisher.stats().connects
    tell(
        f"injected: 2 kB/s, {load.described_bytes} bytes of description, {load.cameras} statuses"
        f" and {load.events} events at once; counted: {verdict}, {connects} connect, {took_s:.1f} s"
    )
    assert (verdict.lost, verdict.doubled, verdict.announced) == (0, 0, {})
    assert verdict.proven
    assert connects == 1
    assert DEVICE_ID in subscriber.messages[0].payload.decode()
