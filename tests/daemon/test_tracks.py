"""Live tracks in the real daemon: what is told while a vehicle is in view, and what is not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from alprd.core.events import format_time
from support.broker import Broker
from support.daemon import Daemon
from support.heard import assert_no_gap, events, states
from support.payloads import validator
from support.subscriber import Received, Subscriber
from support.watching import watching

pytestmark = pytest.mark.once

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

PLATES = ("AB12CDE", "K7XLS", "34A3683", "ZZ9PZA")
OFTEN = "[tracks]\nenabled = true\ninterval_s = 0.1"


def camera(street: Path, **more: object) -> dict[str, object]:
    return {"id": "gate", "source": str(street), "folder_fps": 12, "realtime": True, **more}


def tracks(messages: Iterable[Received]) -> list[dict[str, Any]]:
    return [json.loads(m.payload) for m in messages if m.topic.endswith("/tracks")]


def told(messages: Iterable[Received]) -> dict[str, list[dict[str, Any]]]:
    """Event id -> what was told of it, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for track in tracks(messages):
        found.setdefault(track["event_id"], []).append(track)
    return found


def is_over(messages: Iterable[Received]) -> bool:
    """Whether every track that was told of has ended."""
    found = told(messages)
    return bool(found) and all(each[-1]["kind"] == "end" for each in found.values())


def problems(messages: Iterable[Received]) -> list[str]:
    return [
        e.message for track in tracks(messages) for e in validator("track-1").iter_errors(track)
    ]


def test_every_pass_is_told_from_its_first_read_to_its_event(  # noqa: PLR0917
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    broker: Broker,
    street: Path,
    topic_prefix: str,
) -> None:
    daemon = make_daemon(make_config(camera(street), extra=OFTEN))
    options = ("--url", broker.url, "--prefix", topic_prefix)
    with watching(*options, "--tracks") as watch:
        daemon.start()
        subscriber.wait_until(
            lambda seen: len([t for t in tracks(seen) if t["kind"] == "end"]) == len(PLATES), 40.0
        )
        assert watch.stdout is not None
        shown = ""
        while "(end, seq 4)" not in shown:
            line = watch.stdout.readline()
            assert line, f"it ended after {shown}"
            shown += line
    assert "(new)" in shown
    assert "(update)" in shown
    assert daemon.stop()[0] == 0
    heard = subscriber.messages
    assert_no_gap(events(heard))
    seqs = {event["event_id"]: (event["plate"], event["seq"]) for event in events(heard)}
    found = told(heard)
    assert set(found) == set(seqs)
    for event_id, messages in found.items():
        kinds = [message["kind"] for message in messages]
        assert kinds[0] == "new"
        assert kinds[-1] == "end"
        assert len(kinds) >= 4, "nothing between them"
        assert set(kinds[1:-1]) == {"update"}
        last = messages[-1]
        assert (last["plate"], last["seq"], last["published"]) == (*seqs[event_id], True)
        assert not messages[0]["published"]
        assert messages[0]["quad"] != messages[-1]["quad"], "the quad is not the newest one"
    assert problems(heard) == []
    (message, *_) = subscriber.on(f"{topic_prefix}/gate/tracks")
    assert (message.qos, message.retain, message.expiry_s) == (0, False, 30)
    assert message.user == {"schema": "alprd.track/1"}
    assert b"tracks" not in daemon.outbox_path.read_bytes()


