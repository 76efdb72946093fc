"""Reload plans: what a new configuration changes, and what it must leave alone."""

from __future__ import annotations

from typing import Any

import pytest

from alprd.config import Settings
from alprd.reload import plan_reload

SPEED = {
    "frame_size": [1280, 720],
    "points": [[412, 650], [880, 648], [700, 402], [560, 402]],
    "metres": [[0, 0], [3.5, 0], [3.5, 12], [0, 12]],
}


def settings(cameras: list[dict[str, Any]] | None = None, **sections: object) -> Settings:
    cameras = cameras if cameras is not None else [{"id": "a", "source": "/a"}]
    return Settings.model_validate({"device_id": "test", "cameras": cameras, **sections})


def test_the_same_configuration_changes_nothing() -> None:
    plan = plan_reload(settings(), settings())
    assert not plan.changes_cameras
    assert plan.needs_restart == ()


def test_an_added_camera_is_started_and_the_others_go_on() -> None:
    new = settings([{"id": "a", "source": "/a"}, {"id": "b", "source": "/b"}])
    plan = plan_reload(settings(), new)
    assert [camera.id for camera in plan.start] == ["b"]
    assert plan.new_pipelines == ("b",)
    assert plan.stop == ()


def test_a_removed_camera_is_stopped() -> None:
    old = settings([{"id": "a", "source": "/a"}, {"id": "b", "source": "/b"}])
    plan = plan_reload(old, settings())
    assert plan.stop == ("b",)
    assert plan.removed == ("b",)
    assert plan.start == ()


def test_a_changed_source_restarts_the_camera_and_ends_its_tracks() -> None:
    plan = plan_reload(settings(), settings([{"id": "a", "source": "/other"}]))
    assert plan.stop == ("a",)
    assert [camera.id for camera in plan.start] == ["a"]
    assert plan.new_pipelines == ("a",)
    assert plan.removed == ()


def test_a_changed_password_restarts_the_camera() -> None:
    old = settings([{"id": "a", "source": "rtsp://h/x", "username": "u", "password": "one"}])
    new = settings([{"id": "a", "source": "rtsp://h/x", "username": "u", "password": "two"}])
    assert plan_reload(old, new).stop == ("a",)


@pytest.mark.parametrize(
    "new",
    [
        settings([{"id": "a", "source": "/a", "roi": [[0, 0], [1, 0], [1, 1]]}]),
        settings([{"id": "a", "source": "/a", "speed": SPEED}]),
        settings([{"id": "a", "source": "/a", "tracking": {"hold_s": 3.0}}]),
        settings(tracking={"hold_s": 3.0}),
    ],
    ids=["roi", "speed", "own tracking", "common tracking"],
)
def test_a_retuned_camera_keeps_its_stream_and_the_vehicles_that_it_follows(new: Settings) -> None:
    plan = plan_reload(settings(), new)
    assert plan.changes_cameras
    assert plan.retuned == ("a",)
    assert plan.new_pipelines == ()
    assert plan.stop == ()
    assert plan.start == ()


def test_a_camera_that_is_restarted_and_retuned_begins_anew() -> None:
    new = settings([{"id": "a", "source": "/other", "tracking": {"hold_s": 3.0}}])
    plan = plan_reload(settings(), new)
    assert plan.new_pipelines == ("a",)
    assert plan.retuned == ()


def test_a_disabled_camera_is_restarted_so_that_its_thread_ends() -> None:
    plan = plan_reload(settings(), settings([{"id": "a", "source": "/a", "enabled": False}]))
    assert plan.stop == ("a",)
    assert [camera.enabled for camera in plan.start] == [False]


def test_what_only_a_restart_can_change_is_named_and_stays_in_force() -> None:
    new = settings(
        device_id="other",
        mqtt={"url": "mqtt://elsewhere"},
        inference={"threads": 3, "max_batch": 2},
    )
    plan = plan_reload(settings(), new)
    assert plan.needs_restart == (
        "device_id",
        "mqtt.url",
        "inference.max_batch",
        "inference.threads",
    )
    assert plan.settings.device_id == "test"
    assert plan.settings.mqtt == settings().mqtt
    assert plan.settings.inference == settings().inference


def test_the_log_and_health_change_at_once() -> None:
    new = settings(log={"level": "debug"}, health={"interval_s": 3.0})
    plan = plan_reload(settings(), new)
    assert plan.settings.log.level == "debug"
    assert plan.settings.health.interval_s == 3.0
    assert plan.needs_restart == ()


def test_tracks_and_pictures_of_a_camera_change_without_losing_its_vehicles() -> None:
    new = settings([{"id": "a", "source": "/a", "tracks": True, "images": True}])
    plan = plan_reload(settings(), new)
    assert (plan.stop, plan.new_pipelines, plan.retuned) == ((), (), ("a",))
    assert plan.settings.tracks_of(plan.settings.cameras[0])


def test_all_of_the_pictures_but_their_folder_changes_at_once() -> None:
    new = settings(images={"enabled": True, "quality": 50, "path": "/elsewhere"})
    plan = plan_reload(settings(), new)
    assert plan.needs_restart == ("images.path",)
    assert (plan.settings.images.quality, plan.settings.images.path) == (50, None)
