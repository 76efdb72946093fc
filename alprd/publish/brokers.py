"""Where a broker is, and what its refusals and network errors mean to the person in charge."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from alprd.config.models import MqttSettings

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_CREDENTIALS = "check mqtt.username and mqtt.password_file"
_REMEDIES = {
    "Bad user name or password": _CREDENTIALS,
    "Not authorized": f"{_CREDENTIALS}, and the broker's access list",
    "Client identifier not valid": "set mqtt.client_id to one that the broker allows",
    "Banned": "ask the broker's administrator",
    "Session taken over": "another client uses the same id; give each device its own device_id",
    "Packet too large": "raise the broker's maximum packet size",
    "Quota exceeded": "raise the broker's quota",
}


class BrokerError(Exception):
    """A broker cannot be reached or used; the message names the remedy and no credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One entry of mqtt.url, with its credentials; shows only scheme, host and port."""

    host: str
    port: int
    tls: bool
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    ca_file: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def brokers_of(settings: MqttSettings) -> list[Broker]:
    """The brokers in order of preference; credentials inside a URL win over the common ones."""
    urls = (settings.url,) if isinstance(settings.url, str) else settings.url
    return [_broker(url, settings) for url in urls]


def _broker(url: str, settings: MqttSettings) -> Broker:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("mqtt.url: must look like mqtt://host:1883 or mqtts://host:8883")
    username, password = settings.username, None
    if settings.password is not None:
        password = settings.password.get_secret_value()
    if parts.username:
        username = unquote(parts.username)
        password = unquote(parts.password) if parts.password is not None else password
    return Broker(
        host=parts.hostname,
        port=parts.port or DEFAULT_PORTS[scheme],
        tls=scheme == "mqtts",
        username=username,
        password=password,
        ca_file=settings.ca_file,
    )


def refusal_remedy(reason: str) -> str:
    """What to do about a reason that the broker gave."""
    return _REMEDIES.get(reason, "see the broker's log")


def connect_error(broker: Broker, error: Exception) -> str:
    """A failed connect in words, with the remedy."""
    # A wrong certificate is an SSLError and a ValueError, an SSLError and a time-out are OSErrors:
    # from the special to the general.
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = (
            f"the certificate is not trusted ({error.verify_message});"
            " check mqtt.ca_file and that mqtt.url names the host as the certificate does"
        )
    elif isinstance(error, ssl.SSLError):
        problem = f"TLS failed ({error.reason}); is this the broker's TLS port?"
    elif isinstance(error, socket.gaierror):
        problem = "the host name cannot be resolved; check mqtt.url and the DNS server"
    elif isinstance(error, ConnectionRefusedError):
        problem = "nobody listens there; is the broker running?"
    elif isinstance(error, TimeoutError):
        problem = "no answer; check the network and the firewall"
    else:
        problem = f"cannot connect ({error}); check mqtt.url and the network"
    return f"{broker}: {problem}"
