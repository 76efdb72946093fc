"""The configuration: its models, and the only reader of files and environment."""

from alprd.config.load import ConfigError, load_settings, public_dump
from alprd.config.models import (
    CameraSettings,
    HealthSettings,
    InferenceSettings,
    LogSettings,
    MqttSettings,
    OutboxSettings,
    ProcessSettings,
    Settings,
    TrackingSettings,
)

__all__ = [
    "CameraSettings",
    "ConfigError",
    "HealthSettings",
    "InferenceSettings",
    "LogSettings",
    "MqttSettings",
    "OutboxSettings",
    "ProcessSettings",
    "Settings",
    "TrackingSettings",
    "load_settings",
    "public_dump",
]
