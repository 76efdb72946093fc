"""alprd: automatic licence plate recognition daemon with MQTT events."""

__version__ = "0.1.0"
