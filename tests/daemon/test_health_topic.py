"""The health topic of a running daemon with four cameras, and its alerts, each there and gone."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from support.blind_pictures import rendered_streets
from support.broker import Broker, free_port
from support.clips import run_ffmpeg
from support.daemon import Daemon
from support.payloads import validator
from support.street import write_street_clip
from support.subscriber import Received, Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

QUICK = "[health]\ninterval_s = 1.0\ntegrastats = '{program}'\n[alerts]\n{more}\n"
BRISK = "raise_after_s = 1.0\nclear_after_s = 1.0\nfrozen_s = 5.0"
COOL = "RAM 900/7620MB (lfb 8x2MB) CPU [15%@729] cpu@53.9C VDD_IN 12400mW/12300mW"


@pytest.fixture(scope="session")
def street_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_street_clip(tmp_path_factory.mktemp("clips") / "street.mp4", ["AB12CDE"])


@pytest.fixture
def tegrastats(tmp_path: Path) -> tuple[Path, Path]:
    """A program that says again and again what stands in a file."""
    program, line = tmp_path / "tegrastats", tmp_path / "line"
    line.write_text(COOL + "\n")
    program.write_text(f"#!/bin/sh\nwhile cat {line}; do sleep 0.2; done\n")
    program.chmod(0o755)
    return program, line


def samples(messages: list[Received]) -> list[dict[str, Any]]:
    return [json.loads(m.payload) for m in messages if m.topic.endswith("/health") and m.payload]


def problems(name: str, payload: object) -> list[str]:
    return [f"{e.json_path}: {e.message}" for e in validator(name).iter_errors(payload)]


def four(clip: Path) -> list[dict[str, object]]:
    return [
        {"id": f"cam-{n}", "source": str(clip), "realtime": True, "loop": True} for n in range(4)
    ]


def assert_valid_and_alive(subscriber: Subscriber, from_s: float, seconds: float) -> None:
    """Every message on health is valid, they come in time, and four cameras are looked at."""
    subscriber.wait_until(
        lambda seen: time.monotonic() - from_s >= seconds and samples(seen), seconds + 30.0
    )
    seen = samples(subscriber.messages)
    assert [problem for sample in seen for problem in problems("health-1", sample)] == []
    assert len(seen) >= 0.5 * seconds
    last = seen[-1]["pipeline"]
    assert [camera["id"] for camera in last["cameras"]] == [f"cam-{n}" for n in range(4)]
    for camera in last["cameras"]:
        assert camera["state"] == "online"
        assert camera["processed_fps"] > 0.0
        assert camera["last_frame_age_s"] < 5.0
        # Between two cars the tiny models' street is nothing but grey.
        assert camera["picture"] in {"clear", "covered"}
    assert last["inference"]["stages"]["detect"]["median_ms"] > 0.0
    assert last["delivery"]["connected"] is True
    assert last["models"]["mismatch"] is None
    assert {m.qos for m in subscriber.messages if m.topic.endswith("/health")} == {0}


def test_four_cameras_give_a_valid_health_message_every_interval(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street_clip: Path,
    tegrastats: tuple[Path, Path],
) -> None:
    more = QUICK.format(program=tegrastats[0], more="")
    port = free_port()
    more += f"[metrics]\nenabled = true\nport = {port}\n"
    daemon = make_daemon(make_config(*four(street_clip), extra=more))
    daemon.start()
    assert_valid_and_alive(subscriber, time.monotonic(), 6.0)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    assert 'alprd_camera_online{camera="cam-3"} 1.0' in metrics
    last = samples(subscriber.messages)[-1]
    assert last["sources"]["memory"] == "tegrastats"
    assert last["tegrastats"]["coverage"] == 1.0
    assert daemon.stop()[0] == 0


@pytest.mark.soak
def test_four_cameras_give_valid_health_messages_for_a_minute(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street_clip: Path
) -> None:
    more = QUICK.format(program="", more="")
    daemon = make_daemon(make_config(*four(street_clip), extra=more))
    daemon.start()
    assert_valid_and_alive(subscriber, time.monotonic(), 60.0)
    assert daemon.stop()[0] == 0


def test_a_gpu_driver_that_hangs_costs_its_figures_and_nothing_else(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street_clip: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "pynvml.py").write_text(
        "import time\nclass NVMLError(Exception): ...\ndef nvmlInit(): time.sleep(600)\n"
    )
    more = QUICK.format(program="", more="")
    camera = {"id": "gate", "source": str(street_clip), "realtime": True, "loop": True}
    daemon = make_daemon(make_config(camera, extra=more), environ={"PYTHONPATH": str(folder)})
    daemon.start()
    subscriber.wait_until(lambda seen: len(samples(seen)) >= 3)
    seen = samples(subscriber.messages)
    assert [sample["gpu"] for sample in seen] == [None] * len(seen)
    assert seen[-1]["disk"] is not None
    failed = [e["part"] for e in daemon.log_events if e["event"] == "health.failed"]
    assert failed == ["gpus"]
    assert daemon.stop()[0] == 0


class Alerts:
    """What stands on the topics of the alerts."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def wait(self, kind: str, subject: str | None, *, there: bool) -> None:
        """Until the kind's newest message has (or has not) an alert about this subject."""

        def holds(messages: list[Received]) -> bool:
            found = [m for m in messages if m.topic.endswith(f"/alerts/{kind}")]
            if not found:
                return False
            said = json.loads(found[-1].payload)["alerts"] if found[-1].payload else []
            return there is (subject in [alert["subject"] for alert in said])

        self._subscriber.wait_until(holds, 40.0)


