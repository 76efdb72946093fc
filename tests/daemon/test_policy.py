"""Lists, pseudonyms and Home Assistant's message, in the real daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft202012Validator

from alprd.core.privacy import pseudonym
from support.broker import Broker
from support.daemon import Daemon
from support.heard import assert_no_gap, events
from support.payloads import schema_problems
from support.subscriber import Received, Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

PLATES = ("AB12CDE", "K7XLS", "34A3683", "ZZ9PZA")
KEY = "0123456789abcdef0123456789abcdef"


def camera(street: Path, **more: object) -> dict[str, object]:
    return {"id": "gate", "source": str(street), "folder_fps": 12, "loop": True, **more}


def plates(seen: list[Received]) -> list[str]:
    return [event["plate"] for event in events(seen)]


def test_no_plate_leaves_a_daemon_that_hides_them_and_lists_match_all_the_same(  # noqa: PLR0917
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
    topic_prefix: str,
) -> None:
    staff, residents = tmp_path / "staff.txt", tmp_path / "residents.txt"
    staff.write_text("K7 XLS  # never published\n")
    residents.write_text("AB-12 CDF\n")  # one character beside
    key_file = tmp_path / "key"
    key_file.write_text(KEY + "\n")
    extra = f"""
[privacy]
plates = "hmac"
key_file = "{key_file}"
[log]
level = "debug"
[[lists]]
name = "staff"
file = "{staff}"
drop = true
[[lists]]
name = "residents"
file = "{residents}"
match = "fuzzy"
"""
    daemon = make_daemon(make_config(camera(street), extra=extra))
    daemon.start()
    hidden = {plate: pseudonym(plate, KEY.encode()) for plate in PLATES}
    subscriber.wait_until(lambda seen: set(plates(seen)) >= {hidden["34A3683"], hidden["ZZ9PZA"]})
    subscriber.publish(f"{topic_prefix}/gate/cmd/snapshot", b"")
    answered = f"{topic_prefix}/gate/res/snapshot"
    subscriber.wait_until(lambda seen: any(m.topic == answered for m in seen))
    assert "privacy.plates" in json.loads(subscriber.on(answered)[0].payload)["error"]
    lists = {event["plate"]: event["lists"] for event in events(subscriber.messages)}
    assert lists[hidden["AB12CDE"]] == ["residents"]
    assert lists[hidden["34A3683"]] == []
    assert hidden["K7XLS"] not in lists

    # The file changes, the daemon is told nothing.
    residents.write_text("34A3683\n")
    daemon.wait_for_log("lists.loaded")
    subscriber.wait_until(
        lambda seen: (
            any(e["lists"] == ["residents"] for e in events(seen)[-2:])
            and events(seen)[-1]["plate"] == hidden["34A3683"]
        ),
        30.0,
    )
    residents.write_text("this is no list?\n")
    refused = daemon.wait_for_log("lists.refused")
    assert "the 1 plates from before" in refused["in_force"]
    health = f"{topic_prefix}/devices/{topic_prefix}/health"
    subscriber.wait_until(
        lambda _: any(
            json.loads(m.payload)["pipeline"]["rules"]["lists"][1]["error"]
            for m in subscriber.on(health)
        ),
        30.0,
    )
    assert daemon.stop()[0] == 0
    heard = subscriber.messages
    assert_no_gap(events(heard))
    assert all(schema_problems(event) == [] for event in events(heard))
    for plate in PLATES:
        assert plate not in daemon.log
        assert not [m.topic for m in heard if plate.encode() in m.payload]
    assert KEY not in daemon.log
    assert not [m.topic for m in heard if KEY.encode() in m.payload]
    # Nor on disk: what waits there is what would be published.
    assert not [plate for plate in PLATES if plate.encode() in daemon.outbox_path.read_bytes()]


def test_only_listed_plates_are_published_without_a_gap(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "deny.txt").write_text("ZZ9PZA\n")
    extra = (
        f'[privacy]\ndrop_unlisted = true\n[[lists]]\nname = "deny"\nfile = "{tmp_path}/deny.txt"'
    )
    daemon = make_daemon(make_config(camera(street), extra=extra))
    daemon.start()
    subscriber.wait_until(lambda seen: len(plates(seen)) >= 2, 30.0)
    assert daemon.stop()[0] == 0
    assert set(plates(subscriber.messages)) == {"ZZ9PZA"}
    assert_no_gap(events(subscriber.messages))


def test_home_assistant_finds_the_device_also_when_it_comes_later(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    broker: Broker,
    street: Path,
    topic_prefix: str,
) -> None:
    prefix = f"{topic_prefix}-ha"
    extra = f'[homeassistant]\nenabled = true\nprefix = "{prefix}"'
    daemon = make_daemon(make_config(camera(street), extra=extra))
    daemon.start()
    topic = f"{prefix}/device/{topic_prefix}/config"
    with Subscriber(broker, topic) as early:
        early.wait_for(1)
    with Subscriber(broker, topic) as home_assistant:
        (message,) = home_assistant.wait_for(1)
        assert message.retain
        text = (files("alprd") / "schemas" / "homeassistant-device.json").read_text("utf-8")
        Draft202012Validator(json.loads(text)).validate(json.loads(message.payload))
        assert "gate_plate" in json.loads(message.payload)["components"]
        daemon.configure(make_config(camera(street)))
        daemon.reload()
        home_assistant.wait_until(lambda seen: seen[-1].payload == b"")
    assert daemon.stop()[0] == 0
