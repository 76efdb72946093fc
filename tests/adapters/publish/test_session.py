"""The session with the broker: who we are, whether we are there, and what goes wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alprd.config.models import MqttSettings
from alprd.core.types import CameraStatus
from alprd.publish import loop
from alprd.publish.brokers import brokers_of
from alprd.publish.message import Will
from alprd.publish.mqtt import V5, Connection
from alprd.publish.waker import Waker
from support.broker import HOST, Broker, password_line
from support.certificates import make_authority
from support.device import DEVICE_ID, Device
from support.peers import talking_peer
from support.proxy import Proxy
from support.subscriber import Received, Subscriber

AVAILABILITY = f"devices/{DEVICE_ID}/availability"
MakeBroker = Callable[..., Broker]
pytestmark = pytest.mark.everywhere


def payloads(messages: list[Received], ending: str) -> list[bytes]:
    return [message.payload for message in messages if message.topic.endswith(ending)]


def test_a_device_says_online_and_on_leaving_stopped_and_both_are_retained(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    topic = f"{topic_prefix}/{AVAILABILITY}"
    with Device(tmp_path, broker.url, prefix=topic_prefix) as device:
        device.wait_until(lambda stats: stats.connected)
        with Subscriber(broker, topic) as late:
            (online,) = late.wait_for(1)
    assert (online.payload, online.retain, online.qos) == (b"online", True, 1)
    assert (online.content_type, online.payload_format) == ("text/plain", 1)
    with Subscriber(broker, topic) as later:
        (stopped,) = later.wait_for(1)
    assert (stopped.payload, stopped.retain) == (b"stopped", True)


def test_a_device_that_vanishes_is_offline_and_online_again_when_it_is_back(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port) as proxy,
        Subscriber(broker, f"{topic_prefix}/{AVAILABILITY}") as subscriber,
        Device(tmp_path, proxy.url, prefix=topic_prefix),
    ):
        subscriber.wait_for(1)
        proxy.accept = False
        proxy.cut()
        subscriber.wait_until(lambda m: payloads(m, "availability") == [b"online", b"offline"])
        proxy.accept = True
        subscriber.wait_until(lambda m: payloads(m, "availability")[2:] == [b"online"])


def test_state_is_sent_again_to_a_broker_that_has_forgotten_it(
    fresh_broker: Broker, tmp_path: Path
) -> None:
    with Device(tmp_path, fresh_broker.url) as device:
        device.publisher.camera_status(CameraStatus(camera_id="gate", state="stalled"))
        device.publisher.camera_status(CameraStatus(camera_id="gate", state="online", fps=9.5))
        device.publisher.device("info", {"schema": "alprd.info/1", "version": "1"}, retain=True)
        device.publisher.device("health", {"temperature": 41.5}, retain=True)
        device.wait_until(lambda stats: stats.connected)
        fresh_broker.stop()
        (fresh_broker.folder / "mosquitto.db").unlink()
        fresh_broker.start()
        with Subscriber(fresh_broker, "#") as subscriber:
            wanted = {"alpr/gate/status"} | {
                f"alpr/devices/{DEVICE_ID}/{name}" for name in ("availability", "info", "health")
            }
            subscriber.wait_until(lambda m: wanted <= {x.topic for x in m})
            # The first after a hang-up asks whether it was at fault; the next ones are as ever.
            device.publisher.device("health", {"temperature": 42.5}, retain=True)
            messages = subscriber.wait_until(lambda m: b"42.5" in m[-1].payload)
    newest = {message.topic: message for message in messages}
    status = newest["alpr/gate/status"]
    content = json.loads(status.payload)
    assert (content["state"], content["fps"], content["schema"]) == (
        "online",
        9.5,
        "alprd.status/1",
    )
    assert (status.qos, status.user, status.expiry_s) == (1, {"schema": "alprd.status/1"}, None)
    info = newest[f"alpr/devices/{DEVICE_ID}/info"]
    assert (json.loads(info.payload)["version"], info.qos) == ("1", 1)
    health = newest[f"alpr/devices/{DEVICE_ID}/health"]
    assert health.qos == 0
    assert 0 < (health.expiry_s or 0) <= 60


def test_the_retained_status_of_a_camera_that_is_gone_can_be_taken_away(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Device(tmp_path, broker.url, prefix=topic_prefix) as device,
        Subscriber(broker, f"{topic_prefix}/old/status") as subscriber,
    ):
        device.publisher.camera_status(CameraStatus(camera_id="old", state="online"))
        subscriber.wait_for(1)
        device.publisher.forget_camera("old")
        subscriber.wait_until(lambda m: m[-1].payload == b"")
    with Subscriber(broker, f"{topic_prefix}/#") as late:
        late.wait_for(1)  # availability
        assert late.on(f"{topic_prefix}/old/status") == []


def test_a_status_that_was_taken_away_is_left_alone_after_a_later_connect(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port) as proxy,
        Device(tmp_path, proxy.url, prefix=topic_prefix) as device,
        Device(tmp_path, broker.url, prefix=topic_prefix, device_id="edge-08") as new_owner,
        Subscriber(broker, f"{topic_prefix}/#") as subscriber,
    ):
        topic = f"{topic_prefix}/gate/status"
        device.publisher.camera_status(CameraStatus(camera_id="gate", state="online"))
        subscriber.wait_until(lambda _: bool(subscriber.on(topic)))
        device.publisher.forget_camera("gate")
        subscriber.wait_until(lambda _: subscriber.on(topic)[-1].payload == b"")
        new_owner.publisher.camera_status(CameraStatus(camera_id="gate", state="online"))
        subscriber.wait_until(lambda _: subscriber.on(topic)[-1].payload != b"")
        connects = device.publisher.stats().connects
        proxy.cut()
        device.wait_until(lambda stats: stats.connects > connects)
        device.add(1)  # state goes before events
        subscriber.wait_until(lambda m: any(x.topic.endswith("/plates") for x in m))
        assert subscriber.on(topic)[-1].payload != b""


def test_what_left_the_configuration_while_the_device_was_off_leaves_the_broker(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    topics = {name: f"{topic_prefix}/{name}/status" for name in ("old", "gate")}
    with Device(tmp_path, broker.url, prefix=topic_prefix) as device:
        device.publisher.keep(topics.values())
        for name in topics:
            device.publisher.camera_status(CameraStatus(camera_id=name, state="online"))
        device.wait_until(lambda stats: stats.connected)
    with (
        Subscriber(broker, f"{topic_prefix}/#") as subscriber,
        Device(tmp_path, broker.url, prefix=topic_prefix) as device,
    ):
        device.publisher.keep([topics["gate"]])
        subscriber.wait_until(
            lambda _: [m.payload for m in subscriber.on(topics["old"])][-1:] == [b""]
        )
        device.wait_until(lambda _: topics["old"] not in str(device.outbox.recall("retained")))
    with Subscriber(broker, f"{topic_prefix}/#") as late:
        late.wait_for(2)  # availability and the other camera's status
        assert late.on(topics["old"]) == []


def test_a_wrong_password_is_not_a_connection_and_the_reason_hides_it(
    make_broker: MakeBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = make_broker()
    passwords = broker.folder / "passwords"
    passwords.write_text(password_line("edge", "right-one"))
    passwords.chmod(0o600)
    broker.configure(f"password_file {passwords}\n")
    broker.start()
    wrong = {"username": "edge", "password": "wrong-one"}
    with Device(tmp_path, broker.url, settings=wrong, flush_timeout_s=0.5) as device:
        device.add(1)
        stats = device.wait_until(lambda stats: stats.last_error)
        assert not stats.connected
        assert stats.connects == 0
        assert "check mqtt.username and mqtt.password_file" in str(stats.last_error)
        assert not device.failures
    log = capsys.readouterr().out
    assert "mqtt.password_file" in log
    assert "wrong-one" not in f"{log}{stats}{broker.log}"
    right = {"username": "edge", "password": "right-one"}
    device = Device(tmp_path, broker.url, settings=right)
    with (
        Subscriber(broker, "alpr/gate/plates", **right) as subscriber,
        device,
    ):
        subscriber.wait_for(1)


def test_credentials_in_the_url_are_used_and_never_shown(
    make_broker: MakeBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = make_broker()
    passwords = broker.folder / "passwords"
    passwords.write_text(password_line("edge", "p@ss/word"))
    passwords.chmod(0o600)
    broker.configure(f"password_file {passwords}\n")
    broker.start()
    url = f"mqtt://edge:p%40ss%2Fword@{broker.host}:{broker.port}"
    with Device(tmp_path, url) as device:
        stats = device.wait_until(lambda stats: stats.connected)
    assert stats.broker == broker.url
    assert "word" not in capsys.readouterr().out


def test_a_broker_that_speaks_only_3_1_1_gets_the_events_too(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port, only_v311=True) as proxy,
        Subscriber(broker, f"{topic_prefix}/gate/plates") as subscriber,
        Device(tmp_path, proxy.url, prefix=topic_prefix) as device,
    ):
        device.add(1, 2, 3)
        messages = subscriber.wait_for(3)
        stats = device.wait_until(lambda stats: stats.published == 3)
        assert (stats.protocol, stats.pending) == ("3.1.1", 0)
        assert [message.user for message in messages] == [{}, {}, {}]
        assert proxy.connections == 2  # the refusal of 5 is followed by 3.1.1 at once


def test_a_black_hole_is_left_when_the_acknowledgement_is_overdue(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port) as proxy,
        Subscriber(broker, f"{topic_prefix}/gate/plates") as subscriber,
        Device(tmp_path, proxy.url, prefix=topic_prefix, settings={"ack_timeout_s": 1.0}) as device,
    ):
        device.add(1)
        device.wait_until(lambda stats: stats.published == 1)
        proxy.forward_requests = False  # the socket stays open and swallows everything
        device.add(2)
        stats = device.wait_until(lambda stats: stats.last_error)
        assert "no acknowledgement within 1 s (mqtt.ack_timeout_s)" in str(stats.last_error)
        proxy.forward_requests = True
        assert [json.loads(m.payload)["seq"] for m in subscriber.wait_for(2)] == [1, 2]


def test_the_next_broker_in_the_list_is_used_when_the_first_is_away(
    make_broker: MakeBroker, broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    preferred = make_broker()
    with Device(tmp_path, (preferred.url, broker.url), prefix=topic_prefix) as device:
        assert device.wait_until(lambda stats: stats.connected).broker == broker.url


@contextmanager
def tls_broker(make_broker: MakeBroker, alt_name: str) -> Iterator[tuple[str, Path]]:
    """Yields (URL, file of the authority)."""
    broker = make_broker()
    authority = make_authority(broker.folder, "trusted")
    certificate, key = authority.issue("broker", alt_name=alt_name)
    broker.configure(f"allow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n")
    broker.start()
    yield f"mqtts://{broker.host}:{broker.port}", authority.ca_file


def test_tls_connects_with_the_authority_that_signed_the_broker(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    with (
        tls_broker(make_broker, f"IP:{HOST}") as (url, ca_file),
        Device(tmp_path, url, settings={"ca_file": ca_file}) as device,
    ):
        device.add(*range(1, 201))
        # A row goes a moment after its acknowledgement, together with others.
        stats = device.wait_until(lambda stats: stats.published == 200 and stats.pending == 0)
        assert stats.broker == url


@pytest.mark.parametrize(
    ("alt_name", "trust", "says"),
    [
        (f"IP:{HOST}", "other", "check mqtt.ca_file"),
        ("DNS:elsewhere.example", "trusted", "check mqtt.ca_file and that mqtt.url names the host"),
        (f"IP:{HOST}", "missing", "must be a readable PEM file"),
    ],
)
def test_tls_refuses_an_untrusted_broker(
    make_broker: MakeBroker, tmp_path: Path, alt_name: str, trust: str, says: str
) -> None:
    with tls_broker(make_broker, alt_name) as (url, trusted):
        ca_file = {
            "trusted": trusted,
            "other": make_authority(tmp_path, "other").ca_file,
            "missing": tmp_path / "no-such.pem",
        }[trust]
        with Device(tmp_path, url, settings={"ca_file": ca_file}) as device:
            device.add(1)
            stats = device.wait_until(lambda stats: stats.last_error)
            assert says in str(stats.last_error)
            assert (stats.connects, device.pending) == (0, 1)
            assert not device.failures


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>no</html>",
        b"\x00" * 64,
        b"\xff" * 64,
        b"\x20\x03\x00\x00\xff",
        b"\x20\x09\x00\x00\x06\x26\x00\x01a\x00\xff\xff",
        b"\x40\x02\x00\x01",
        b"220 mail.example ESMTP\r\n",
    ],
)
def test_a_peer_that_talks_nonsense_is_left_and_the_thread_lives_on(
    tmp_path: Path, answer: bytes
) -> None:
    with (
        talking_peer(answer) as url,
        Device(tmp_path, url, flush_timeout_s=0.1) as device,
    ):
        device.wait_until(lambda stats: stats.last_error)
        assert device.publisher.stats().connects == 0
        assert not device.failures


def test_random_bytes_from_the_broker_only_ever_end_the_connection() -> None:
    dice = random.Random(7)  # noqa: S311 - seeded, so that a failure can be repeated
    accepted = b"\x20\x03\x00\x00\x00"  # CONNACK of MQTT 5
    packets = bytes(range(0x20, 0x100, 0x10))

    def answer() -> bytes:
        length = dice.randint(0, 40)
        packet = bytes([dice.choice(packets), length]) + dice.randbytes(length)
        return dice.choice([b"", accepted]) + packet + dice.randbytes(3)

    with talking_peer(answer) as url:
        (broker,) = brokers_of(MqttSettings(url=url))
        for _ in range(150):
            connection = Connection(
                broker,
                protocol=V5,
                client_id="fuzz",
                will=Will(topic="t", payload=b"offline"),
                keepalive_s=30,
                connect_timeout_s=5.0,
            )
            connection.open()
            waker = Waker()
            while connection.lost is None:
                readable, _ = waker.wait(5.0, connection.fileno())
                assert readable
                connection.turn(readable=True, writable=False)
            connection.close("done")
            waker.close()


def test_a_peer_that_never_answers_is_left_and_the_thread_keeps_beating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CONNECT_TIMEOUT_S", 1.5)
    with (
        talking_peer(b"") as url,
        Device(tmp_path, url, flush_timeout_s=0.1) as device,
    ):
        stats = device.wait_until(lambda stats: stats.last_error)
        assert "did not answer CONNECT within 1.5 s" in str(stats.last_error)
        pauses = [
            later - earlier for earlier, later in zip(device.beats, device.beats[1:], strict=False)
        ]
        assert max(pauses) <= 1.0


def test_a_hanging_tls_handshake_does_not_stop_the_beat(tmp_path: Path) -> None:
    with (
        talking_peer(b"") as url,
        Device(tmp_path, url.replace("mqtt:", "mqtts:"), flush_timeout_s=0.1) as device,
    ):
        seen = len(device.beats)
        device.wait_until(lambda _: len(device.beats) >= seen + 4)
        assert device.publisher.stats().last_error is None  # the attempt is still under way
