"""etc/mosquitto, as shipped, in a real Mosquitto: the right ones get through and nobody else."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from support.broker import HOST, Broker, Launcher, free_port, password_line
from support.certificates import Authority, make_authority
from support.device import Device

EXAMPLE = Path(__file__).parents[2] / "etc" / "mosquitto"
PASSWORDS = {name: f"secret of {name}" for name in ("edge-07", "edge-08", "operator", "archive")}
TIMEOUT_S = 10.0


class Example:
    """The example, running, with other paths and ports."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.authority = make_authority(folder / "certs", "alprd test authority")
        broker_crt, broker_key = self.authority.issue("broker", alt_name=f"IP:{HOST}")
        self.port, self.certificate_port = free_port(), free_port()
        config = (EXAMPLE / "mosquitto.conf").read_text()
        for shipped, here in (
            ("listener 8883", f"listener {self.port} {HOST}"),
            ("listener 8884", f"listener {self.certificate_port} {HOST}"),
            ("/etc/mosquitto/certs/ca.crt", str(self.authority.ca_file)),
            ("/etc/mosquitto/certs/broker.crt", str(broker_crt)),
            ("/etc/mosquitto/certs/broker.key", str(broker_key)),
            ("/etc/mosquitto/alprd.passwd", str(folder / "passwd")),
            ("/etc/mosquitto/alprd.acl", str(folder / "acl")),
            ("/var/lib/mosquitto/", f"{folder}/"),
            # "running" is what the fixture waits for.
            ("log_dest syslog", "log_dest stderr\nlog_type information\nuser root"),
        ):
            assert shipped in config
            config = config.replace(shipped, here)
        (folder / "passwd").write_text(
            "".join(password_line(name, word) for name, word in PASSWORDS.items())
        )
        (folder / "acl").write_text((EXAMPLE / "acl").read_text())
        for secret in ("passwd", "acl"):
            (folder / secret).chmod(0o600)
        self.folder = folder
        self.broker = Broker(launcher, folder, port=self.port)
        self.broker.configure_whole(config)

    @contextmanager
    def client(
        self,
        name: str,
        password: str | None = None,
        *,
        certificate: tuple[Path, Path] | None = None,
    ) -> Iterator[Peer]:
        """Somebody connected as `name`."""
        peer = Peer(self.authority, certificate)
        if certificate is None:
            peer.client.username_pw_set(name, PASSWORDS[name] if password is None else password)
        peer.connect(self.port if certificate is None else self.certificate_port)
        try:
            yield peer
        finally:
            peer.client.disconnect()
            peer.client.loop_stop()


class Peer:
    """A bare MQTT 5 client that notes every reason code."""

    def __init__(self, authority: Authority, certificate: tuple[Path, Path] | None) -> None:
        self._news = threading.Condition()
        self.connected: str | None = None
        self._acks: dict[int, str] = {}
        self._granted: dict[int, list[str]] = {}
        self.heard: list[tuple[str, bytes]] = []
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        if certificate is not None:
            context.load_cert_chain(*map(str, certificate))
        self.client.tls_set_context(context)
        self.client.on_connect = lambda *a: self._note(
            lambda: setattr(self, "connected", str(a[3]))
        )
        self.client.on_publish = lambda *a: self._note(
            lambda: self._acks.__setitem__(a[2], str(a[3]))
        )
        self.client.on_subscribe = lambda *a: self._note(
            lambda: self._granted.__setitem__(a[2], [str(reason) for reason in a[3]])
        )
        self.client.on_message = lambda *a: self._note(
            lambda: self.heard.append((a[2].topic, a[2].payload))
        )

    def connect(self, port: int) -> None:
        self.client.connect(HOST, port)
        self.client.loop_start()
        self.wait(lambda: self.connected is not None)

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> str:
        """The broker's answer."""
        mid = self.client.publish(topic, payload, qos=1, retain=retain).mid
        self.wait(lambda: mid in self._acks)
        return self._acks[mid]

    def subscribe(self, topic: str) -> str:
        """The broker's answer."""
        _, mid = self.client.subscribe([(topic, SubscribeOptions(qos=1))])
        self.wait(lambda: mid in self._granted)
        return self._granted[mid or 0][0]

    def wait(self, holds: Callable[[], object]) -> None:
        with self._news:
            assert self._news.wait_for(holds, TIMEOUT_S)

    def _note(self, work: Callable[[], Any]) -> None:
        with self._news:
            work()
            self._news.notify_all()


