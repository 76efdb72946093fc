"""[mqtt] and [outbox]: how events reach the broker, and where they wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from alprd.config.checks import check_broker_url, check_prefix
from alprd.config.section import Fraction, Section


class MqttSettings(Section):
    """[mqtt]: the broker."""

    url: str | tuple[str, ...] = Field(
        default="mqtt://localhost:1883",
        description="mqtt://host:port, mqtts:// for TLS, ws:// or wss:// for WebSockets, or a list "
        "of them in order of preference",
    )
    username: str | None = Field(
        default=None, min_length=1, max_length=1000, description="user name at the broker"
    )
    password: SecretStr | None = Field(
        default=None, description="password at the broker; a file or a credential hides it better"
    )
    password_file: Path | None = Field(
        default=None, description="file that holds the password, instead of `password`"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the broker's certificate"
    )
    cert_file: Path | None = Field(
        default=None, description="PEM file of this device's own certificate, for brokers that ask"
    )
    key_file: Path | None = Field(
        default=None, description="PEM file of that certificate's private key, without a passphrase"
    )
    check_server_name: bool = Field(
        default=True,
        description="false: take a trusted certificate also when it names another host",
    )
    alpn: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = Field(
        default=(), max_length=8, description="application protocols offered in the TLS handshake"
    )
    prefix: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="alpr", description="first level(s) of every topic, such as site-a/alpr"
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="MQTT client id, unique at the broker; default: alprd-<device_id>",
    )
    keepalive_s: int = Field(
        default=30, ge=5, le=3600, description="a silent connection is probed this often, seconds"
    )
    ack_timeout_s: float = Field(
        default=20.0,
        ge=1.0,
        le=600.0,
        description="reconnect when the broker takes longer to acknowledge an event, seconds",
    )
    max_inflight: int = Field(
        default=16, ge=1, le=1000, description="events sent and not yet acknowledged"
    )
    reconnect_max_s: float = Field(
        default=60.0,
        ge=1.0,
        le=3600.0,
        description="longest pause between attempts to connect, seconds",
    )
    preferred_retry_s: float = Field(
        default=300.0,
        ge=1.0,
        le=86400.0,
        description="while on a later broker of the list: try the earlier ones this often, seconds",
    )

    @field_validator("url")
    @classmethod
    def _broker_urls(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        urls = (value,) if isinstance(value, str) else value
        if not urls:
            raise ValueError("the list is empty; name at least one broker")
        for url in urls:
            check_broker_url(url)
        return value

    @model_validator(mode="after")
    def _certificate_with_key(self) -> MqttSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both, or neither")
        return self


class OutboxSettings(Section):
    """[outbox]: where events wait on disk until the broker has them."""

    path: Path = Field(
        default=Path("/var/lib/alprd/outbox.sqlite"),
        description="SQLite file, on a disk that survives a restart; its folder must exist",
    )
    max_events: int = Field(
        default=1_000_000,
        ge=100,
        le=100_000_000,
        description="events that may wait; beyond it some are dropped, counted and announced",
    )
    max_bytes: int = Field(
        default=1024**3,
        ge=10_000,
        le=1024**4,
        description="bytes that waiting events may take; beyond it as with max_events",
    )
    max_age_s: float = Field(
        default=30 * 86400.0,
        ge=1.0,
        le=10 * 365 * 86400.0,
        description="an event that waited longer is dropped, counted and announced, seconds",
    )
    when_full: Literal["drop_oldest", "drop_newest"] = Field(
        default="drop_oldest", description="which events go when max_events or max_bytes is reached"
    )
    backlog_share: Fraction = Field(
        default=0.25,
        description="share of the messages that goes to events older than a minute while newer ones"
        " wait; 1: strictly in order, 0: only when nothing newer waits",
    )
