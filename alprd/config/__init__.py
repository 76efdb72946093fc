"""The configuration: its models, and the only reader of files and environment."""

from alprd.config.load import ConfigError, load_inference, load_settings, public_dump
from alprd.config.models import (
    AlertsSettings,
    CameraSettings,
    CommandsSettings,
    HealthSettings,
    HomeAssistantSettings,
    ImagesSettings,
    InferenceSettings,
    ListSettings,
    LogSettings,
    MetricsSettings,
    MqttSettings,
    OutboxSettings,
    PrivacySettings,
    ProcessSettings,
    Settings,
    TrackingSettings,
    TracksSettings,
)
from alprd.config.speed import SpeedSettings

__all__ = [
    "AlertsSettings",
    "CameraSettings",
    "CommandsSettings",
    "ConfigError",
    "HealthSettings",
    "HomeAssistantSettings",
    "ImagesSettings",
    "InferenceSettings",
    "ListSettings",
    "LogSettings",
    "MetricsSettings",
    "MqttSettings",
    "OutboxSettings",
    "PrivacySettings",
    "ProcessSettings",
    "Settings",
    "SpeedSettings",
    "TrackingSettings",
    "TracksSettings",
    "load_inference",
    "load_settings",
    "public_dump",
]