@pytest.fixture(scope="module")
def example(
    broker_launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    made = Example(broker_launcher, tmp_path_factory.mktemp("example"))
    with made.broker:
        yield made


def test_a_device_delivers_its_events_over_tls_and_an_operator_hears_them(
    example: Example, tmp_path: Path
) -> None:
    settings = {
        "username": "edge-07",
        "password": PASSWORDS["edge-07"],
        "ca_file": example.authority.ca_file,
    }
    url = f"mqtts://{HOST}:{example.port}"
    with example.client("operator") as operator, example.client("archive") as archive:
        assert operator.subscribe("alpr/#") == "Granted QoS 1"
        assert archive.subscribe("alpr/+/plates") == "Granted QoS 1"
        with Device(tmp_path, url, settings=settings) as device:
            device.publisher.device("info", {"schema": "alprd.info/1"}, retain=True)
            device.add(1, 2, camera_id="gate-in")
            device.wait_until(lambda stats: stats.published == 2)
        operator.wait(lambda: sum(t == "alpr/gate-in/plates" for t, _ in operator.heard) == 2)
        operator.wait(lambda: ("alpr/devices/edge-07/availability", b"stopped") in operator.heard)
        archive.wait(lambda: len(archive.heard) == 2)
        assert [json.loads(payload)["seq"] for _, payload in archive.heard] == [1, 2]


def test_a_device_with_a_certificate_of_its_own_needs_no_password(
    example: Example, tmp_path: Path
) -> None:
    certificate, key = example.authority.issue("edge-08", alt_name="DNS:edge-08")
    settings = {"ca_file": example.authority.ca_file, "cert_file": certificate, "key_file": key}
    url = f"mqtts://{HOST}:{example.certificate_port}"
    with Device(tmp_path, url, device_id="edge-08", settings=settings) as device:
        device.add(1, camera_id="gate-out")
        device.wait_until(lambda stats: stats.published == 1)


@pytest.mark.parametrize(
    "topic",
    [
        "alpr/gate-in/plates",
        "alpr/gate-in/status",
        "alpr/gate-in/snapshot",
        "alpr/gate-in/res/snapshot",
        "alpr/devices/edge-07/availability",
        "alpr/devices/edge-07/info",
        "alpr/devices/edge-07/health",
        "alpr/devices/edge-07/gaps",
        "alpr/devices/edge-07/alerts/camera_blind",
        "alpr/devices/edge-07/res/reload",
        "homeassistant/device/edge-07/config",
    ],
)
def test_a_device_may_publish_what_is_its_own(example: Example, topic: str) -> None:
    with example.client("edge-07") as device:
        assert device.publish(topic) in ("Success", "No matching subscribers")


@pytest.mark.parametrize(
    "topic",
    [
        "alpr/gate-out/plates",
        "alpr/gate-out/status",
        "alpr/new-camera/plates",
        "alpr/devices/edge-08/availability",
        "alpr/devices/edge-08/gaps",
        "alpr/devices/edge-08/alerts/camera_blind",
        "alpr/devices/edge-08/cmd/reload",
        "alpr/gate-in/cmd/enable",
        "alpr/gate-out/cmd/disable",
        "alpr/devices/edge-07",
        "homeassistant/device/edge-08/config",
        "elsewhere",
    ],
)
def test_a_device_may_publish_nothing_of_anybody_elses(example: Example, topic: str) -> None:
    with example.client("edge-07") as device:
        assert device.publish(topic) == "Not authorized"


def test_a_device_hears_its_own_commands_and_nobody_elses_messages(example: Example) -> None:
    with example.client("edge-07") as device, example.client("operator") as operator:
        for topic in ("alpr/gate-in/cmd/+", "alpr/devices/edge-07/cmd/+"):
            assert device.subscribe(topic) == "Granted QoS 1"
        # Mosquitto lets everybody subscribe by wildcards and then delivers what is allowed.
        for topic in ("alpr/+/plates", "alpr/gate-out/cmd/+", "alpr/devices/edge-08/cmd/+"):
            device.subscribe(topic)
        with example.client("edge-08") as other:
            other.publish("alpr/gate-out/plates")
        for topic in ("alpr/gate-out/cmd/disable", "alpr/devices/edge-08/cmd/reload"):
            operator.publish(topic)
        operator.publish("alpr/gate-in/cmd/snapshot")
        device.wait(lambda: device.heard)
        assert [topic for topic, _ in device.heard] == ["alpr/gate-in/cmd/snapshot"]


def test_an_archive_reads_events_and_commands_nobody(example: Example) -> None:
    with example.client("archive") as archive:
        assert archive.publish("alpr/gate-in/cmd/disable") == "Not authorized"
        assert archive.publish("alpr/gate-in/plates") == "Not authorized"


def test_an_operator_cannot_invent_events(example: Example) -> None:
    with example.client("operator") as operator:
        assert operator.publish("alpr/gate-in/plates") == "Not authorized"


@pytest.mark.parametrize(("name", "password"), [("edge-07", "wrong"), ("nobody", "x"), ("", "")])
def test_nobody_gets_in_without_the_right_password(
    example: Example, name: str, password: str
) -> None:
    with example.client(name, password) as peer:
        assert peer.connected in ("Not authorized", "Bad user name or password")


def test_a_certificate_of_another_authority_is_not_let_in(example: Example, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path, "stranger")
    peer = Peer(example.authority, stranger.issue("edge-07", alt_name="DNS:edge-07"))
    refused = threading.Event()
    peer.client.on_disconnect = lambda *_: refused.set()
    try:
        peer.client.connect(HOST, example.certificate_port)
        peer.client.loop_start()
        assert refused.wait(TIMEOUT_S)
    except (ssl.SSLError, ConnectionError):
        pass  # TLS 1.2 tells during the handshake, 1.3 after it
    finally:
        peer.client.disconnect()
        peer.client.loop_stop()
    assert peer.connected is None


def test_without_tls_nobody_is_understood(example: Example, tmp_path: Path) -> None:
    url = f"mqtt://{HOST}:{example.port}"
    settings = {"username": "edge-07", "password": PASSWORDS["edge-07"]}
    with Device(tmp_path, url, settings=settings, flush_timeout_s=0.1) as device:
        stats = device.wait_until(lambda stats: stats.last_error)
    assert stats.connects == 0


def test_the_short_access_list_for_fleets_gives_every_device_its_own_branch(
    broker_launcher: Launcher, tmp_path: Path
) -> None:
    example = Example(broker_launcher, tmp_path)
    lines = (EXAMPLE / "acl").read_text().splitlines()
    short = [line.removeprefix("#   ") for line in lines if line.startswith("#   pattern")]
    assert len(short) == 3
    (tmp_path / "acl").write_text("\n".join(short) + "\n")
    with example.broker, example.client("edge-07") as device:
        allowed = ("alpr/edge-07/any-camera/plates", "alpr/edge-07/devices/edge-07/info")
        for topic in allowed:
            assert device.publish(topic) != "Not authorized"
        for topic in ("alpr/edge-08/any-camera/plates", "alpr/gate-in/plates"):
            assert device.publish(topic) == "Not authorized"
        for topic in ("alpr/edge-07/gate/cmd/+", "alpr/edge-07/devices/edge-07/cmd/+"):
            assert device.subscribe(topic) == "Granted QoS 1"
