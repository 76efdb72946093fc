"""What a new configuration changes in a running daemon; pure, so every case is a plain test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alprd.config import CameraSettings, Settings

# What the running threads are built on: the topics, the MQTT session, the file, the engines, and
# the times that were promised to the service manager.
# The folder of the pictures, too (see `plan_reload`); all else in [images] is taken up at once.
NEEDS_RESTART = ("device_id", "mqtt", "outbox", "inference", "process")


_PIPELINE_KEYS = ("roi", "lines", "zones", "speed", "tracks", "images")
"""Keys of a camera that its pipeline and who looks on take up while it runs, beside [tracking]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The difference between two configurations.

    Attributes:
        settings: what is in force afterwards: the new settings, with the old values wherever only
            a restart can change them.
        stop: ids of camera threads to stop (removed, changed, disabled).
        start: cameras to start (added, changed, enabled).
        removed: ids that are no longer configured.
        new_pipelines: ids whose tracks end and whose pipeline is built anew.
        retuned: ids whose pipeline goes on with other settings.
        needs_restart: names of settings that changed and wait for a restart.
    """

    settings: Settings
    stop: tuple[str, ...]
    start: tuple[CameraSettings, ...]
    removed: tuple[str, ...]
    new_pipelines: tuple[str, ...]
    retuned: tuple[str, ...]
    needs_restart: tuple[str, ...]

    @property
    def changes_cameras(self) -> bool:
        """True when anything about a camera or its pipeline changes."""
        return bool(self.stop or self.start or self.removed or self.new_pipelines or self.retuned)


def plan_reload(old: Settings, new: Settings) -> Plan:
    """Compare the settings in force with new ones; a camera that did not change is left alone."""
    before = {camera.id: camera for camera in old.cameras}
    after = {camera.id: camera for camera in new.cameras}
    changed = {
        camera_id
        for camera_id in before.keys() & after.keys()
        if _capture(before[camera_id]) != _capture(after[camera_id])
    }
    retuned = {
        camera_id
        for camera_id in before.keys() & after.keys()
        if old.tracking_of(before[camera_id]) != new.tracking_of(after[camera_id])
        or any(
            getattr(before[camera_id], name) != getattr(after[camera_id], name)
            for name in _PIPELINE_KEYS
        )
    }
    added = after.keys() - before.keys()
    removed = before.keys() - after.keys()
    needs_restart = _differing(old, new)
    if new.images.path != old.images.path:
        needs_restart += ("images.path",)
    images = new.images.model_copy(update={"path": old.images.path})
    return Plan(
        settings=new.model_copy(
            update={"images": images, **{name: getattr(old, name) for name in NEEDS_RESTART}}
        ),
        stop=tuple(sorted(removed | changed)),
        start=tuple(after[camera_id] for camera_id in after if camera_id in added | changed),
        removed=tuple(sorted(removed)),
        new_pipelines=tuple(sorted(added | changed)),
        retuned=tuple(sorted(retuned - changed)),
        needs_restart=needs_restart,
    )


def switched(settings: Settings, cameras: Mapping[str, bool]) -> Settings:
    """The settings with some cameras enabled or disabled otherwise, by their id."""
    return settings.model_copy(
        update={
            "cameras": tuple(
                camera.model_copy(update={"enabled": cameras.get(camera.id, camera.enabled)})
                for camera in settings.cameras
            )
        }
    )


def _capture(camera: CameraSettings) -> Mapping[str, object]:
    """What the capture depends on; all else is the pipeline's."""
    return {
        name: getattr(camera, name)
        for name in CameraSettings.model_fields
        if name not in (*_PIPELINE_KEYS, "tracking", "min_fps")
    }


def _differing(old: Settings, new: Settings) -> tuple[str, ...]:
    names: list[str] = []
    for section in NEEDS_RESTART:
        before, after = getattr(old, section), getattr(new, section)
        if before == after:
            continue
        if isinstance(before, str):
            names.append(section)
        else:
            names += [
                f"{section}.{key}"
                for key in type(before).model_fields
                if getattr(before, key) != getattr(after, key)
            ]
    return tuple(names)