def test_a_disabled_camera_ends_its_tracks_and_a_reload_takes_them_up_and_lets_them_go(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    looped = camera(street, loop=True)
    daemon = make_daemon(make_config(looped))
    daemon.start()
    subscriber.wait_until(lambda seen: len(events(seen)) >= 1, 30.0)
    assert tracks(subscriber.messages) == [], "nobody asked for tracks"
    daemon.configure(make_config({**looped, "tracks": True}, extra="[tracks]\ninterval_s = 0.1"))
    daemon.reload()
    subscriber.wait_until(lambda seen: [t for t in tracks(seen)[-1:] if t["kind"] == "update"])
    subscriber.publish(f"{topic_prefix}/gate/cmd/disable", b"")
    subscriber.wait_until(lambda seen: states(seen, "gate")[-1] == "disabled")
    subscriber.wait_until(is_over)
    subscriber.publish(f"{topic_prefix}/gate/cmd/enable", b"")
    subscriber.wait_until(lambda seen: tracks(seen)[-1]["kind"] == "update")
    daemon.configure(make_config(looped))
    daemon.reload()
    subscriber.wait_until(is_over)
    count, passes = len(tracks(subscriber.messages)), len(events(subscriber.messages))
    subscriber.wait_until(lambda seen: len(events(seen)) >= passes + 2, 30.0)
    assert daemon.stop()[0] == 0
    heard = subscriber.messages
    assert len(tracks(heard)) == count, "they were switched off"
    assert problems(heard) == []
    assert_no_gap(events(heard))


def test_nothing_is_told_of_plates_that_are_dropped_not_even_their_misreads(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "staff.txt").write_text("K7XLS\n")
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef0123456789abcdef\n")
    extra = f"""
{OFTEN}
[privacy]
plates = "hmac"
key_file = "{key_file}"
[[lists]]
name = "staff"
file = "{tmp_path}/staff.txt"
drop = true
"""
    daemon = make_daemon(make_config(camera(street), extra=extra))
    daemon.start()
    subscriber.wait_until(
        lambda seen: states(seen, "gate")[-1:] == ["ended"] and len(events(seen)) == 3, 40.0
    )
    assert daemon.stop()[0] == 0
    heard = subscriber.messages
    # What was read before an event may be a misread of a plate that is dropped.
    assert set(told(heard)) <= {event["event_id"] for event in events(heard)}
    assert all(t["published"] and t["plate"].startswith("hmac:") for t in tracks(heard))
    assert problems(heard) == []
    for plate in PLATES:
        assert not [m.topic for m in heard if plate.encode() in m.payload]


def test_an_outage_costs_tracks_and_pictures_and_no_event(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    make_broker: Callable[..., Broker],
    street: Path,
    topic_prefix: str,
) -> None:
    own = make_broker()
    own.start()
    extra = f"{OFTEN}\n[images]\nenabled = true\npublish = true\nmin_free_bytes = 0"
    daemon = make_daemon(make_config(camera(street, loop=True), url=own.url, extra=extra))
    with Subscriber(own, f"{topic_prefix}/gate/#") as subscriber:
        daemon.start()
        subscriber.wait_until(
            lambda seen: tracks(seen) and any(m.topic.endswith("/snapshot") for m in seen), 30.0
        )
        own.stop()
        waiting = daemon.outbox_path.parent / "images"
        kept = len(list(waiting.rglob("*.jpg")))
        give_up_at_s = time.monotonic() + 30.0
        while len(list(waiting.rglob("*.jpg"))) < kept + 2 and time.monotonic() < give_up_at_s:
            threading.Event().wait(0.05)  # nobody tells us what another process writes
        own.start()
        back_at = format_time(datetime.now(timezone.utc))
        before = len(subscriber.messages)
        subscriber.wait_until(
            lambda seen: len(events(seen[before:])) >= 3 and tracks(seen[before:]), 40.0
        )
        assert daemon.stop()[0] == 0
        heard = subscriber.messages
    assert_no_gap(events(heard))
    later = [track for track in tracks(heard[before:]) if track["plate"] is not None]
    assert all(track["last_seen"] > back_at for track in later if track["kind"] != "end")
    sent = [m.user["event_id"] for m in heard if m.topic.endswith("/snapshot")]
    assert 1 <= len(sent) < len(events(heard)), "pictures of the outage came after all"
    assert len(set(sent)) == len(sent)
    assert problems(heard) == []
