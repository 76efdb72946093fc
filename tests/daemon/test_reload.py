"""SIGHUP changes what may change, leaves the rest alone, and never takes a bad configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.heard import assert_no_gap, availability, events, states
from support.subscriber import Received, Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]
pytestmark = pytest.mark.everywhere


def camera(street: Path, name: str = "gate", **more: object) -> dict[str, object]:
    return {"id": name, "source": str(street), "folder_fps": 12, "loop": True, **more}


def passes(seen: list[Received], name: str) -> int:
    return len(events(seen, name))


def test_an_added_camera_publishes_and_the_broker_session_survives(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    daemon.start()
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= 1)
    daemon.configure(make_config(camera(street), camera(street, "yard")))
    daemon.reload()
    marks = [line for line in daemon.notifications.received if line.startswith("MONOTONIC_USEC=")]
    assert len(marks) == 1
    subscriber.wait_until(lambda seen: passes(seen, "yard") >= 2)
    before = passes(subscriber.messages, "gate")
    subscriber.wait_until(lambda seen: passes(seen, "gate") > before)
    assert availability(subscriber.messages) == ["online"]  # said once per connect
    assert daemon.wait_for_log("config.reloaded")["started"] == ["yard"]
    assert daemon.stop()[0] == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
    assert "offline" not in states(heard, "gate")[1:-1]  # its stream was never interrupted


def test_a_removed_camera_ends_and_its_retained_status_is_taken_away(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    daemon = make_daemon(make_config(camera(street), camera(street, "yard")))
    daemon.start()
    subscriber.wait_until(lambda seen: passes(seen, "yard") >= 1)
    daemon.configure(make_config(camera(street)))
    daemon.reload()
    topic = f"{topic_prefix}/yard/status"
    subscriber.wait_until(lambda _: subscriber.on(topic)[-1].payload == b"", 10.0)
    before = passes(subscriber.messages, "gate")
    # Events on their way to the broker at the reload still arrive; then there are no more.
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 3)
    gone = passes(subscriber.messages, "yard")
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 6)
    assert passes(subscriber.messages, "yard") == gone


def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    daemon.start()
    daemon.configure(make_config(camera(street), camera(street), extra="[tracking]\nhold = 1"))
    daemon.reload()
    refused = [line for line in daemon.log_events if line["event"] == "config.refused"]
    assert len(refused) >= 2
    assert any("hold_s" in line["problem"] for line in refused)
    before = passes(subscriber.messages, "gate")
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 2)
    daemon.configure(make_config(camera(street), camera(street, "yard")))
    daemon.reload()
    subscriber.wait_until(lambda seen: passes(seen, "yard") >= 1)
    assert daemon.stop()[0] == 0


def test_a_file_that_breaks_the_parser_is_refused_and_the_daemon_lives_on(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    good = make_config(camera(street))
    daemon = make_daemon(good)
    daemon.start()
    for text in (
        good.replace("threads = 1", "threads = " + "9" * 5000),
        good.replace("threads = 1", "threads = 0x" + "f" * 6000),
        good.replace("[mqtt]", '[mqtt]\nca_file = "a\\u0000b"'),
        good + ".".join("x" * 5000) + " = 1\n",
    ):
        daemon.configure(text)
        daemon.reload()
    refused = [line for line in daemon.log_events if line["event"] == "config.refused"]
    assert len(refused) == 4
    before = passes(subscriber.messages, "gate")
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 2)
    assert daemon.stop()[0] == 0


def test_what_needs_a_restart_is_named_and_does_not_change(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    daemon.start()
    elsewhere = make_config(camera(street), url="mqtt://127.0.0.1:1", extra="[log]\nlevel='debug'")
    daemon.configure(elsewhere)
    daemon.reload()
    assert daemon.wait_for_log("config.needs_restart")["setting"] == "mqtt.url"
    before = passes(subscriber.messages, "gate")
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 2)


def test_a_disabled_camera_says_so_and_can_be_enabled_again(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    daemon.start()
    subscriber.wait_until(lambda seen: states(seen, "gate")[-1:] == ["online"])
    daemon.configure(make_config(camera(street, enabled=False)))
    daemon.reload()
    subscriber.wait_until(lambda seen: states(seen, "gate")[-1:] == ["disabled"])
    before = passes(subscriber.messages, "gate")
    daemon.configure(make_config(camera(street)))
    daemon.reload()
    subscriber.wait_until(lambda seen: states(seen, "gate")[-1] == "online")
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 2)


def test_a_retuned_camera_goes_on_with_its_stream(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    daemon.start()
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= 1)
    daemon.configure(make_config(camera(street, roi=[[0, 0], [0.01, 0], [0.01, 0.01]])))
    daemon.reload()
    assert daemon.wait_for_log("config.reloaded")["retuned"] == ["gate"]
    daemon.configure(make_config(camera(street)))
    daemon.reload()
    before = passes(subscriber.messages, "gate")
    subscriber.wait_until(lambda seen: passes(seen, "gate") >= before + 2)
    assert daemon.stop()[0] == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
    assert "offline" not in states(heard, "gate")[1:-1]
