"""`alprd watch --audit`, as a program, on recordings and on a real broker."""

from __future__ import annotations

import base64
import json
import signal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.broker import Broker
from support.daemon import alprd
from support.subscriber import Subscriber
from support.watching import wait_for, wait_for_text, watching

SCHEMA = Draft202012Validator(
    json.loads((files("alprd") / "schemas" / "audit-1.json").read_text(encoding="utf-8"))
)
CAPTURED_AT = "2026-11-21T09:00:00.000Z"


def event(seq: int, device: str = "edge-07", event_id: str | None = None) -> bytes:
    return json.dumps(
        {
            "schema": "alprd.plate/1",
            "seq": seq,
            "event_id": event_id or f"{device}-{seq}",
            "device_id": device,
            "camera_id": "gate",
            "captured_at": CAPTURED_AT,
        }
    ).encode()


def gap(first: int, last: int, device: str = "edge-07") -> bytes:
    return json.dumps(
        {
            "schema": "alprd.gap/1",
            "device_id": device,
            "from_seq": first,
            "to_seq": last,
            "reason": "bytes",
        }
    ).encode()


def line(kind: str, payload: bytes) -> str:
    return json.dumps(
        {
            "topic": f"alpr/{kind}",
            "payload": payload.decode(),
            "qos": 1,
            "retain": False,
            "received_at": "2026-11-21T09:00:01.500Z",
        }
    )


