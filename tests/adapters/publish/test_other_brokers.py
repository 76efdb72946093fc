"""Brokers that forbid, hang up, speak an older version, want certificates, or come back later."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.broker import HOST, Broker, free_port
from support.certificates import make_authority
from support.device import DEVICE_ID, Device
from support.link import Faults, Link
from support.proxy import Proxy
from support.subscriber import Subscriber

MakeBroker = Callable[..., Broker]


def numbers(subscriber: Subscriber, camera: str = "gate") -> list[int]:
    return [json.loads(m.payload)["seq"] for m in subscriber.on(f"alpr/{camera}/plates")]


def forbid(broker: Broker, *allowed: str, more: str = "") -> None:
    acl = broker.folder / "acl"
    acl.write_text("".join(f"topic readwrite {topic}\n" for topic in allowed))
    broker.configure(f"allow_anonymous true\nacl_file {acl}\n{more}")


@pytest.mark.parametrize("with_a_word", [True, False])
def test_a_broker_that_hangs_up_at_a_forbidden_event_does_not_block_the_others(
    make_broker: MakeBroker, tmp_path: Path, *, with_a_word: bool
) -> None:
    broker = make_broker()
    # Without a limit of its queues Mosquitto 2.0 cuts the connection of whom it forbids something.
    if with_a_word:
        forbid(broker, "alpr/gate/#", "alpr/devices/#", more="max_queued_messages 0\n")
    broker.start()
    faults = Faults(hang_up_at=None if with_a_word else b"alpr/forbidden/plates")
    with (
        Link(broker.port, faults) as link,
        Subscriber(broker, "alpr/+/plates", "alpr/devices/+/gaps") as subscriber,
        Device(tmp_path, link.url) as device,
    ):
        device.add(1, camera_id="forbidden")
        device.add(2)
        device.add(3, camera_id="forbidden")
        device.add(4)
        subscriber.wait_until(lambda _: set(numbers(subscriber)) == {2, 4}, 30.0)
        stats = device.wait_until(lambda stats: stats.parked == 2 and stats.pending == 0, 30.0)
        gaps = subscriber.wait_until(
            lambda seen: len([m for m in seen if m.topic.endswith("gaps")]) >= 2, 30.0
        )
        assert str(stats.last_refusal).startswith("alpr/forbidden/plates: ")
        if not with_a_word:
            assert "the broker closes the connection" in str(stats.last_refusal)
        assert stats.connects <= 8
        announced = [json.loads(m.payload) for m in gaps if m.topic.endswith("gaps")]
        assert {(gap["from_seq"], gap["reason"]) for gap in announced} == {
            (1, "refused"),
            (3, "refused"),
        }
        if not with_a_word:
            faults.hang_up_at = None
            assert device.publisher.offer_parked_again().wait(30.0)
            assert device.publisher.stats().parked == 0, "it was told before it was so"
            subscriber.wait_until(lambda _: numbers(subscriber, "forbidden") == [1, 3], 30.0)
            device.wait_until(lambda stats: stats.parked == 0)


def test_a_broker_that_hangs_up_at_state_messages_still_gets_the_events(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    forbid(
        broker,
        "alpr/gate/plates",
        f"alpr/devices/{DEVICE_ID}/availability",
        more="max_queued_messages 0\n",
    )
    broker.start()
    with (
        Subscriber(broker, "alpr/gate/plates") as subscriber,
        Device(tmp_path, broker.url) as device,
    ):
        device.publisher.device("info", {"schema": "alprd.info/1"}, retain=True)
        device.publisher.device("health", {"temperature": 41.5}, retain=True)
        device.add(1)
        subscriber.wait_until(lambda _: numbers(subscriber) == [1], 60.0)


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_broker_that_speaks_only_3_1_1_gets_the_events_and_forbids_without_a_word(
    make_broker: MakeBroker, tmp_path: Path, *, hangs_up: bool
) -> None:
    broker = make_broker()
    forbid(broker, "alpr/gate/#", "alpr/devices/#")
    broker.start()
    with (
        Proxy(broker.port, only_v311=True, hangs_up=hangs_up) as proxy,
        Subscriber(broker, "alpr/gate/plates") as subscriber,
        Device(tmp_path, proxy.url) as device,
    ):
        device.add(1, camera_id="forbidden")
        device.add(2)
        subscriber.wait_until(lambda _: numbers(subscriber) == [2])
        stats = device.wait_until(lambda stats: stats.published == 2)
        assert (stats.protocol, stats.pending, proxy.connections) == ("3.1.1", 0, 2)
        proxy.cut()
        device.wait_until(lambda stats: stats.connects == 2)
        # A broker that said so is believed; one that hung up may only have been going down.
        assert proxy.connections == (4 if hangs_up else 3)


def tls_lines(broker: Broker, folder: Path, *, days: int = 2, more: str = "") -> Path:
    """Let the broker speak TLS; returns the file of the authority."""
    authority = make_authority(folder, "trusted")
    certificate, key = authority.issue("broker", alt_name="DNS:elsewhere.example", days=days)
    broker.configure(
        f"allow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n"
        f"cafile {authority.ca_file}\n{more}"
    )
    return authority.ca_file


def test_an_expired_certificate_is_refused_and_the_reason_says_so(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    ca_file = tls_lines(broker, broker.folder, days=-1)
    broker.start()
    settings = {"ca_file": ca_file, "check_server_name": False}
    url = broker.url.replace("mqtt:", "mqtts:")
    with Device(tmp_path, url, settings=settings, flush_timeout_s=0.1) as device:
        device.add(1)
        stats = device.wait_until(lambda stats: stats.last_error)
        assert "certificate has expired" in str(stats.last_error)
        assert (stats.connects, device.pending) == (0, 1)


def test_a_certificate_for_another_host_is_taken_only_when_its_name_is_not_to_be_checked(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    ca_file = tls_lines(broker, broker.folder)
    broker.start()
    url = broker.url.replace("mqtt:", "mqtts:")
    with Device(tmp_path, url, settings={"ca_file": ca_file}, flush_timeout_s=0.1) as device:
        stats = device.wait_until(lambda stats: stats.last_error)
        assert "mqtt.url names the host as the certificate does" in str(stats.last_error)
    settings = {"ca_file": ca_file, "check_server_name": False}
    with Device(tmp_path, url, settings=settings) as device:
        device.wait_until(lambda stats: stats.connected)


def test_a_broker_that_wants_a_certificate_gets_ours_and_without_one_we_say_what_is_missing(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    ca_file = tls_lines(broker, broker.folder, more="require_certificate true\n")
    authority = make_authority(tmp_path, "foreign")
    broker.start()
    url = broker.url.replace("mqtt:", "mqtts:")
    settings = {"ca_file": ca_file, "check_server_name": False}
    with Device(tmp_path, url, settings=settings, flush_timeout_s=0.1) as device:
        device.add(1)
        device.wait_until(lambda stats: stats.last_error)
        assert device.publisher.stats().connects == 0
    # The same authority has signed the broker's and the device's.
    files = {"cert_file": broker.folder / "broker.crt", "key_file": broker.folder / "broker.key"}
    with (
        Device(tmp_path, url, settings={**settings, **files}) as device,
    ):
        device.wait_until(lambda stats: stats.connected and stats.pending == 0)
    certificate, _ = authority.issue("device", alt_name="DNS:device")
    files["cert_file"] = certificate  # the key belongs to another one
    with Device(tmp_path, url, settings={**settings, **files}, flush_timeout_s=0.1) as device:
        stats = device.wait_until(lambda stats: stats.last_error)
        assert "they must be a certificate and its own private key" in str(stats.last_error)


def test_the_application_protocol_is_offered_in_the_tls_handshake(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "trusted")
    certificate, key = authority.issue("broker", alt_name=f"IP:{HOST}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["mqtt"])
    chosen: list[str | None] = []
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            guest, _ = listener.accept()
            with context.wrap_socket(guest, server_side=True) as encrypted:
                chosen.append(encrypted.selected_alpn_protocol())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"mqtts://{HOST}:{listener.getsockname()[1]}"
        settings = {"ca_file": authority.ca_file, "alpn": ("mqtt",)}
        with Device(tmp_path, url, settings=settings, flush_timeout_s=0.1):
            thread.join(10.0)
    assert chosen == ["mqtt"]


@pytest.mark.parametrize("encrypted", [False, True])
def test_events_go_over_websockets_too(
    make_broker: MakeBroker, tmp_path: Path, *, encrypted: bool
) -> None:
    broker = make_broker()
    port = free_port()
    lines = f"allow_anonymous true\nlistener {port}\nprotocol websockets\nsocket_domain ipv4\n"
    settings = {}
    if encrypted:
        authority = make_authority(broker.folder, "trusted")
        certificate, key = authority.issue("broker", alt_name=f"IP:{HOST}")
        lines += f"certfile {certificate}\nkeyfile {key}\n"
        settings = {"ca_file": authority.ca_file}
    broker.configure(lines)
    broker.start()
    url = f"{'wss' if encrypted else 'ws'}://{HOST}:{port}/mqtt"
    with (
        Subscriber(broker, "alpr/gate/plates") as subscriber,
        Device(tmp_path, url, settings=settings) as device,
    ):
        device.add(*range(1, 201))
        subscriber.wait_until(lambda _: numbers(subscriber) == list(range(1, 201)))
        stats = device.wait_until(lambda stats: stats.pending == 0)
        assert stats.broker == url.removesuffix("/mqtt")
        assert stats.connects == 1


def test_a_port_that_speaks_no_websockets_is_named(broker: Broker, tmp_path: Path) -> None:
    url = broker.url.replace("mqtt:", "ws:")
    with Device(tmp_path, url, flush_timeout_s=0.1) as device:
        stats = device.wait_until(lambda stats: stats.last_error)
    assert "is this the broker's WebSocket port and path?" in str(stats.last_error)


def test_the_device_returns_to_the_preferred_broker_when_it_is_back_and_loses_nothing(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    preferred, second = make_broker(), make_broker()
    second.start()
    with (
        Subscriber(second, "alpr/#") as at_second,
        Device(
            tmp_path,
            (preferred.url, second.url),
            settings={"preferred_retry_s": 1.0},
        ) as device,
    ):
        device.add(*range(1, 21))
        at_second.wait_until(lambda _: len(numbers(at_second)) == 20)
        preferred.start()
        with Subscriber(preferred, "alpr/#") as at_preferred:
            device.wait_until(lambda stats: stats.broker == preferred.url)
            device.add(*range(21, 41))
            at_preferred.wait_until(lambda _: len(numbers(at_preferred)) == 20)
            assert numbers(at_preferred) == list(range(21, 41))
            said = [m.payload for m in at_preferred.messages if m.topic.endswith("availability")]
            assert said == [b"online"]
        said = [m.payload for m in at_second.messages if m.topic.endswith("availability")]
        assert said == [b"online", b"offline"]
        assert numbers(at_second) == list(range(1, 21))
        assert device.publisher.stats().connects == 2
        assert not device.failures
