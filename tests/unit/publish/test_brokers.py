"""Broker addresses and what errors mean."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from alprd.config.models import MqttSettings
from alprd.publish.brokers import Broker, brokers_of, connect_error


def one(url: str, **settings: object) -> Broker:
    (broker,) = brokers_of(MqttSettings.model_validate({"url": url, **settings}))
    return broker


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("mqtt://10.0.0.7:2000", "10.0.0.7", 2000, False),
        ("mqtts://[fd00::7]:9000", "fd00::7", 9000, True),
    ],
)
def test_a_url_gives_host_port_and_encryption(url: str, host: str, port: int, tls: bool) -> None:
    broker = one(url)
    assert (broker.host, broker.port, broker.tls) == (host, port, tls)


def test_several_urls_keep_their_order_of_preference() -> None:
    brokers = brokers_of(MqttSettings(url=("mqtt://a", "mqtts://b")))
    assert [str(broker) for broker in brokers] == ["mqtt://a:1883", "mqtts://b:8883"]


def test_credentials_in_the_url_win_over_the_common_ones() -> None:
    common = {"username": "common", "password": SecretStr("secret")}
    inside = one("mqtt://edge:p%40ss@broker", **common)
    assert (inside.username, inside.password) == ("edge", "p@ss")
    outside = one("mqtt://broker", **common)
    assert (outside.username, outside.password) == ("common", "secret")


def test_a_broker_never_shows_its_credentials() -> None:
    broker = one("mqtt://edge:hunter2@broker")
    shown = f"{broker} {broker!r} {connect_error(broker, OSError('x'))}"
    assert "hunter2" not in shown
    assert "edge" not in shown
    assert "mqtt://[::1]:1883" in str(one("mqtt://u:p@[::1]"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionRefusedError(), "is the broker running?"),
        (TimeoutError(), "check the network and the firewall"),
        (OSError("No route to host"), "No route to host"),
        (UnicodeError("label too long"), "label too long"),
    ],
)
def test_a_failed_connect_names_the_broker_and_the_remedy(error: Exception, says: str) -> None:
    text = connect_error(one("mqtt://broker"), error)
    assert text.startswith("mqtt://broker:1883: ")
    assert says in text
