"""Where a broker is, and what its refusals and network errors mean to the person in charge."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import WebsocketConnectionError

from alprd.config.models import MqttSettings

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
DEFAULT_WEBSOCKET_PATH = "/mqtt"
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
    cert_file: Path | None = None
    key_file: Path | None = None
    check_server_name: bool = True
    alpn: tuple[str, ...] = ()
    websocket_path: str | None = field(default=None, repr=False)
    """None: plain MQTT. Never shown: some brokers take a token there."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "mqtt" if self.websocket_path is None else "ws"
        return f"{scheme}{'s' if self.tls else ''}://{host}:{self.port}"


def brokers_of(settings: MqttSettings) -> list[Broker]:
    """The brokers in order of preference; credentials inside a URL win over the common ones."""
    urls = (settings.url,) if isinstance(settings.url, str) else settings.url
    return [_broker(url, settings) for url in urls]


def _broker(url: str, settings: MqttSettings) -> Broker:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("mqtt.url: must look like mqtt://host:1883 or mqtts://host:8883")
    path: str | None = None
    if scheme.startswith("ws"):
        path = parts.path.rstrip("/") or DEFAULT_WEBSOCKET_PATH
        path += f"?{parts.query}" if parts.query else ""
    username, password = settings.username, None
    if settings.password is not None:
        password = settings.password.get_secret_value()
    if parts.username:
        username = unquote(parts.username)
        password = unquote(parts.password) if parts.password is not None else password
    return Broker(
        host=parts.hostname,
        port=parts.port or DEFAULT_PORTS[scheme],
        tls=scheme in ("mqtts", "wss"),
        username=username,
        password=password,
        ca_file=settings.ca_file,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        check_server_name=settings.check_server_name,
        alpn=settings.alpn,
        websocket_path=path,
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
    elif isinstance(error, WebsocketConnectionError):
        problem = f"{error}; is this the broker's WebSocket port and path?"
    elif isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(error.reason):
        problem = "the broker asks for a certificate; set mqtt.cert_file and mqtt.key_file"
    elif isinstance(error, ssl.SSLError) and "ALERT" in str(error.reason):
        problem = f"the broker refuses TLS ({error.reason}); check mqtt.cert_file and mqtt.key_file"
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
