"""What `alprd demo` makes of the user's SOURCE and of this machine."""

from __future__ import annotations

import argparse
import shutil
import stat
from pathlib import Path

import pytest

from alprd.commands import demo
from alprd.commands.common import CommandError
from alprd.commands.demo_show import complaints, plain_environment, write_private


@pytest.mark.parametrize("source", ["nosuch.mp4", "10.0.0.7/main", "file:///no/such.mp4"])
def test_a_path_that_is_not_there_is_an_error_that_names_it(source: str) -> None:
    with pytest.raises(CommandError, match=source):
        demo.user_input(source)


def test_a_device_that_is_not_there_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(CommandError, match=r"/dev/video\*"):
        demo.user_input("/dev/video4711")


def test_an_empty_source_is_an_error() -> None:
    with pytest.raises(CommandError, match="empty"):
        demo.user_input("")


@pytest.mark.parametrize("source", ["/dev/null", "rtsp://10.0.0.7/main", "videotestsrc ! appsink"])
def test_a_device_a_stream_and_a_pipeline_are_live_and_not_drawn(source: str) -> None:
    assert demo.user_input(source) == demo.DemoInput(source=source, recording=None)


def test_a_file_and_a_folder_are_recordings_however_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "my clip.mp4"
    clip.touch()
    monkeypatch.chdir(tmp_path)
    for source in ("my clip.mp4", str(clip), f"file://{tmp_path}/my%20clip.mp4"):
        assert demo.user_input(source).recording == clip
    assert demo.user_input(".").recording == tmp_path


def test_without_mosquitto_nothing_is_begun_and_apt_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    out = tmp_path / "out"
    with pytest.raises(CommandError, match="apt install mosquitto"):
        demo.run(argparse.Namespace(source=None, out=out))
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="file"):
        demo.run(argparse.Namespace(source=None, out=tmp_path / "file" / "out"))


def test_a_file_with_a_password_is_its_owners_alone_also_when_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "alprd.toml"
    path.touch(mode=0o666)
    write_private(path, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "secret"


def test_the_users_own_settings_do_not_lead_the_demonstration_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPRD_MQTT__URL", "mqtt://elsewhere")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/elsewhere")
    monkeypatch.setenv("LANG", "C")
    environ = plain_environment()
    assert environ["LANG"] == "C"
    assert not {"ALPRD_MQTT__URL", "NOTIFY_SOCKET"} & set(environ)


def test_only_what_a_command_complains_of_is_repeated_from_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"event": "x"}\nalprd: no model; fetch it\n\xff\n')
    assert complaints(log) == ["no model; fetch it"]
