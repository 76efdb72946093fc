"""The doctor's parts that need no device: whom it waits for, and what systemd hands over."""

from __future__ import annotations

import argparse
import fcntl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import alprd.cameras
from alprd import logs
from alprd.commands import doctor as command
from alprd.config import Settings, load, load_settings
from alprd.doctor import cameras, visit
from alprd.doctor.credentials import NOTHING, Handed, as_the_daemon_has_them, handed
from alprd.doctor.findings import Finding
from alprd.doctor.person import Person
from alprd.doctor.storage import daemon_runs

ROOT = Person(name="root", uid=0, gids=frozenset({0}))
UNIT = "lib/systemd/system/alprd.service"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@dataclass
class Sight:
    """Cameras, and what looking at them does."""

    folder: Path

    def look(self, many: int) -> list[Finding]:
        listed = "".join(
            f'[[cameras]]\nid = "c{number}"\nsource = "rtsp://127.0.0.1/{number}"\n'
            "open_timeout_s = 1.0\nread_timeout_s = 1.0\n"
            for number in range(many)
        )
        settings = load_settings(write(self.folder / "alprd.toml", listed), environ={})
        return list(cameras.cameras(settings, ROOT, detector=None))


@pytest.fixture
def sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sight:
    monkeypatch.setattr(cameras, "LOOK_S", 0.0)
    monkeypatch.setattr(cameras, "_HANG_S", -1.8)  # 0.2 s in all
    return Sight(tmp_path)


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_cameras_that_hang_are_waited_for_together(
    sight: Sight, hanging: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "probe", lambda _: hanging.wait(30.0))
    started_s = time.monotonic()
    found = sight.look(10)
    assert time.monotonic() - started_s < 1.0  # one after the other: 2 s
    assert {finding.text for finding in found} == {"hangs in its driver; restart the camera"}


def test_a_surprise_at_a_camera_is_not_called_a_hanging_driver(
    sight: Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(_: object) -> Any:
        raise RuntimeError("bad pipeline")

    monkeypatch.setattr(cameras, "probe", surprise)
    (found,) = sight.look(1)
    assert (found.level, found.text) == (
        "problem",
        "could not be looked at: RuntimeError: bad pipeline",
    )


def test_a_daemon_runs_or_not_or_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = tmp_path / "outbox.sqlite"
    assert daemon_runs(outbox) is False
    with write(tmp_path / "outbox.sqlite.lock", "").open("rb") as held:
        assert daemon_runs(outbox) is False
        fcntl.flock(held, fcntl.LOCK_EX)
        assert daemon_runs(outbox) is True

        def forbidden(*_: object) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", forbidden)  # root is forbidden nothing
        assert daemon_runs(outbox) is None


def test_what_hangs_is_left_behind_and_said(hanging: threading.Event) -> None:
    def look() -> list[Finding]:
        hanging.wait(30.0)
        return []

    (found,) = visit._guarded("disk", look, limit_s=0.05)
    assert (found.level, found.check) == ("problem", "disk")
    assert "does not answer" in found.text


def test_who_gives_up_by_itself_does_not_hang() -> None:
    def look() -> list[Finding]:
        raise TimeoutError("no answer")

    for limit_s in (None, 5.0):
        (found,) = visit._guarded("disk", look, limit_s=limit_s)
        assert found.text == "could not be checked: TimeoutError: no answer"


def test_the_running_daemon_tells_of_the_topics_that_no_test_may_go_to() -> None:
    well = {"connected": True, "last_error": None}
    assert list(visit._delivery(well)) == []
    bad = {
        **well,
        "given_up": ["alpr/gate/status"],
        "parked": 3,
        "last_refusal": "alpr/gate/plates",
    }
    found = list(visit._delivery(bad))
    assert [finding.level for finding in found] == ["problem", "warning"]
    assert "alpr/gate/status" in found[0].text
    assert "alpr/gate/plates" in found[1].text
    (away,) = visit._delivery({"connected": False, "last_error": "nobody listens there"})
    assert "nobody listens there" in away.text


# -- credentials ---------------------------------------------------------------------------------


def test_the_units_credentials_are_found_and_drop_ins_change_them(tmp_path: Path) -> None:
    password = write(tmp_path / "mqtt.password", "hush\n")
    camera = write(tmp_path / "gate.password", "hush\n")
    write(tmp_path / UNIT, f"[Service]\nLoadCredential=mqtt.password:{password}\n")
    assert handed(tmp_path) == Handed(sources={"mqtt.password": password})
    drop_in = tmp_path / "etc/systemd/system/alprd.service.d/camera.conf"
    write(drop_in, f"[Service]\nLoadCredential=camera.gate.password:{camera}\n")
    assert handed(tmp_path).sources == {"mqtt.password": password, "camera.gate.password": camera}
    write(drop_in, f"[Service]\nLoadCredential=\nLoadCredential=camera.gate.password:{camera}\n")
    assert handed(tmp_path).sources == {"camera.gate.password": camera}


@pytest.mark.parametrize("content", [None, "\n"])
def test_a_credential_that_is_not_there_or_empty_counts_as_none(
    tmp_path: Path, content: str | None
) -> None:
    password = tmp_path / "mqtt.password"
    if content is not None:
        write(password, content)
    write(tmp_path / UNIT, f"[Service]\nLoadCredential=mqtt.password:{password}\n")
    assert handed(tmp_path) == NOTHING


def test_the_doctor_reads_the_configuration_with_the_daemons_credentials(tmp_path: Path) -> None:
    password = write(tmp_path / "mqtt.password", "hush\n")
    config = write(
        tmp_path / "alprd.toml",
        '[mqtt]\nusername = "edge"\n[[cameras]]\nid = "gate"\nsource = "rtsp://10.0.0.7/main"\n',
    )
    given = Handed(sources={"mqtt.password": password})
    with as_the_daemon_has_them(given, {}) as environ:
        settings = load_settings(config, environ=environ)
    assert settings.mqtt.password is not None
    assert settings.mqtt.password.get_secret_value() == "hush"
    assert not Path(environ["CREDENTIALS_DIRECTORY"]).exists()
    assert password.exists()


@pytest.mark.parametrize("is_the_daemons", [True, False])
def test_only_the_daemons_own_configuration_gets_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_the_daemons: bool
) -> None:
    config = write(
        tmp_path / "alprd.toml",
        '[mqtt]\nusername = "edge"\n[[cameras]]\nid = "gate"\nsource = "rtsp://10.0.0.7/main"\n',
    )
    given = Handed(sources={"mqtt.password": write(tmp_path / "mqtt.password", "hush\n")})
    seen: list[tuple[Settings, visit.Surroundings]] = []

    def visited(settings: Settings, around: visit.Surroundings, **_: object) -> list[Finding]:
        seen.append((settings, around))
        return []

    # What is set for the whole process would stay for the tests after this one.
    monkeypatch.setattr(command, "quiet_native_libraries", lambda: None)
    monkeypatch.setattr(logs, "configure_logging", lambda _: None)
    monkeypatch.setattr(alprd.cameras, "prepare_opencv", lambda: None)
    monkeypatch.setattr(command, "handed", lambda: given)
    monkeypatch.setattr(visit, "visit", visited)
    if is_the_daemons:
        monkeypatch.setattr(load, "DEFAULT_PATH", config)
    asked = argparse.Namespace(config=config, json=True, user=None, open_cameras=False)
    assert command.run(asked) == 0
    ((settings, around),) = seen
    assert (settings.mqtt.password is not None) == is_the_daemons
    assert around.handed == (given if is_the_daemons else NOTHING)
