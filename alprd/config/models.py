"""What can be configured: every field with its unit, range, default and one-line description.

The descriptions are what `etc/alprd.toml` and `alprd check-config` show, so they are written for
the person at the gate.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from alprd.config.checks import (
    CAMERA_ID_PATTERN,
    check_camera_id,
    check_decode,
    check_device_id,
    check_polygon,
    check_source,
)
from alprd.config.counting import LineSettings, ZoneSettings
from alprd.config.delivery import MqttSettings, OutboxSettings
from alprd.config.extras import ImagesSettings, TracksSettings
from alprd.config.policy import (
    CommandsSettings,
    HomeAssistantSettings,
    ListSettings,
    PrivacySettings,
)
from alprd.config.section import Fraction, Section
from alprd.config.speed import SpeedSettings
from alprd.config.wellbeing import AlertsSettings, HealthSettings, MetricsSettings

__all__ = [
    "CAMERA_ID_PATTERN",
    "AlertsSettings",
    "CameraSettings",
    "CommandsSettings",
    "HealthSettings",
    "HomeAssistantSettings",
    "ImagesSettings",
    "InferenceSettings",
    "LineSettings",
    "ListSettings",
    "LogSettings",
    "MetricsSettings",
    "MqttSettings",
    "OutboxSettings",
    "PrivacySettings",
    "ProcessSettings",
    "Section",
    "Settings",
    "TrackingSettings",
    "TracksSettings",
    "ZoneSettings",
    "default_device_id",
]

Named = LineSettings | ZoneSettings


def default_device_id() -> str:
    """The host name, with every character that MQTT topics reserve replaced by "-"."""
    name = socket.gethostname().split(".")[0].lower()
    cleaned = "".join(c if (c.isascii() and c.isalnum()) or c in "-_" else "-" for c in name)
    cleaned = cleaned.strip("-_")
    return cleaned[:63] or "alprd"


class InferenceSettings(Section):
    """[inference]: models and where they run."""

    backend: Literal["auto", "onnxruntime", "tensorrt"] = Field(
        default="auto",
        description="what runs the models; auto takes the best one that this machine has",
    )
    models_dir: Path | None = Field(
        default=None,
        description="folder that holds <model>/manifest.toml; default: the built-in models",
    )
    detector: str = Field(
        default="plate-detector", min_length=1, description="folder name of the detector's model"
    )
    reader: str = Field(
        default="plate-reader", min_length=1, description="folder name of the reader's model"
    )
    max_batch: int = Field(
        default=8, ge=1, le=64, description="most frames, of all cameras, in one detector call"
    )
    second_look: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="a plate of lower reader quality is cut out and read in more ways; 0: never "
        "twice",
    )
    threads: int = Field(
        default=0, ge=0, le=64, description="CPU threads of ONNX Runtime; 0: one per core"
    )
    attributes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        max_length=16,
        description="folder names of classifiers that say what a vehicle is; []: none",
    )
    attributes_for: Literal["events", "tracks"] = Field(
        default="events",
        description="when classifiers are asked: once there is an event, or while a vehicle is in "
        "sight",
    )
    attribute_crops: int = Field(
        default=4, ge=1, le=16, description="pictures of one vehicle that classifiers look at"
    )
    precision: Literal["fp16", "fp32", "int8"] = Field(
        default="fp16", description="TensorRT: precision of the engines"
    )
    workspace_mib: int = Field(
        default=256,
        ge=16,
        le=65536,
        description="TensorRT: scratch memory that a layer may take on the GPU, MiB",
    )
    engines_dir: Path = Field(
        default=Path("/var/cache/alprd/engines"),
        description="TensorRT: folder of the plans that `alprd engines build` makes",
    )
    cuda_graphs: bool = Field(
        default=True, description="TensorRT: launch an engine by one call, not layer by layer"
    )


RegionCode = Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
"""An ISO 3166 country ("US") or a part of one ("US-CA")."""


class TrackingSettings(Section):
    """[tracking]: when a vehicle pass becomes an event."""

    hold_s: float = Field(
        default=5.0,
        ge=0.2,
        le=60.0,
        description="a vehicle that stays is published at the latest this long after its first "
        "read, seconds",
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
    publish_unread: bool = Field(
        default=False,
        description="vehicles whose plate nobody could read have events too, with plate null",
    )
    regions: tuple[RegionCode, ...] = Field(
        default=(),
        max_length=300,
        description='regions whose plates are expected, as ["DE", "US-CA"]: likelier than '
        "others, which are not ruled out",
    )


class CameraSettings(Section):
    """[[cameras]]: one camera."""

    id: Annotated[str, AfterValidator(check_camera_id)] = Field(
        description="name in topics and events, unique in the fleet: a-z 0-9 _ -, not 'devices'"
    )
    source: Annotated[str, AfterValidator(check_source)] = Field(
        description="rtsp:// URL, video file, image folder, /dev/videoN, or a GStreamer pipeline",
    )
    decode: Literal["auto", "nvdec", "gstreamer", "ffmpeg"] = Field(
        default="auto",
        description="what decodes it: nvdec (the GPU; files and streams), gstreamer (pipelines), "
        "ffmpeg (the CPU); auto: the GPU where inference runs on it and its decoder is installed",
    )
    username: str | None = Field(
        default=None, min_length=1, max_length=1000, description="user name at the camera"
    )
    password: SecretStr | None = Field(
        default=None, description="password at the camera; a file or a credential hides it better"
    )
    password_file: Path | None = Field(
        default=None, description="file that holds the password, instead of `password`"
    )
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
        default=None,
        gt=0.0,
        le=240.0,
        description="most frames per second looked at; default: all of them",
    )
    min_fps: float | None = Field(
        default=None,
        gt=0.0,
        le=240.0,
        description="fewer frames per second looked at raise an alert; default: none does",
    )
    realtime: bool = Field(default=False, description="files and folders: play at their own speed")
    loop: bool = Field(default=False, description="files and folders: start again at the end")
    folder_fps: float = Field(
        default=5.0, gt=0.0, le=240.0, description="image folders: pictures per second"
    )
    open_timeout_s: float = Field(
        default=10.0, ge=1.0, le=120.0, description="opening that takes longer has failed, seconds"
    )
    read_timeout_s: float = Field(
        default=10.0,
        ge=1.0,
        le=120.0,
        description="without a frame for this long the camera has stalled: reconnect, seconds",
    )
    retry_max_s: float = Field(
        default=30.0,
        ge=1.0,
        le=3600.0,
        description="longest pause between attempts to open it, seconds",
    )
    tracks: bool | None = Field(
        default=None, description="live reads of this camera; default: tracks.enabled"
    )
    images: bool | None = Field(
        default=None, description="pictures of this camera's events; default: images.enabled"
    )
    tracking: TrackingSettings | None = Field(
        default=None, description="[cameras.tracking]: keys of [tracking] for this camera alone"
    )
    lines: tuple[LineSettings, ...] = Field(
        default=(), max_length=50, description="[[cameras.lines]]: counting lines"
    )
    zones: tuple[ZoneSettings, ...] = Field(
        default=(), max_length=50, description="[[cameras.zones]]: zones"
    )
    speed: SpeedSettings | None = Field(
        default=None, description="[cameras.speed]: what the picture measures; default: no speed"
    )

    @field_validator("roi")
    @classmethod
    def _polygon(
        cls, value: tuple[tuple[float, float], ...] | None
    ) -> tuple[tuple[float, float], ...] | None:
        if value is not None:
            check_polygon(value)
        return value

    @model_validator(mode="after")
    def _decodable(self) -> CameraSettings:
        check_decode(self.decode, self.source)
        return self

    @field_validator("lines", "zones")
    @classmethod
    def _unique_names(cls, value: tuple[Named, ...]) -> tuple[Named, ...]:
        names = [each.name for each in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two have the name {twice!r}; names must be unique")
        return value


class LogSettings(Section):
    """[log]: what the daemon writes about itself, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe level that is written"
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, JSON otherwise"
    )