def test_alerts_of_a_running_daemon_come_and_go(  # noqa: PLR0917 -- fixtures
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street_clip: Path,
    tegrastats: tuple[Path, Path],
    models_dir: Path,
    tmp_path: Path,
) -> None:
    program, line = tegrastats
    late = tmp_path / "late.mp4"
    models = tmp_path / "models"
    shutil.copytree(models_dir, models)
    dark = tmp_path / "dark.mp4"
    pictures = b"".join(picture.tobytes() for picture in rendered_streets(12))
    layout = "-f rawvideo -pix_fmt bgr24 -s 640x360 -r 2 -i - -c:v libx264 -preset ultrafast"
    run_ffmpeg(
        [*layout.split(), "-vf", "drawbox=color=black:t=fill:enable='lt(t,3)'", str(dark)],
        data=pictures,
    )
    cameras = [
        {"id": "late", "source": str(late), "realtime": True, "loop": True, "retry_max_s": 1.0},
        {"id": "dark", "source": str(dark), "realtime": True, "loop": True},
        {"id": "slow", "source": str(street_clip), "realtime": True, "loop": True, "min_fps": 200},
    ]
    more = QUICK.format(program=program, more=f"{BRISK}\ndisk_free_share = 0.9")

    def config(*, extra: str) -> str:
        return make_config(*cameras, extra=extra).replace(str(models_dir), str(models))

    daemon = make_daemon(config(extra=more))
    daemon.start()
    alerts = Alerts(subscriber)
    line.write_text(COOL.replace("cpu@53.9C", "cpu@97.5C").replace("900/", "7600/") + "\n")
    alerts.wait("over_temperature", "cpu", there=True)
    alerts.wait("low_memory", None, there=True)
    alerts.wait("disk_nearly_full", None, there=True)
    alerts.wait("camera_stalled", "late", there=True)
    alerts.wait("fps_below_target", "slow", there=True)
    alerts.wait("camera_blind", "dark", there=True)
    alerts.wait("camera_blind", "dark", there=False)
    manifest = models / "detector" / "manifest.toml"
    if not manifest.exists():
        manifest = next(models.glob("*/manifest.toml"))
    text = manifest.read_text()
    manifest.write_text("damaged")
    alerts.wait("engine_mismatch", None, there=True)

    line.write_text(COOL + "\n")
    late.write_bytes(street_clip.read_bytes())
    manifest.write_text(text)
    cameras[2]["min_fps"] = 1.0
    daemon.configure(
        config(extra=QUICK.format(program=program, more=f"{BRISK}\ndisk_free_share=0"))
    )
    daemon.reload()
    for kind, subject in (
        ("over_temperature", "cpu"),
        ("low_memory", None),
        ("disk_nearly_full", None),
        ("camera_stalled", "late"),
        ("fps_below_target", "slow"),
        ("engine_mismatch", None),
    ):
        alerts.wait(kind, subject, there=False)
    for message in subscriber.messages:
        if "/alerts/" in message.topic and message.payload:
            assert problems("alert-1", json.loads(message.payload)) == []
            assert message.qos == 1
    said = [sample["alerts"] for sample in samples(subscriber.messages)]
    assert {alert["kind"] for each in said for alert in each} >= {"over_temperature", "low_memory"}
    assert [
        problem for s in samples(subscriber.messages) for problem in problems("health-1", s)
    ] == []
    raised = [e["kind"] for e in daemon.log_events if e["event"] == "alert.raised"]
    cleared = [e["kind"] for e in daemon.log_events if e["event"] == "alert.cleared"]
    assert set(raised) - set(cleared) <= {"clock_not_synchronised", "camera_blind"}
    assert daemon.stop()[0] == 0


def test_an_alert_that_an_earlier_run_left_is_taken_away(  # noqa: PLR0917 -- fixtures
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
    broker: Broker,
) -> None:
    topic = f"{topic_prefix}/devices/{topic_prefix}/alerts/over_temperature"
    subscriber.publish(topic, b'{"left": "behind"}', retain=True)
    daemon = make_daemon(
        make_config({"id": "gate", "source": str(street)}, extra="[alerts]\nenabled = false")
    )
    daemon.start()
    subscriber.wait_until(lambda seen: any(m.topic == topic and not m.payload for m in seen))
    with Subscriber(broker, f"{topic_prefix}/#") as later:
        later.wait_until(lambda seen: any(m.topic.endswith("/availability") for m in seen))
        assert later.on(topic) == []


def test_events_that_wait_for_a_broker_raise_an_alert_until_it_is_back(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    street: Path,
    make_broker: Callable[[], Broker],
) -> None:
    late = make_broker()
    more = QUICK.format(program="", more=f"{BRISK}\noutbox_wait_s = 1.0")
    config = make_config({"id": "gate", "source": str(street)}, url=late.url, extra=more)
    daemon = make_daemon(config)
    daemon.start()
    raised = daemon.wait_for_log_where("alert.raised", kind="outbox_growing")
    assert "events wait for the broker" in raised["message"]
    late.start()
    daemon.wait_for_log_where("alert.cleared", kind="outbox_growing")
    assert daemon.stop()[0] == 0
