"""`alprd recognize` and `alprd watch` as processes, the latter against a real broker."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from support.broker import Broker, free_port
from support.daemon import alprd, environment
from support.shape_classifier import write_shape_classifier
from support.street import write_street_clip
from support.subscriber import Subscriber
from support.tiny_models import blank_picture, box_quad, draw_plate, draw_vehicle

EVENT = {
    "schema": "alprd.plate/1",
    "seq": 1,
    "camera_id": "gate",
    "plate": "AB12CDE",
    "confidence": 0.97,
    "reads": {"count": 31, "agreeing": 29},
    "captured_at": "2026-11-21T09:12:03.120Z",
    "direction": {"label": "approaching", "heading_deg": 184.0, "zone": None},
    "speed": None,
}


def test_recognize_prints_one_line_of_json_per_pass_and_nothing_else(
    models_dir: Path, tmp_path: Path
) -> None:
    clip = write_street_clip(tmp_path / "clip.mp4", ["AB12CDE", "K7XLS"])
    done = alprd("recognize", "--models-dir", str(models_dir), str(clip))
    assert done.returncode == 0
    assert done.stderr == ""
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["plate"] for result in results] == ["AB12CDE", "K7XLS"]
    assert {result["source"] for result in results} == {str(clip)}


def test_recognize_reads_the_rest_when_a_file_is_bad_and_says_so(
    models_dir: Path, street: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    out = tmp_path / "out"
    done = alprd(
        *("recognize", "--models-dir", str(models_dir), "--annotate", str(out)),
        *(str(empty), str(street / "00006.png")),
    )
    assert done.returncode == 1
    assert [json.loads(line)["plate"] for line in done.stdout.splitlines()] == ["AB12CDE"]
    assert done.stderr.count("\n") == 1
    assert str(empty) in done.stderr
    assert [file.name for file in out.iterdir()] == ["00006-annotated.png"]


def test_recognize_with_a_missing_model_is_one_line(street: Path) -> None:
    done = alprd("recognize", "--detector", "no-such-model", str(street))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no-such-model" in done.stderr


def test_recognize_asks_every_classifier_where_none_is_named(
    models_dir: Path, tmp_path: Path
) -> None:
    models = shutil.copytree(models_dir, tmp_path / "models")
    write_shape_classifier(models / "shapes")
    write_shape_classifier(models / "fleet", head="fleet")
    image, picture = blank_picture((640, 384)), tmp_path / "car.png"
    draw_vehicle(image, "car", (160, 100, 400, 300))
    draw_plate(image, "AB12CDE", box_quad(200, 200, 360, 250))
    cv2.imwrite(str(picture), image)
    for asked, heads in (
        ((), set()),
        (("--attributes", "fleet"), {"fleet"}),
        (("--attributes",), {"fleet", "make_model"}),
    ):
        done = alprd("recognize", "--models-dir", str(models), str(picture), *asked)
        assert done.stderr == ""
        (result,) = (json.loads(line) for line in done.stdout.splitlines())
        assert set(result["vehicle"]) & {"fleet", "make_model"} == heads


def test_a_classifier_that_answers_no_question_is_told_beside_the_results(
    models_dir: Path, street: Path, tmp_path: Path
) -> None:
    models = shutil.copytree(models_dir, tmp_path / "models")
    write_shape_classifier(models / "fleet")
    write_shape_classifier(models / "copy")  # with the same question
    picture = str(street / "00006.png")
    done = alprd("recognize", "--models-dir", str(models), picture, "--attributes")
    assert done.returncode == 0
    assert [json.loads(line)["plate"] for line in done.stdout.splitlines()] == ["AB12CDE"]
    assert "attributes.unusable" in done.stderr


@contextmanager
def watching(*arguments: str, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "alprd", "watch", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment({"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(fd: int, text: str, timeout_s: float = 20.0) -> str:
    """What comes out of a descriptor until `text` is in it."""
    said = b""
    give_up_at_s = time.monotonic() + timeout_s
    while text not in said.decode(errors="replace"):
        readable, _, _ = select.select([fd], [], [], max(give_up_at_s - time.monotonic(), 0.0))
        more = os.read(fd, 65536) if readable else b""
        if not more:
            raise AssertionError(f"no {text!r}; it said {said.decode(errors='replace')!r}")
        said += more
    return said.decode(errors="replace")


def test_watch_through_a_pipe_prints_a_line_per_event_and_change_of_a_camera(
    broker: Broker, topic_prefix: str
) -> None:
    with (
        Subscriber(broker, f"{topic_prefix}/#") as sender,
        watching("--url", broker.url, "--prefix", topic_prefix, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        read_until(process.stderr.fileno(), "connected")
        offline = {"state": "offline", "last_error": "no answer"}
        sender.publish(f"{topic_prefix}/gate/status", json.dumps(offline).encode())
        sender.publish(f"{topic_prefix}/gate/plates", json.dumps(EVENT).encode())
        said = read_until(process.stdout.fileno(), "AB12CDE")
        assert "camera gate: offline (no answer)\n" in said
        assert "97%" in said
        process.send_signal(signal.SIGINT)
        assert process.wait(10.0) == 0


def test_watch_as_json_passes_the_events_on_as_they_are(broker: Broker, topic_prefix: str) -> None:
    arguments = ("--url", broker.url, "--prefix", topic_prefix, "--json")
    with (
        Subscriber(broker, f"{topic_prefix}/#") as sender,
        watching(*arguments, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        sender.publish(f"{topic_prefix}/gate/plates", b"not json", retain=True)
        sender.publish(f"{topic_prefix}/yard/plates", json.dumps(EVENT).encode(), retain=True)
        said = read_until(process.stdout.fileno(), "\n")
        assert json.loads(said) == EVENT


def test_watch_on_a_terminal_keeps_a_table(broker: Broker, topic_prefix: str) -> None:
    ours, theirs = pty.openpty()
    try:
        with (
            Subscriber(broker, f"{topic_prefix}/#") as sender,
            watching("--url", broker.url, "--prefix", topic_prefix, stdout=theirs) as process,
        ):
            sender.publish(f"{topic_prefix}/gate/plates", json.dumps(EVENT).encode(), retain=True)
            said = read_until(ours, "AB12CDE")
            assert "confidence" in said
            process.send_signal(signal.SIGINT)
            assert process.wait(10.0) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_watch_waits_for_a_broker_that_is_away_and_reconnects(
    fresh_broker: Broker, topic_prefix: str
) -> None:
    arguments = ("--url", fresh_broker.url, "--prefix", topic_prefix)
    with watching(*arguments, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        read_until(process.stderr.fileno(), "connected")
        fresh_broker.stop()
        read_until(process.stderr.fileno(), "trying again")
        fresh_broker.start()
        read_until(process.stderr.fileno(), "connected")
        with Subscriber(fresh_broker, f"{topic_prefix}/#") as sender:
            sender.publish(f"{topic_prefix}/gate/plates", json.dumps(EVENT).encode(), retain=True)
        assert "AB12CDE" in read_until(process.stdout.fileno(), "AB12CDE")


def test_watch_says_what_is_wrong_with_the_broker() -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    with watching("--url", url, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert url in read_until(process.stderr.fileno(), "trying again")
        process.send_signal(signal.SIGINT)
        assert process.wait(10.0) == 0


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "mqtt://h:99999"])
def test_watch_refuses_what_is_no_broker(url: str) -> None:
    done = alprd("watch", "--url", url)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--url" in done.stderr
