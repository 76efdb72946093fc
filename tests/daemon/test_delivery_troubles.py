"""The whole daemon over a damaged outbox, a full disk, and a broker that forbids one camera."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.broker import Broker
from support.daemon import Daemon
from support.heard import assert_no_gap, availability, events
from support.outboxes import open_outbox, rows
from support.subscriber import Received, Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]


def infos(messages: list[Received]) -> list[dict[str, Any]]:
    return [json.loads(m.payload) for m in messages if m.topic.endswith("/info")]


def gaps(messages: list[Received]) -> list[tuple[int, int, str]]:
    found = [json.loads(m.payload) for m in messages if m.topic.endswith("/gaps")]
    return [(gap["from_seq"], gap["to_seq"], gap["reason"]) for gap in found]


def test_a_damaged_outbox_is_set_aside_the_loss_announced_and_info_says_so(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
) -> None:
    with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        outbox.add(rows(5))
    (tmp_path / "outbox.sqlite").write_bytes(os.urandom(20_000))
    camera = {"id": "gate", "source": str(street), "folder_fps": 12}
    daemon = make_daemon(make_config(camera))
    daemon.start()
    heard = subscriber.wait_until(lambda seen: infos(seen) and len(events(seen)) >= 2)
    assert min(event["seq"] for event in events(heard)) > 5
    subscriber.wait_until(gaps)
    ((first, last, reason),) = gaps(subscriber.messages)
    assert (first, reason) == (1, "damaged")
    assert last + 1 == min(event["seq"] for event in events(subscriber.messages))
    delivery = infos(subscriber.messages)[-1]["delivery"]
    assert ".corrupt-" in delivery["outbox_set_aside"]
    assert delivery["lost"] == last
    assert daemon.stop()[0] == 0


def test_a_disk_that_takes_nothing_for_a_while_costs_no_event(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12, "loop": True}
    daemon = make_daemon(make_config(camera, extra="[health]\ninterval_s = 1"))
    daemon.start()
    subscriber.wait_until(lambda seen: len(events(seen)) >= 3)
    # As on a full disk, no file can grow; its log may stay behind as well, and harms nobody.
    soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1, hard))
    before = len(events(subscriber.messages))
    health = f"{subscriber.messages[0].topic.split('/')[0]}/devices/"
    subscriber.wait_until(
        lambda seen: any(
            json.loads(m.payload)["pipeline"]["inference"]["unsaved_events"] >= 2
            for m in seen
            if m.topic.startswith(health) and m.topic.endswith("/health")
        ),
        60.0,
    )
    assert daemon.running
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    subscriber.wait_until(lambda seen: len(events(seen)) >= before + 6, 60.0)
    assert daemon.stop()[0] == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
    assert gaps(heard) == []


def test_a_camera_that_the_broker_forbids_stops_no_other_and_info_names_it(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    make_broker: Callable[..., Broker],
    street: Path,
    topic_prefix: str,
) -> None:
    broker = make_broker()
    acl = broker.folder / "acl"
    acl.write_text(
        f"topic readwrite {topic_prefix}/good/#\ntopic readwrite {topic_prefix}/devices/#\n"
    )
    broker.configure(f"allow_anonymous true\nacl_file {acl}\n")
    broker.start()
    cameras = [{"id": name, "source": str(street), "folder_fps": 12} for name in ("bad", "good")]
    daemon = make_daemon(make_config(*cameras, url=broker.url))
    with Subscriber(broker, f"{topic_prefix}/#") as subscriber:
        daemon.start()
        subscriber.wait_until(lambda seen: len(events(seen, "good")) >= 4)
        heard = subscriber.wait_until(
            lambda seen: any(info["delivery"]["parked"] >= 4 for info in infos(seen)), 30.0
        )
        said = [info["delivery"]["last_refusal"] for info in infos(heard)]
        assert f"{topic_prefix}/bad/plates: Not authorized" in said
        assert events(heard, "bad") == []
        subscriber.wait_until(lambda seen: len(gaps(seen)) >= 1)
        assert {reason for _, _, reason in gaps(subscriber.messages)} == {"refused"}
        assert daemon.stop()[0] == 0


def test_a_camera_that_left_while_the_daemon_was_off_leaves_nothing_on_the_broker(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    cameras = [{"id": name, "source": str(street), "folder_fps": 12} for name in ("old", "gate")]
    found_by = f"[homeassistant]\nenabled = true\nprefix = '{topic_prefix}/ha'"
    status = f"{topic_prefix}/old/status"
    daemon = make_daemon(make_config(*cameras, extra=found_by))
    daemon.start()
    subscriber.wait_until(lambda _: bool(subscriber.on(status)))
    assert daemon.stop()[0] == 0
    daemon = make_daemon(make_config(cameras[1]))
    daemon.start()
    subscriber.wait_until(
        lambda seen: (
            {m.topic for m in seen if m.payload == b""}
            >= {status, next(m.topic for m in seen if m.topic.endswith("/config"))}
        )
    )
    assert daemon.stop()[0] == 0
