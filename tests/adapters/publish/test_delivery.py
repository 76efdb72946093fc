"""Events on their way from the outbox to a subscriber of a real broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from alprd.core.events import to_payload
from support.broker import Broker, free_port
from support.device import DEVICE_ID, Device
from support.outboxes import HandClock
from support.payloads import gap_problems
from support.plate_events import plate_event
from support.proxy import Proxy
from support.subscriber import Received, Subscriber

MAX_INFLIGHT = 16


def seqs(messages: Iterable[Received]) -> list[int]:
    return [json.loads(message.payload)["seq"] for message in messages]


def assert_nothing_lost(messages: list[Received], count: int) -> None:
    """Every number is there, a repeated one with the same event id, first arrivals in order."""
    events = [json.loads(message.payload) for message in messages]
    first_arrivals = list(dict.fromkeys(event["seq"] for event in events))
    assert first_arrivals == list(range(1, count + 1))
    assert len({(event["seq"], event["event_id"]) for event in events}) == count


def test_events_arrive_once_and_in_order_as_described_by_their_properties(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Subscriber(broker, f"{topic_prefix}/gate/plates") as subscriber,
        Device(tmp_path, broker.url, prefix=topic_prefix) as device,
    ):
        device.add(*range(1, 101))
        messages = subscriber.wait_for(100)
        device.wait_until(lambda stats: stats.published == 100)
    assert [json.loads(message.payload) for message in messages] == [
        to_payload(
            plate_event(number),
            seq=number,
            device_id=DEVICE_ID,
            software="alprd test",
            models={"plate-detector": "sha256:1", "plate-reader": "sha256:2"},
        )
        for number in range(1, 101)
    ]
    assert {(m.qos, m.retain, m.content_type, m.payload_format) for m in messages} == {
        (1, False, "application/json", 1)
    }
    assert all(message.user == {"schema": "alprd.plate/1"} for message in messages)
    assert all(message.expiry_s is None for message in messages)


def test_a_row_goes_only_when_the_broker_has_acknowledged_it(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port) as proxy,
        Subscriber(broker, f"{topic_prefix}/gate/plates") as subscriber,
        Device(tmp_path, proxy.url, prefix=topic_prefix) as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        device.add(1)
        device.wait_until(lambda stats: stats.published == 1 and stats.pending == 0)
        proxy.forward_answers = False
        device.add(2)
        subscriber.wait_for(2)
        assert device.pending == 1
        proxy.accept = False
        proxy.cut()  # the acknowledgement never comes: only a resend helps
        proxy.forward_answers = True
        proxy.accept = True
        device.wait_until(lambda stats: stats.published == 2 and stats.pending == 0)
        assert_nothing_lost(subscriber.wait_for(3), 2)


def test_no_more_than_max_inflight_events_wait_for_their_acknowledgement(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port) as proxy,
        Subscriber(broker, f"{topic_prefix}/#") as subscriber,
        Device(
            tmp_path,
            proxy.url,
            prefix=topic_prefix,
            settings={"max_inflight": 5},
            flush_timeout_s=0.1,
        ) as device,
    ):
        device.wait_until(lambda stats: stats.connected and stats.connects == 1)
        device.add(1)
        device.wait_until(lambda stats: stats.published == 1)
        proxy.forward_answers = False
        device.add(*range(2, 40))
        subscriber.wait_until(lambda m: len([x for x in m if x.topic.endswith("plates")]) == 6)
        # Goes through the same pipe behind everything the publisher has sent.
        subscriber.publish(f"{topic_prefix}/marker", b"")
        messages = subscriber.wait_until(lambda m: m[-1].topic.endswith("marker"))
        assert seqs(m for m in messages if m.topic.endswith("plates")) == [1, 2, 3, 4, 5, 6]


def test_a_brokers_receive_maximum_limits_what_is_in_flight(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = make_broker(config="allow_anonymous true\nmax_inflight_messages 3\n")
    broker.start()
    with (
        Proxy(broker.port) as proxy,
        Subscriber(broker, "alpr/#") as subscriber,
        Device(tmp_path, proxy.url, flush_timeout_s=0.1) as device,
    ):
        device.add(1)
        device.wait_until(lambda stats: stats.published == 1)
        proxy.forward_answers = False
        device.add(*range(2, 40))
        subscriber.wait_until(lambda m: len([x for x in m if x.topic.endswith("plates")]) == 4)
        # Goes through the same pipe behind everything the publisher has sent.
        subscriber.publish("alpr/marker", b"")
        messages = subscriber.wait_until(lambda m: m[-1].topic.endswith("marker"))
        assert seqs(m for m in messages if m.topic.endswith("plates")) == [1, 2, 3, 4]


def test_events_added_while_the_broker_is_down_arrive_when_it_comes_up(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = make_broker()
    with Device(tmp_path, broker.url) as device:
        device.add(*range(1, 51))
        stats = device.wait_until(lambda stats: stats.last_error)
        assert not stats.connected
        assert "nobody listens there; is the broker running?" in str(stats.last_error)
        assert device.pending == 50
        broker.start()
        with Subscriber(broker, "alpr/+/plates") as subscriber:
            device.add(51)
            subscriber.wait_until(lambda messages: 51 in seqs(messages))
        device.wait_until(lambda stats: stats.pending == 0)
        assert device.publisher.stats().published == 51
        assert not device.failures


def test_a_broker_restarted_under_load_costs_no_event(fresh_broker: Broker, tmp_path: Path) -> None:
    restarts = 3
    with (
        Subscriber(fresh_broker, "alpr/+/plates") as subscriber,
        Device(tmp_path, fresh_broker.url) as device,
    ):
        for block in range(restarts):
            device.add(*range(block * 300 + 1, block * 300 + 301))
            subscriber.wait_until(lambda m, block=block: len(m) > block * 300 + 20)
            fresh_broker.restart()
        count = restarts * 300
        messages = subscriber.wait_until(lambda m: len(set(seqs(m))) == count, timeout_s=30.0)
        device.wait_until(lambda stats: stats.pending == 0)
    assert_nothing_lost(messages, count)
    repeated_by_us = len([message for message in messages if not message.again]) - count
    assert repeated_by_us <= restarts * MAX_INFLIGHT


def test_an_event_that_waited_for_a_minute_is_marked_historical(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    clock = HandClock()
    device = Device(tmp_path, broker.url, prefix=topic_prefix, boot_s=clock)
    device.add(1)
    clock.seconds += 61.0
    device.add(2)
    with Subscriber(broker, f"{topic_prefix}/gate/plates") as subscriber, device:
        new, old = subscriber.wait_for(2)  # the new one first
    assert seqs([old, new]) == [1, 2]
    assert old.user == {"schema": "alprd.plate/1", "historical": "true"}
    assert new.user == {"schema": "alprd.plate/1"}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_old_events_trickle_in_between_new_ones_at_the_given_share(
    broker: Broker, topic_prefix: str, tmp_path: Path, share: float
) -> None:
    clock = HandClock()
    device = Device(
        tmp_path,
        broker.url,
        prefix=topic_prefix,
        boot_s=clock,
        backlog_share=share,
        settings={"max_inflight": 1},
    )
    device.add(*range(1, 41))
    clock.seconds += 61.0
    device.add(*range(41, 61))
    with Subscriber(broker, f"{topic_prefix}/gate/plates") as subscriber, device:
        arrived = seqs(subscriber.wait_for(60))
    old = [seq for seq in arrived if seq <= 40]
    new = [seq for seq in arrived if seq > 40]
    assert old == list(range(1, 41))  # each kind is in order by itself
    assert new == list(range(41, 61))
    before_the_last_new = [seq for seq in arrived[: arrived.index(60)] if seq <= 40]
    expected = {0.0: 0, 0.25: 6, 0.5: 19, 1.0: 40}[share]
    assert abs(len(before_the_last_new) - expected) <= 1


def test_a_gap_is_announced_before_the_events_that_follow_it(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = make_broker()
    device = Device(tmp_path, broker.url, max_events=100)
    device.add(*range(1, 131))
    broker.start()
    with Subscriber(broker, "alpr/gate/plates", "alpr/devices/+/gaps") as subscriber, device:
        messages = subscriber.wait_for(101)
        device.wait_until(lambda stats: stats.pending == 0 and stats.dropped == 30)
        device.wait_until(lambda _: device.outbox.counts().gaps == 0)
    gap = json.loads(messages[0].payload)
    assert messages[0].topic == f"alpr/devices/{DEVICE_ID}/gaps"
    assert messages[0].user == {"schema": "alprd.gap/1"}
    assert gap_problems(gap) == []
    assert (gap["from_seq"], gap["to_seq"], gap["count"], gap["reason"]) == (1, 30, 30, "events")
    assert seqs(messages[1:]) == list(range(31, 131))


def test_an_event_that_the_broker_forbids_is_parked_with_the_reason_while_the_others_go_on(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = make_broker()
    acl = broker.folder / "acl"
    acl.write_text("topic readwrite alpr/gate/#\ntopic readwrite alpr/devices/#\n")
    broker.configure(f"allow_anonymous true\nacl_file {acl}\n")
    broker.start()
    with (
        Subscriber(broker, "alpr/+/plates", "alpr/devices/+/gaps") as subscriber,
        Device(tmp_path, broker.url) as device,
    ):
        device.add(1, camera_id="forbidden")
        device.add(2)
        messages = subscriber.wait_for(2)
        (event,) = [m for m in messages if m.topic.endswith("/plates")]
        (gap,) = [json.loads(m.payload) for m in messages if m.topic.endswith("/gaps")]
        assert seqs([event]) == [2]
        assert (gap["from_seq"], gap["to_seq"], gap["reason"]) == (1, 1, "refused")
        assert gap["detail"] == "Not authorized"
        stats = device.wait_until(lambda stats: stats.parked and stats.published)
        assert (stats.refused, stats.published, stats.pending) == (1, 1, 0)
        assert stats.last_refusal == "alpr/forbidden/plates: Not authorized"
        assert stats.connects == 1
    acl.write_text("topic readwrite alpr/#\n")
    broker.restart()
    # Somebody has mended the list and restarts the device: the event is delivered after all.
    with (
        Subscriber(broker, "alpr/forbidden/plates") as subscriber,
        Device(tmp_path, broker.url) as device,
    ):
        assert seqs(subscriber.wait_for(1)) == [1]
        device.wait_until(lambda stats: not stats.parked and stats.last_refusal is None)


def test_an_event_too_large_for_the_broker_is_parked_and_the_smaller_ones_go_on(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    # An event takes about 840 bytes; the long camera id makes one larger than the limit.
    broker = make_broker(config="allow_anonymous true\nmax_packet_size 900\n")
    broker.start()
    with (
        Subscriber(broker, "alpr/gate/plates") as subscriber,
        Device(tmp_path, broker.url) as device,
    ):
        device.add(1, camera_id="g" * 63)
        device.add(2)
        assert seqs(subscriber.wait_for(1)) == [2]
        stats = device.wait_until(lambda stats: stats.parked)
        assert (stats.connects, stats.parked, device.pending) == (1, 1, 0)
        assert "the broker takes 900 at most" in str(stats.last_refusal)


@pytest.mark.parametrize("reachable", [True, False])
def test_flush_sends_what_it_can_and_leaves_the_rest_in_the_outbox(
    make_broker: Callable[..., Broker], tmp_path: Path, *, reachable: bool
) -> None:
    broker = make_broker()
    if reachable:
        broker.start()
    device = Device(tmp_path, broker.url, flush_timeout_s=30.0)
    device.add(*range(1, 21))
    with device.publisher:
        pass
    # An unreachable broker is not waited for: the test's time-out is far shorter than that.
    assert device.pending == (0 if reachable else 20)
    device.close()
    if not reachable:
        broker.start()
        again = Device(tmp_path, broker.url)
        with Subscriber(broker, "alpr/gate/plates") as subscriber, again:
            assert_nothing_lost(subscriber.wait_for(20), 20)


def test_a_flush_that_finds_no_broker_tells_exactly_what_it_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Device(tmp_path, f"mqtt://127.0.0.1:{free_port()}") as device:
        device.wait_until(lambda stats: stats.last_error)
        # Else a count that happens to fall between would do.
        monkeypatch.setattr("alprd.publish.loop.COUNT_EVERY_S", 3600.0)
        device.add(1, 2, 3)
        assert not device.publisher.flush(time.monotonic() + 10.0)
        assert device.publisher.stats().pending == 3
