"""Live tracks and pictures beside events, over real links: no event waits for them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from alprd.publish.message import Message
from support.broker import Broker
from support.device import Device
from support.link import Faults, Link
from support.proxy import Proxy
from support.subscriber import Subscriber

pytestmark = pytest.mark.once


SURELY_SMALL_BYTES = 20_000
"""What a line counts as good for though the broker takes a second to answer a mark."""


def picture(prefix: str, size: int) -> Message:
    return Message(topic=f"{prefix}/gate/snapshot", payload=b"\xff" * size, qos=0, is_text=False)


def track(prefix: str, number: int) -> Message:
    return Message(topic=f"{prefix}/gate/tracks", payload=b"%6d" % number + b"x" * 500, qos=0)


def test_pictures_and_tracks_arrive_over_a_good_line(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Subscriber(broker, f"{topic_prefix}/gate/#") as subscriber,
        Device(tmp_path, broker.url, prefix=topic_prefix) as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        for number in range(50):
            device.publisher.send_track(track(topic_prefix, number))
        for _ in range(3):
            device.publisher.send_picture(picture(topic_prefix, SURELY_SMALL_BYTES))
        device.add(1)
        heard = subscriber.wait_for(54)
    tracks = [m.payload[:6] for m in heard if m.topic.endswith("/tracks")]
    assert tracks == [b"%6d" % number for number in range(50)]
    assert device.publisher.spare_figures().pictures_sent == 3
    assert all(m.qos == 0 for m in heard if not m.topic.endswith("/plates"))


def test_so_they_do_where_the_broker_knows_no_mqtt_5(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port, only_v311=True) as old,
        Subscriber(broker, f"{topic_prefix}/gate/#") as subscriber,
        Device(tmp_path, old.url, prefix=topic_prefix) as device,
    ):
        device.wait_until(lambda stats: stats.protocol == "3.1.1")
        device.publisher.send_track(track(topic_prefix, 1))
        device.publisher.send_picture(picture(topic_prefix, SURELY_SMALL_BYTES))
        subscriber.wait_for(2)


def test_no_event_waits_for_pictures_and_tracks_on_two_kilobytes_a_second(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Link(broker.port, Faults(bytes_per_s=2000.0, delay_s=0.05)) as link,
        Subscriber(broker, f"{topic_prefix}/gate/#") as subscriber,
        Device(tmp_path, link.url, prefix=topic_prefix) as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        delays_s = []
        for number in range(1, 6):
            # As busy cameras would have it: more than this line carries, all the time.
            for k in range(20):
                device.publisher.send_track(track(topic_prefix, 100 * number + k))
            device.add(number)
            device.publisher.send_picture(picture(topic_prefix, 60_000))
            added_s = time.monotonic()
            subscriber.wait_until(
                lambda seen, n=number: sum(m.topic.endswith("/plates") for m in seen) == n
            )
            delays_s.append(time.monotonic() - added_s)
        figures = device.publisher.spare_figures()
        connects = device.publisher.stats().connects
    # An event of a kilobyte takes half a second by itself, and may find one batch of tracks.
    assert max(delays_s) < 4.0, delays_s
    assert connects == 1
    assert figures.pictures_sent == 0, "one of them alone takes half a minute"
    assert figures.tracks_sent >= 5, "they get what is left"


def test_what_waits_for_a_broker_that_is_away_is_dropped(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Link(broker.port) as link,
        Subscriber(broker, f"{topic_prefix}/gate/#") as subscriber,
        Device(tmp_path, link.url, prefix=topic_prefix, settings={"ack_timeout_s": 1.0}) as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        link.faults.black_hole = True
        for number in range(50):
            device.publisher.send_track(track(topic_prefix, number))
            device.publisher.send_picture(picture(topic_prefix, 10_000))
        device.add(1)
        device.wait_until(lambda stats: not stats.connected, 40.0)
        link.faults.black_hole = False
        device.add(2)
        device.wait_until(lambda stats: stats.connected and stats.pending == 0, 40.0)
        device.publisher.send_track(track(topic_prefix, 999))
        heard = subscriber.wait_until(lambda seen: seen and seen[-1].payload[:6] == b"   999")
    kinds = [m.topic.rpartition("/")[2] for m in heard]
    assert kinds == ["plates", "plates", "tracks"], "old news came after all"
