"""The host: systemd, heartbeats and health."""
