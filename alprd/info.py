"""What the daemon tells others about itself: the `info` message and the effective settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alprd import __version__
from alprd.config import Settings, public_dump
from alprd.core.secrets import mask_credentials
from alprd.inference.attributes import AttributeStage
from alprd.publish.loop import PublisherStats

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def public_settings(settings: Settings) -> dict[str, Any]:
    """The settings in force as plain values for JSON and TOML, credentials masked, no None.

    A camera's own tracking table is shown completed with the common one.
    """
    completed = settings.model_copy(
        update={
            "cameras": tuple(
                camera.model_copy(update={"tracking": settings.tracking_of(camera)})
                if camera.tracking is not None
                else camera
                for camera in settings.cameras
            )
        }
    )
    return {key: _without_none(value) for key, value in public_dump(completed).items()}


def info_payload(
    settings: Settings,
    *,
    backend: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
    models: Mapping[str, str],
    versions: Mapping[str, str],
    boot_id: str | None,
    delivery: Mapping[str, Any],
    attributes: AttributeStage | None = None,
) -> dict[str, Any]:
    """The retained message on `devices/<device>/info`.

    Args:
        settings: in force.
        backend: what runs the models.
        reason: why this backend.
        details: what it runs on: GPU, versions, the engine plans' identities.
        models: model name -> "sha256:...".
        versions: name -> version of what alprd rests on.
        boot_id: changes when the machine restarts; None where the kernel does not tell.
        delivery: what somebody should look into about outbox and broker.
        attributes: what says what vehicles are; None where no classifier is configured.
    """
    about: Mapping[str, Any] = {} if attributes is None else attributes.figures()
    return {
        "schema": "alprd.info/1",
        "device_id": settings.device_id,
        "software": f"alprd {__version__}",
        "versions": dict(versions),
        "boot_id": boot_id,
        "inference": {"backend": backend, "reason": mask_credentials(reason), **(details or {})},
        "attributes": {
            "running": about.get("running", []),
            "problems": about.get("problems", {}),
        },
        "models": dict(models),
        "delivery": dict(delivery),
        "cameras": [
            {"id": camera.id, "enabled": camera.enabled, "source": mask_credentials(camera.source)}
            for camera in settings.cameras
        ],
        "config": public_settings(settings),
    }


def status_line(*, online: int, enabled: int, events: int, stats: PublisherStats) -> str:
    """What `systemctl status` shows."""
    broker = "connected" if stats.connected else f"away ({stats.last_error or 'connecting'})"
    return mask_credentials(
        f"{online} of {enabled} cameras online, {events} events, "
        f"{stats.pending} waiting in the outbox, broker {broker}"
    )


def read_boot_id(path: Path = _BOOT_ID) -> str | None:
    """The kernel's id of this boot."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _without_none(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
