"""Pictures of events in the real daemon: kept, named, bounded, sent; hidden where plates are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from support.daemon import Daemon
from support.heard import assert_no_gap, events, states
from support.payloads import schema_problems
from support.subscriber import Subscriber

pytestmark = pytest.mark.once

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

PLATES = ("AB12CDE", "K7XLS", "34A3683", "ZZ9PZA")


def camera(street: Path, **more: object) -> dict[str, object]:
    return {"id": "gate", "source": str(street), "folder_fps": 12, **more}


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.jpg"))


def decoded(data: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def health_of(subscriber: Subscriber, prefix: str) -> dict[str, Any]:
    last = subscriber.on(f"{prefix}/devices/{prefix}/health")[-1]
    figures: dict[str, Any] = json.loads(last.payload)["pipeline"]["extras"]
    return figures


def test_every_event_names_a_picture_that_is_kept_and_sent_within_the_bounds(  # noqa: PLR0917
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
    topic_prefix: str,
) -> None:
    folder = tmp_path / "images"
    left = folder / "former" / "2026-11-01" / "0193a000-0000-7000-8000-000000000001.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a camera that is no more")
    os.utime(left, (1_790_000_000, 1_790_000_000))  # months ago
    foreign = folder / "former" / "notes.txt"
    foreign.write_text("not ours")
    extra = '[images]\nenabled = true\ncrop = "frame"\npublish = true\nmin_free_bytes = 0'
    daemon = make_daemon(make_config(camera(street, realtime=True), extra=extra))
    daemon.start()
    subscriber.wait_until(lambda seen: len(events(seen)) == len(PLATES), 40.0)
    topic = f"{topic_prefix}/gate/snapshot"
    subscriber.wait_until(lambda seen: sum(m.topic == topic for m in seen) == len(PLATES))
    assert daemon.stop()[0] == 0
    heard = events(subscriber.messages)
    assert_no_gap(heard)
    assert all(schema_problems(event) == [] for event in heard)
    sent = {m.user["event_id"]: m for m in subscriber.on(topic)}
    for event in heard:
        image = event["image"]
        data = (folder / image["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == image["sha256"]
        assert len(data) == image["bytes"]
        assert list(decoded(data).shape[1::-1]) == image["size"] == event["frame_size"]
        assert image["captured_at"] == event["captured_at"]
        # The plate is where the event says: light ground, dark characters.
        (x1, y1), (x2, y2) = event["quad"][0], event["quad"][2]
        plate = decoded(data)[round(y1) : round(y2), round(x1) : round(x2)]
        assert plate.max() > 180
        assert plate.min() < 80
        message = sent[event["event_id"]]
        assert message.payload == data
        assert (message.qos, message.retain, message.expiry_s) == (0, False, 60)
        assert image["topic"] == topic
    assert len(pictures(folder)) == len(PLATES)
    assert not left.exists(), "older than the retention"
    assert foreign.read_text() == "not ours"


def test_the_bounds_hold_the_dropped_have_no_picture_and_a_full_disk_costs_only_pictures(  # noqa: PLR0917
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
    topic_prefix: str,
) -> None:
    folder = tmp_path / "images"
    (tmp_path / "staff.txt").write_text("K7XLS\n")

    def config(images: str) -> str:
        lists = f'[[lists]]\nname = "staff"\nfile = "{tmp_path}/staff.txt"\ndrop = true'
        extra = f"[health]\ninterval_s = 1\n[images]\nenabled = true\n{images}\n{lists}"
        return make_config(camera(street, loop=True), extra=extra)

    daemon = make_daemon(config("max_files = 10\nmin_free_bytes = 0"))
    daemon.start()
    seen = subscriber.wait_until(lambda seen: len(events(seen)) >= 14, 60.0)
    assert all(event["image"]["plates"] == "own" for event in events(seen))
    kept = pictures(folder)
    assert 1 <= len(kept) <= 11  # one may be new since
    assert {path.stem for path in kept} <= {e["event_id"] for e in events(subscriber.messages)} | {
        path.stem for path in kept[-1:]
    }
    # A disk that is as good as full: more than it has must stay free.
    daemon.configure(config(f"max_files = 10\nmin_free_bytes = {2**40}"))
    daemon.reload()
    refused = daemon.wait_for_log("image.not_kept")
    assert refused["reason"] == "disk_full"
    subscriber.wait_until(lambda seen: events(seen)[-1]["image"] is None)
    subscriber.wait_until(
        lambda _: health_of(subscriber, topic_prefix)["images"]["missing"].get("disk_full")
    )
    # Somebody takes the folder away: what is published goes on, and so does what comes after it.
    daemon.configure(config("max_files = 10\nmin_free_bytes = 0"))
    daemon.reload()
    subscriber.wait_until(lambda seen: events(seen)[-1]["image"] is not None)
    folder.rename(tmp_path / "elsewhere")
    subscriber.wait_until(lambda seen: events(seen)[-1]["image"] is None)
    (tmp_path / "elsewhere").rename(folder)
    subscriber.wait_until(lambda seen: events(seen)[-1]["image"] is not None)
    assert daemon.stop()[0] == 0
    assert_no_gap(events(subscriber.messages))
    assert "K7XLS" not in {event["plate"] for event in events(subscriber.messages)}
    assert "Traceback" not in daemon.log


def test_pictures_show_no_plate_that_is_hidden(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    tmp_path: Path,
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef0123456789abcdef\n")
    privacy = f'[privacy]\nplates = "hmac"\nkey_file = "{key_file}"'
    images = '[images]\nenabled = true\ncrop = "frame"\nmin_free_bytes = 0'
    refused = make_daemon(make_config(camera(street), extra=f"{images}\n{privacy}"))
    refused.spawn()
    assert refused.wait() == 78
    assert "images.plates" in refused.log
    daemon = make_daemon(
        make_config(camera(street), extra=f'{images}\nplates = "covered"\n{privacy}')
    )
    daemon.start()
    subscriber.wait_until(
        lambda seen: states(seen, "gate")[-1:] == ["ended"] and len(events(seen)) == 4, 40.0
    )
    assert daemon.stop()[0] == 0
    for event in events(subscriber.messages):
        picture = decoded((tmp_path / "images" / event["image"]["file"]).read_bytes())
        (x1, y1), (x2, y2) = event["quad"][0], event["quad"][2]
        plate = picture[round(y1) : round(y2), round(x1) : round(x2)]
        assert int(plate.max()) - int(plate.min()) < 40, "something can be read"
        assert event["plate"].startswith("hmac:")


def test_a_folder_that_cannot_be_made_is_refused_with_its_remedy(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").write_text("a file is in its place")
    daemon = make_daemon(make_config(camera(street), extra="[images]\nenabled = true"))
    daemon.spawn()
    assert daemon.wait() == 78
    assert f"images.path: pictures cannot be kept in {tmp_path / 'images'}" in daemon.log
    assert "Traceback" not in daemon.log
