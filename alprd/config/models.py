"""What can be configured: every field with its unit, range, default and one-line description.

The descriptions are what `etc/alprd.toml` and `alprd check-config` show, so they are written for
the person at the gate.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

CAMERA_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def default_device_id() -> str:
    """The host name, with every character that MQTT topics reserve replaced by "-"."""
    name = socket.gethostname().split(".")[0].lower()
    cleaned = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-_")
    return cleaned[:63] or "alprd"


class Section(BaseModel):
    """A table of the configuration file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MqttSettings(Section):
    """[mqtt]: the broker."""

    url: str | tuple[str, ...] = Field(
        default="mqtt://localhost:1883",
        description="mqtt:// or mqtts:// URL of the broker, or a list in order of preference",
    )
    username: str | None = Field(default=None, description="user name at the broker")
    password: SecretStr | None = Field(default=None, description="better: password_file")
    password_file: Path | None = Field(default=None, description="file that holds the password")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the broker's certificate"
    )
    prefix: str = Field(
        default="alpr", pattern=r"^[^/+#\s$][^+#\s]{0,99}$", description="first topic level(s)"
    )
    client_id: str | None = Field(
        default=None, min_length=1, max_length=64, description="default: alprd-<device_id>"
    )
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="MQTT keep-alive, seconds")
    ack_timeout_s: float = Field(
        default=20.0, ge=1.0, le=600.0, description="reconnect when a PUBACK takes longer, seconds"
    )
    max_inflight: int = Field(
        default=16, ge=1, le=1000, description="events sent and not yet acknowledged"
    )
    reconnect_max_s: float = Field(
        default=60.0, ge=1.0, le=3600.0, description="longest pause between attempts, seconds"
    )


class OutboxSettings(Section):
    """[outbox]: where events wait on disk until the broker has them."""

    path: Path = Field(
        default=Path("/var/lib/alprd/outbox.sqlite"), description="SQLite file; its folder exists"
    )
    max_events: int = Field(
        default=1_000_000, ge=100, description="beyond it the oldest are dropped, and counted"
    )


class InferenceSettings(Section):
    """[inference]: models and where they run."""

    backend: Literal["auto", "onnxruntime", "tensorrt"] = Field(
        default="auto", description="auto takes the best one that this machine has"
    )
    models_dir: Path | None = Field(
        default=None, description="folder of <model>/manifest.toml; default: the built-in models"
    )
    detector: str = Field(default="plate-detector", description="name of the detector model")
    reader: str = Field(default="plate-reader", description="name of the reader model")
    max_batch: int = Field(default=8, ge=1, le=64, description="frames in one detector call")
    threads: int = Field(
        default=0, ge=0, le=64, description="CPU threads of ONNX Runtime; 0: one per core"
    )


class TrackingSettings(Section):
    """[tracking]: when a vehicle pass becomes an event."""

    hold_s: float = Field(
        default=5.0,
        ge=0.2,
        le=60.0,
        description="a vehicle that stays is published at the latest this long after its first read",
    )
    merge_s: float = Field(
        default=2.0,
        ge=0.2,
        le=60.0,
        description="a vehicle lost for less than this is still the same pass, seconds",
    )
    min_reads: int = Field(
        default=2,
        ge=1,
        le=100,
        description="agreeing reads that a pass needs (a pass of a single frame needs one)",
    )
    min_confidence: Fraction = Field(
        default=0.5, description="events below this confidence are not published, 0..1"
    )
    min_plate_width_px: float = Field(
        default=24.0, ge=8.0, le=1000.0, description="narrower plates are not read, pixels"
    )


class CameraSettings(Section):
    """[[cameras]]: one camera."""

    id: str = Field(
        pattern=CAMERA_ID_PATTERN, description="unique in the fleet: a-z 0-9 _ -, not 'devices'"
    )
    source: str = Field(
        min_length=1,
        description="rtsp:// URL, video file, image folder, /dev/videoN, or a GStreamer pipeline",
    )
    username: str | None = Field(default=None, description="user for the RTSP URL")
    password: SecretStr | None = Field(default=None, description="better: password_file")
    password_file: Path | None = Field(default=None, description="file that holds the password")
    enabled: bool = Field(default=True, description="false: configured but not opened")
    roi: tuple[tuple[Fraction, Fraction], ...] | None = Field(
        default=None,
        description="polygon [[x, y], ...] in fractions of the (rotated) picture; plates whose "
        "centre lies outside are ignored",
    )
    rotate_deg: Literal[0, 90, 180, 270] = Field(
        default=0, description="clockwise rotation of the picture, degrees"
    )
    max_fps: float | None = Field(
        default=None, gt=0.0, le=240.0, description="frames per second handed on; default: all"
    )
    realtime: bool = Field(default=False, description="files and folders: play at their own speed")
    loop: bool = Field(default=False, description="files and folders: start again at the end")
    folder_fps: float = Field(
        default=5.0, gt=0.0, le=240.0, description="image folders: pictures per second"
    )
    open_timeout_s: float = Field(default=10.0, ge=1.0, le=120.0, description="seconds")
    read_timeout_s: float = Field(
        default=10.0, ge=1.0, le=120.0, description="a frame later than this: stalled, reconnect"
    )
    retry_max_s: float = Field(
        default=30.0, ge=1.0, le=3600.0, description="longest pause between attempts, seconds"
    )
    tracking: TrackingSettings | None = Field(
        default=None, description="[cameras.tracking]: replaces [tracking] for this camera"
    )

    @field_validator("id")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value == "devices":
            raise ValueError("'devices' is a topic of its own; choose another camera id")
        return value

    @field_validator("roi")
    @classmethod
    def _polygon(
        cls, value: tuple[tuple[float, float], ...] | None
    ) -> tuple[tuple[float, float], ...] | None:
        if value is not None and len(value) < 3:
            raise ValueError("a polygon needs at least 3 points")
        return value


class HealthSettings(Section):
    """[health]: the health topic."""

    interval_s: float = Field(default=10.0, ge=1.0, le=3600.0, description="seconds")
    tegrastats: str = Field(
        default="tegrastats", description="program that reports a Jetson's state, if it is there"
    )


class LogSettings(Section):
    """[log]."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe level that is written"
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, JSON otherwise"
    )


class ProcessSettings(Section):
    """[process]."""

    stop_timeout_s: float = Field(
        default=10.0, ge=1.0, le=300.0, description="on SIGTERM: drain for at most this long"
    )
    stall_timeout_s: float = Field(
        default=30.0,
        ge=5.0,
        le=600.0,
        description="a stage without progress for this long withholds the watchdog keepalive",
    )


class Settings(Section):
    """The whole configuration."""

    device_id: str = Field(
        default_factory=default_device_id,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
        description="this device's name in topics and events; default: the host name",
    )
    mqtt: MqttSettings = MqttSettings()
    outbox: OutboxSettings = OutboxSettings()
    inference: InferenceSettings = InferenceSettings()
    tracking: TrackingSettings = TrackingSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    process: ProcessSettings = ProcessSettings()
    cameras: tuple[CameraSettings, ...] = Field(
        min_length=1, description="[[cameras]]: at least one"
    )

    @model_validator(mode="after")
    def _unique_ids(self) -> Settings:
        seen: set[str] = set()
        for camera in self.cameras:
            if camera.id in seen:
                raise ValueError(f"two cameras have the id {camera.id!r}; ids must be unique")
            seen.add(camera.id)
        return self

    def tracking_of(self, camera: CameraSettings) -> TrackingSettings:
        """The camera's own [cameras.tracking], or the common one."""
        return camera.tracking if camera.tracking is not None else self.tracking
