"""Several cameras at once, good and bad; a camera that goes away and comes back."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.heard import assert_no_gap, availability, events, states, statuses
from support.rtsp import RtspServer, require_rtsp_server
from support.street import write_street_clip
from support.subscriber import Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def sources(street: Path, clip: Path) -> tuple[Path, Path]:
    """A folder of pictures, and a clip for an RTSP server."""
    return street, clip


@pytest.fixture
def bad_cameras(tmp_path: Path) -> Iterator[list[dict[str, object]]]:
    """One that takes the connection and never says a word, and a file that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/main"
        yield [
            {"id": "dead", "source": url, "open_timeout_s": 2.0, "retry_max_s": 2.0},
            {"id": "missing", "source": str(tmp_path / "no-such.mp4")},
        ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes of H.264, for an RTSP server."""
    require_rtsp_server()
    path = tmp_path_factory.mktemp("clip") / "street.mp4"
    return write_street_clip(path, ["AB12CDE", "K7XLS", "34A3683"], repeats=26)


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_two_good_cameras_publish_while_two_bad_ones_are_offline_with_the_reason(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    sources: tuple[Path, Path],
    bad_cameras: list[dict[str, object]],
) -> None:
    street, clip = sources
    with RtspServer(clip) as server:
        cameras: list[dict[str, object]] = [
            {"id": "stream", "source": server.url},
            {
                "id": "pictures",
                "source": str(street),
                "folder_fps": 12,
                "loop": True,
                "realtime": True,
            },
            *bad_cameras,
        ]
        daemon = make_daemon(make_config(*cameras))
        daemon.start()
        subscriber.wait_until(
            lambda seen: (
                len(events(seen, "stream")) >= 3
                and len(events(seen, "pictures")) >= 3
                and bool(statuses(seen, "dead")[-1:])
                and statuses(seen, "dead")[-1]["last_error"]
                and statuses(seen, "missing")[-1]["last_error"]
            ),
            timeout_s=40.0,
        )
        code, took_s = daemon.stop()
    assert code == 0
    assert took_s < 3.0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
    for name in ("dead", "missing"):
        assert set(states(heard, name)) == {"offline"}
        assert events(heard, name) == []
    reasons = {
        name: [s["last_error"] for s in statuses(heard, name) if s["last_error"]]
        for name in ("dead", "missing")
    }
    assert "no-such.mp4" in reasons["missing"][0]
    assert reasons["dead"]


def test_a_camera_that_hangs_does_not_delay_the_stop_or_its_neighbour(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    clip: Path,
) -> None:
    good = {"id": "pictures", "source": str(street), "folder_fps": 12, "loop": True}
    with RtspServer(clip) as server:
        daemon = make_daemon(make_config({"id": "stream", "source": server.url}, good))
        daemon.start()
        subscriber.wait_until(lambda seen: "online" in states(seen, "stream"))
        server.pause()
        before = len(events(subscriber.messages, "pictures"))
        subscriber.wait_until(lambda seen: len(events(seen, "pictures")) >= before + 3)
        code, took_s = daemon.stop()
        server.resume()
    assert code == 0
    assert took_s < 3.0


def test_cameras_that_are_down_cost_next_to_nothing(
    make_config: MakeConfig, make_daemon: MakeDaemon, bad_cameras: list[dict[str, object]]
) -> None:
    daemon = make_daemon(make_config(*bad_cameras))
    daemon.start()
    started_s, before_s = time.monotonic(), cpu_s(daemon.process.pid)
    daemon.notifications.wait_for("STATUS=0 of 2 cameras online")
    with pytest.raises(AssertionError, match="no 'NEVER'"):
        daemon.notifications.wait_for("NEVER", timeout_s=4.0)
    used_s = cpu_s(daemon.process.pid) - before_s
    assert used_s / (time.monotonic() - started_s) < 0.15


@pytest.mark.slow
def test_a_stream_that_dies_comes_back_without_a_restart(
    make_config: MakeConfig, make_daemon: MakeDaemon, subscriber: Subscriber, clip: Path
) -> None:
    with RtspServer(clip) as server:
        camera = {"id": "stream", "source": server.url, "read_timeout_s": 2.0, "retry_max_s": 2.0}
        daemon = make_daemon(make_config(camera))
        daemon.start()
        pid = daemon.process.pid
        subscriber.wait_until(lambda seen: len(events(seen)) >= 2, 40.0)
        server.kill()
        subscriber.wait_until(
            lambda seen: states(seen, "stream")[-1] in ("stalled", "offline"), 20.0
        )
        lost = statuses(subscriber.messages, "stream")[-1]
        assert lost["last_error"]
        server.start()
        subscriber.wait_until(lambda seen: states(seen, "stream")[-1] == "online", 30.0)
        before = len(events(subscriber.messages))
        subscriber.wait_until(lambda seen: len(events(seen)) >= before + 2, 40.0)
        assert daemon.process.pid == pid
        assert daemon.stop()[0] == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    assert_no_gap(events(heard))
