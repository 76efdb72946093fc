"""Settings of what watches over the device: health, alerts and metrics."""

from __future__ import annotations

from pydantic import Field

from alprd.config.section import Section


class HealthSettings(Section):
    """[health]: the health topic."""

    interval_s: float = Field(
        default=10.0, ge=1.0, le=3600.0, description="a health message this often, seconds"
    )
    status_interval_s: float = Field(
        default=60.0,
        ge=1.0,
        le=86400.0,
        description="a camera's status at least this often, seconds; what changes is told at once",
    )
    tegrastats: str = Field(
        default="tegrastats",
        description='program that reports a Jetson\'s state, a name on PATH or a path; "": none',
    )


class AlertsSettings(Section):
    """[alerts]: when something is bad enough for a message of its own."""

    enabled: bool = Field(default=True, description="false: no alerts, and no look at pictures")
    raise_after_s: float = Field(
        default=30.0,
        ge=0.0,
        le=3600.0,
        description="a bad state becomes an alert when it has lasted so long, seconds",
    )
    clear_after_s: float = Field(
        default=30.0,
        ge=0.0,
        le=3600.0,
        description="an alert ends when all has been well for so long, seconds",
    )
    temperature_c: float = Field(
        default=90.0, ge=30.0, le=150.0, description="a sensor this hot raises an alert, Celsius"
    )
    memory_free_share: float = Field(
        default=0.05, ge=0.0, le=0.9, description="less free memory raises an alert, 0..1"
    )
    disk_free_share: float = Field(
        default=0.05,
        ge=0.0,
        le=0.9,
        description="less free room on the outbox's disk raises an alert, 0..1",
    )
    outbox_wait_s: float = Field(
        default=300.0,
        ge=1.0,
        le=86400.0 * 7,
        description="an event that waits longer for the broker raises an alert, seconds",
    )
    frozen_s: float = Field(
        default=60.0,
        ge=5.0,
        le=3600.0,
        description="a picture without any change for so long is frozen, seconds",
    )


class MetricsSettings(Section):
    """[metrics]: the same figures for Prometheus."""

    enabled: bool = Field(default=False, description="true: answer at http://host:port/metrics")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; anybody who reaches it can read the figures",
    )
    port: int = Field(default=9478, ge=1, le=65535, description="TCP port")
