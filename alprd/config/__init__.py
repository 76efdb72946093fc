"""The configuration: its models, and the only reader of files and environment."""

from alprd.config.load import ConfigError, load_settings, public_dump
from alprd.config.models import (
    CameraSettings,
    CommandsSettings,
    HealthSettings,
    HomeAssistantSettings,
    InferenceSettings,
    ListSettings,
    LogSettings,
    MqttSettings,
    OutboxSettings,
    PrivacySettings,
    ProcessSettings,
    Settings,
    TrackingSettings,
)
from alprd.config.speed import SpeedSettings

__all__ = [
    "CameraSettings",
    "CommandsSettings",
    "ConfigError",
    "HealthSettings",
    "HomeAssistantSettings",
    "InferenceSettings",
    "ListSettings",
    "LogSettings",
    "MqttSettings",
    "OutboxSettings",
    "PrivacySettings",
    "ProcessSettings",
    "Settings",
    "SpeedSettings",
    "TrackingSettings",
    "load_settings",
    "public_dump",
]