def recording(folder: Path, *lines: str, name: str = "recorded.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def audit(path: Path) -> tuple[int, dict[str, Any]]:
    done = alprd("watch", "--audit", "--json", "--from", str(path))
    assert done.stderr == ""
    report = json.loads(done.stdout)
    SCHEMA.validate(report)
    return done.returncode, report


def test_a_complete_recording_of_two_devices_is_proven(tmp_path: Path) -> None:
    lines = [line("gate/plates", event(seq)) for seq in (1, 2, 4, 5)]
    lines += [line("yard/plates", event(seq, "b")) for seq in (9, 8, 8)]
    path = recording(tmp_path, *lines, line("devices/edge-07/gaps", gap(3, 3)))
    code, report = audit(path)
    assert (code, report["proven"]) == (0, True)
    one, two = report["devices"][1], report["devices"][0]
    assert (one["received"], one["announced_missing"]) == (4, {"bytes": 1})
    assert (two["device_id"], two["received"], two["duplicates"]) == ("b", 2, 1)
    assert one["delay_s"]["median"] == 1.5
    done = alprd("watch", "--audit", "--from", str(path))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "audit: complete; 6 events of 2 devices"


def test_an_unexplained_gap_is_exit_code_1_and_names_the_numbers(tmp_path: Path) -> None:
    path = recording(tmp_path, *(line("gate/plates", event(seq)) for seq in (1, 2, 7, 9)))
    code, report = audit(path)
    assert code == 1
    assert report["devices"][0]["unexplained_runs"] == [[3, 6], [8, 8]]
    said = alprd("watch", "--audit", "--from", str(path)).stdout
    assert "MISSING: seq 3-6, 8" in said


def test_a_number_given_twice_is_exit_code_1(tmp_path: Path) -> None:
    twice = [event(1), event(1, event_id="another")]
    code, report = audit(recording(tmp_path, *(line("gate/plates", each) for each in twice)))
    assert code == 1
    assert report["devices"][0]["conflicts"] == 1


def test_an_empty_recording_proves_nothing(tmp_path: Path) -> None:
    done = alprd("watch", "--audit", "--from", str(recording(tmp_path)))
    assert done.returncode == 1
    assert "nothing is proven" in done.stdout


def test_a_recorder_that_was_killed_leaves_a_recording_that_can_be_read(tmp_path: Path) -> None:
    path = recording(tmp_path, line("gate/plates", event(1)))
    with path.open("a") as file:
        file.write(line("gate/plates", event(2))[:40])
    done = alprd("watch", "--audit", "--from", str(path))
    assert done.returncode == 0
    assert "cut off" in done.stderr


def test_a_recorder_that_goes_on_after_one_was_killed_begins_a_line_of_its_own(
    tmp_path: Path,
) -> None:
    path = recording(tmp_path, line("gate/plates", event(1)))
    with path.open("a") as file:
        file.write(line("gate/plates", event(2))[:40])
    new = recording(tmp_path, line("gate/plates", event(2)), name="new.jsonl")
    assert alprd("watch", "--from", str(new), "--record", str(path)).returncode == 0
    done = alprd("watch", "--audit", "--from", str(path))
    assert done.returncode == 0, done.stderr
    assert f"{path}:2: the line is cut off" in done.stderr
    assert done.stdout.splitlines()[-1] == "audit: complete; 2 events of 1 devices"


@pytest.mark.parametrize(
    "bad", ["{", "[]", '{"topic": "a"}', line("a/plates", b"x").replace("Z", ""), '{"topic": 5}']
)
def test_a_line_that_is_no_message_is_named(tmp_path: Path, bad: str) -> None:
    path = recording(tmp_path, line("gate/plates", event(1)), bad)
    done = alprd("watch", "--audit", "--from", str(path))
    assert done.returncode == 1
    assert f"{path}:2: no recorded message" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_that_is_not_there_is_one_line_on_standard_error(tmp_path: Path) -> None:
    done = alprd("watch", "--audit", "--from", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be read" in done.stderr


def test_a_recording_can_be_shown_as_lines(tmp_path: Path) -> None:
    binary = json.loads(line("gate/plates", b""))
    del binary["payload"]
    binary["payload_base64"] = base64.b64encode(b"\xff\xd8\xff").decode()
    path = recording(tmp_path, json.dumps(binary), line("gate/plates", event(1)))
    done = alprd("watch", "--from", str(path))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def test_a_live_audit_hears_the_broker_and_ends_with_its_verdict_at_ctrl_c(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    path = tmp_path / "heard.jsonl"
    options = ["--url", broker.url, "--prefix", topic_prefix, "--record", str(path)]
    with (
        Subscriber(broker, f"{topic_prefix}/nothing") as publisher,
        watching("--audit", "--json", *options) as watcher,
    ):
        marker = f"{topic_prefix}/gate/status"
        _publish_until_recorded(publisher, marker, path)
        for seq in (1, 2, 4):
            publisher.publish(f"{topic_prefix}/gate/plates", event(seq))
        publisher.publish(f"{topic_prefix}/devices/edge-07/gaps", gap(3, 3))
        wait_for_text(path, "alprd.gap/1")
        watcher.send_signal(signal.SIGINT)
        out, _ = watcher.communicate(timeout=20)
    assert watcher.returncode == 0
    report = json.loads(out)
    assert report["devices"][0]["received"] == 3
    assert report["devices"][0]["announced_missing"] == {"bytes": 1}
    assert report["devices"][0]["delay_s"]["count"] == 3
    assert audit(path)[1]["devices"] == report["devices"]


def test_a_session_misses_nothing_while_the_auditor_is_away(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    path = tmp_path / "heard.jsonl"
    options = ["--url", broker.url, "--prefix", topic_prefix, "--record", str(path)]
    options += ["--session", f"audit-{topic_prefix}", "--json"]
    with Subscriber(broker, f"{topic_prefix}/nothing") as publisher:
        with watching("--audit", *options) as watcher:
            _publish_until_recorded(publisher, f"{topic_prefix}/gate/status", path)
            publisher.publish(f"{topic_prefix}/gate/plates", event(1))
            wait_for_text(path, '\\"seq\\": 1,')
            watcher.send_signal(signal.SIGINT)
            watcher.communicate(timeout=20)
        for seq in (2, 3):  # nobody is there
            publisher.publish(f"{topic_prefix}/gate/plates", event(seq))
        with watching("--audit", *options) as watcher:
            wait_for_text(path, '\\"seq\\": 3,')
            watcher.send_signal(signal.SIGINT)
            out, _ = watcher.communicate(timeout=20)
    assert watcher.returncode == 0
    assert json.loads(out)["devices"][0]["received"] == 2
    code, report = audit(path)
    assert (code, report["devices"][0]["received"]) == (0, 3)


def test_a_live_audit_ends_by_itself_after_its_time(broker: Broker, topic_prefix: str) -> None:
    done = alprd("watch", "--audit", "--url", broker.url, "--prefix", topic_prefix, "--for", "1")
    assert done.returncode == 1
    assert "nothing is proven" in done.stdout


def _publish_until_recorded(publisher: Subscriber, topic: str, path: Path) -> None:
    """The subscription is there once the recorder has heard something."""
    wait_for(path.exists)
    wait_for(lambda: publisher.publish(topic, b"{}") or path.stat().st_size > 0)