class ProcessSettings(Section):
    """[process]: stopping, and the watchdog's patience."""

    stop_timeout_s: float = Field(
        default=10.0,
        ge=1.0,
        le=300.0,
        description="at SIGTERM: finish what is under way for at most this long, seconds",
    )
    stall_timeout_s: float = Field(
        default=30.0,
        ge=5.0,
        le=600.0,
        description="a stage without progress for this long withholds the watchdog's keepalive, "
        "seconds",
    )


class Settings(Section):
    """The whole configuration."""

    device_id: Annotated[str, AfterValidator(check_device_id)] = Field(
        default_factory=default_device_id,
        description="this device's name in topics and events; default: the host name",
    )
    mqtt: MqttSettings = MqttSettings()
    outbox: OutboxSettings = OutboxSettings()
    inference: InferenceSettings = InferenceSettings()
    tracking: TrackingSettings = TrackingSettings()
    tracks: TracksSettings = TracksSettings()
    images: ImagesSettings = ImagesSettings()
    privacy: PrivacySettings = PrivacySettings()
    lists: tuple[ListSettings, ...] = Field(default=(), description="[[lists]]: plate lists")
    commands: CommandsSettings = CommandsSettings()
    homeassistant: HomeAssistantSettings = HomeAssistantSettings()
    health: HealthSettings = HealthSettings()
    alerts: AlertsSettings = AlertsSettings()
    metrics: MetricsSettings = MetricsSettings()
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

    @model_validator(mode="after")
    def _lists_that_are_there(self) -> Settings:
        names = [each.name for each in self.lists]
        if len(set(names)) < len(names):
            raise ValueError("two lists have the same name; names must be unique")
        if self.privacy.drop_unlisted and not names:
            raise ValueError(
                "privacy.drop_unlisted without a list publishes nothing; add a [[lists]] table, or "
                "set it to false"
            )
        return self

    @model_validator(mode="after")
    def _pictures_that_hide_what_events_hide(self) -> Settings:
        images = self.images
        if (
            self.privacy.plates == "hmac"
            and any(map(self.images_of, self.cameras))
            and images.plates != "covered"
            and not images.show_hidden_plates
        ):
            raise ValueError(
                'the pictures would show the plates that privacy.plates = "hmac" hides; set '
                'images.plates = "covered", or images.show_hidden_plates = true if that is meant'
            )
        return self

    def tracks_of(self, camera: CameraSettings) -> bool:
        """Whether live reads of this camera are wanted."""
        return self.tracks.enabled if camera.tracks is None else camera.tracks

    def images_of(self, camera: CameraSettings) -> bool:
        """Whether this camera's events have pictures."""
        return self.images.enabled if camera.images is None else camera.images

    @property
    def images_path(self) -> Path:
        """The folder of the pictures."""
        return self.images.path or self.outbox.path.absolute().parent / "images"

    def tracking_of(self, camera: CameraSettings) -> TrackingSettings:
        """[tracking], with the keys that the camera's own [cameras.tracking] sets over it."""
        own = camera.tracking
        if own is None:
            return self.tracking
        return self.tracking.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )
