"""The process starts, says so, and stops without losing anything."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.broker import free_port
from support.daemon import Daemon
from support.heard import assert_no_gap, availability, events, states
from support.outboxes import open_outbox, peek, rows
from support.subscriber import Subscriber
from support.tiny_models import write_detector, write_reader

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]
pytestmark = pytest.mark.everywhere


def pending(daemon: Daemon) -> int:
    return len(peek(daemon.outbox_path))


def test_until_end_publishes_every_pass_once_and_ends_with_0(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    daemon = make_daemon(
        make_config({"id": "gate", "source": str(street), "folder_fps": 12}),
        arguments=["--until-end"],
    )
    daemon.start()
    assert daemon.wait() == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert [event["plate"] for event in events(heard)] == ["AB12CDE", "K7XLS", "34A3683", "ZZ9PZA"]
    assert_no_gap(events(heard))
    assert states(heard, "gate")[-1] == "ended"
    assert pending(daemon) == 0


def test_until_end_fails_when_a_file_cannot_be_opened(
    make_config: MakeConfig, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    daemon = make_daemon(
        make_config({"id": "gate", "source": str(tmp_path / "no.mp4")}), arguments=["--until-end"]
    )
    daemon.start()
    assert daemon.wait() == 1
    assert "no.mp4" in daemon.wait_for_log("camera.failed")["error"]


def test_sigterm_ends_0_in_time_and_everything_has_been_delivered(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12, "loop": True}
    daemon = make_daemon(make_config(camera))
    daemon.start()
    subscriber.wait_until(lambda seen: len(events(seen)) >= 5)
    code, took_s = daemon.stop()
    assert code == 0
    assert took_s < 3.0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
    assert pending(daemon) == 0
    assert "STOPPING=1" in daemon.notifications.received
    assert daemon.notifications.wait_for("EXTEND_TIMEOUT_USEC=14000000")
    assert states(heard, "gate")[-1] == "offline"


def test_a_pass_that_is_under_way_is_published_at_the_stop(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    # At 4 pictures a second the first vehicle passes for 3 s, and hold_s is 5 s.
    camera = {"id": "gate", "source": str(street), "folder_fps": 4, "realtime": True}
    daemon = make_daemon(make_config(camera))
    daemon.start()
    subscriber.wait_until(lambda seen: "online" in states(seen, "gate"))
    threading.Event().wait(1.5)  # a vehicle needs time to pass
    assert events(subscriber.messages) == []
    assert daemon.stop()[0] == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert [event["plate"] for event in events(heard)] == ["AB12CDE"]


def test_without_a_broker_a_stop_is_quick_and_the_next_start_delivers(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12}
    daemon = make_daemon(make_config(camera, url=f"mqtt://127.0.0.1:{free_port()}"))
    daemon.start()
    daemon.wait_for_log("camera.ended")
    code, took_s = daemon.stop()
    assert code == 0
    assert took_s < 4.0
    assert pending(daemon) == 4
    assert daemon.wait_for_log("outbox.not_empty")["events"] == 4
    daemon.configure(make_config({**camera, "enabled": False}))
    daemon.start()
    heard = subscriber.wait_until(lambda seen: len(events(seen)) == 4)
    assert_no_gap(events(heard))
    assert daemon.stop()[0] == 0
    assert pending(daemon) == 0


def test_a_stop_without_a_broker_says_nothing_of_an_outbox_that_is_empty(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "enabled": False}
    daemon = make_daemon(make_config(camera, url=f"mqtt://127.0.0.1:{free_port()}"))
    daemon.start()
    assert daemon.stop()[0] == 0
    assert pending(daemon) == 0
    assert "outbox.not_empty" not in [line["event"] for line in daemon.log_events]


def test_a_stop_while_the_models_load_is_obeyed(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path
) -> None:
    slow = "import alprd.inference.models as m, threading as t; f = m.check_reader\n"
    slow += "m.check_reader = lambda *a: (t.Event().wait(2.0), f(*a))"
    daemon = make_daemon(make_config({"id": "gate", "source": str(street)}), prelude=slow)
    daemon.spawn()
    daemon.wait_for_log("daemon.starting")
    code, _ = daemon.stop()
    assert code == 0
    assert "READY=1" not in daemon.notifications.received
    assert daemon.wait_for_log("daemon.stopped")["exit_code"] == 0


def test_keepalives_and_a_status_line_reach_the_service_manager(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12, "loop": True}
    daemon = make_daemon(make_config(camera), environ={"WATCHDOG_USEC": "500000"})
    daemon.start()
    daemon.notifications.wait_for("STATUS=1 of 1 cameras online")
    seen = len(daemon.notifications.received)
    daemon.notifications.wait_for("WATCHDOG=1", after=seen, timeout_s=5.0)


@pytest.mark.slow
def test_a_stage_that_hangs_withholds_the_keepalive_and_cannot_hold_up_the_stop(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path
) -> None:
    hang = "import alprd.pipeline as m, threading as t; m.CameraPipeline.step = "
    hang += "lambda *a: t.Event().wait()"
    daemon = make_daemon(
        make_config(
            {"id": "gate", "source": str(street), "folder_fps": 12},
            extra="[process]\nstall_timeout_s = 5.0\nstop_timeout_s = 2.0",
        ),
        prelude=hang,
        environ={"WATCHDOG_USEC": "500000"},
    )
    daemon.start()
    assert daemon.wait_for_log("stage.stalled")["stages"] == ["inference"]
    seen = len(daemon.notifications.received)
    with pytest.raises(AssertionError, match="no 'WATCHDOG=1'"):
        daemon.notifications.wait_for("WATCHDOG=1", after=seen, timeout_s=1.5)
    code, took_s = daemon.stop()
    assert code == 1
    assert took_s < 5.0
    assert daemon.wait_for_log("inference.drain_overran")


@pytest.fixture
def mute_broker() -> Iterator[str]:
    """Accepts every MQTT 5 session and never acknowledges anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sessions: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    session, _ = server.accept()
                except OSError:
                    return  # the test is over
                sessions.append(session)
                session.recv(4096)
                session.sendall(b"\x20\x03\x00\x00\x00")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5.0)
        for session in sessions:
            session.close()


def test_a_broker_that_never_answers_cannot_hold_up_the_stop(
    make_config: MakeConfig, make_daemon: MakeDaemon, mute_broker: str, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12}
    config = make_config(camera, url=mute_broker, extra="[process]\nstop_timeout_s = 3.0")
    daemon = make_daemon(config)
    daemon.start()
    daemon.wait_for_log("camera.ended")
    code, took_s = daemon.stop()
    assert code == 0
    assert took_s < 4.0
    assert pending(daemon) == 4


def test_a_second_stop_signal_ends_it_at_once_and_loses_nothing(
    make_config: MakeConfig, make_daemon: MakeDaemon, mute_broker: str, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12}
    config = make_config(camera, url=mute_broker, extra="[process]\nstop_timeout_s = 60.0")
    daemon = make_daemon(config)
    daemon.start()
    daemon.wait_for_log("camera.ended")
    daemon.signal(signal.SIGINT)
    daemon.notifications.wait_for("STOPPING=1")
    threading.Event().wait(1.0)  # a second signal right after the first counts as its echo
    assert daemon.running
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(5.0) == 1
    assert pending(daemon) == 4


@pytest.mark.parametrize("broken", ["detector", "reader"])
def test_a_model_that_fails_its_self_test_is_never_ready(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path, tmp_path: Path, broken: str
) -> None:
    models = tmp_path / "models"
    wrong = {"selftest": {"plate": "WRONG1"}} if broken == "reader" else {}
    away = {"selftest": {"quad": [[0, 0], [9, 0], [9, 9], [0, 9]]}} if broken == "detector" else {}
    write_reader(models / "plate-reader", manifest=wrong)
    write_detector(models / "plate-detector", manifest=away)
    config = make_config({"id": "gate", "source": str(street)})
    lines = [line for line in config.splitlines() if not line.startswith("models_dir")]
    lines.insert(lines.index("[inference]") + 1, f'models_dir = "{models}"')
    daemon = make_daemon("\n".join(lines) + "\n")
    daemon.spawn()
    assert daemon.wait() == 78
    assert not [line for line in daemon.notifications.received if line.startswith("READY")]
    complaint = [line for line in daemon.log.splitlines() if line.startswith("alprd:")]
    assert len(complaint) == 1
    assert f"plate-{broken}" in complaint[0]
    assert "Traceback" not in daemon.log


def test_an_outbox_that_cannot_be_used_ends_the_start_with_1_and_the_remedy(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path, tmp_path: Path
) -> None:
    config = make_config({"id": "gate", "source": str(street)})
    daemon = make_daemon(config.replace("outbox.sqlite", "no-such-folder/outbox.sqlite"))
    daemon.spawn()
    assert daemon.wait() == 1
    complaint = [line for line in daemon.log.splitlines() if line.startswith("alprd:")]
    assert len(complaint) == 1
    assert "no-such-folder" in complaint[0]


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("inference", "import alprd.pipeline as m; m.CameraPipeline.step = None"),
        ("publisher", "import alprd.publish.outbox as m; m.Outbox.claim = None"),
    ],
)
def test_a_part_that_fails_ends_the_process_with_1_and_the_reason(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path, part: str, fault: str
) -> None:
    camera = {"id": "gate", "source": str(street), "folder_fps": 12, "loop": True}
    daemon = make_daemon(make_config(camera), prelude=fault)
    daemon.spawn()
    assert daemon.wait() == 1
    failed = daemon.wait_for_log("daemon.failed")
    assert failed["part"] == part
    assert "NoneType" in failed["error"]


def test_a_publisher_that_has_died_is_no_reason_to_hide_what_was_not_sent(
    make_config: MakeConfig, make_daemon: MakeDaemon, street: Path
) -> None:
    camera = {"id": "gate", "source": str(street), "enabled": False}
    fault = "import alprd.publish.loop as m; m.PublishLoop.turn = None"  # before it counts
    daemon = make_daemon(make_config(camera), prelude=fault)
    with open_outbox(daemon.outbox_path) as outbox:
        outbox.add(rows(3))
    daemon.spawn()
    assert daemon.wait() == 1
    assert daemon.wait_for_log("outbox.not_empty")["events"] == 3
    assert daemon.wait_for_log("daemon.failed")["part"] == "publisher"
    assert pending(daemon) == 3
