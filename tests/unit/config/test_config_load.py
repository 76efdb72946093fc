"""Files, drop-ins, environment and credentials become one configuration, or a list of mistakes."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from alprd.config import ConfigError, Settings, load_settings, public_dump
from alprd.core.secrets import MASK

CAMERA = '[[cameras]]\nid = "gate-in"\nsource = "clip.mp4"\n'
SECRET = "hunter2!"  # noqa: S105 -- looked for in everything that people see

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the main file and, by keyword, drop-ins; returns the main file's path."""

    def write(text: str, **drop_ins: str) -> Path:
        path = tmp_path / "alprd.toml"
        path.write_text(text)
        for name, content in drop_ins.items():
            (tmp_path / "conf.d").mkdir(exist_ok=True)
            (tmp_path / "conf.d" / f"{name}.toml").write_text(content)
        return path

    return write


def problems_of(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ=environ or {})
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown
    assert "pydantic" not in str(caught.value)
    return str(caught.value).splitlines()


def password(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None


# --- layers ---------------------------------------------------------------------------------


def test_a_camera_is_all_that_a_configuration_needs(write: Write) -> None:
    settings = load_settings(write(CAMERA), environ={})
    assert settings.cameras[0].id == "gate-in"
    assert settings.mqtt.url == "mqtt://localhost:1883"


def test_drop_ins_apply_in_the_order_of_their_names_and_merge_deeply(write: Write) -> None:
    path = write(
        '[mqtt]\nurl = "mqtt://a"\nprefix = "main"\n' + CAMERA,
        **{"20": '[mqtt]\nurl = "mqtt://twenty"\n', "10": '[mqtt]\nurl = "mqtt://ten"\n'},
    )
    mqtt = load_settings(path, environ={}).mqtt
    assert (mqtt.url, mqtt.prefix) == ("mqtt://twenty", "main")


def test_a_drop_in_changes_one_camera_by_its_id_and_adds_another(write: Write) -> None:
    path = write(
        CAMERA + "[cameras.tracking]\nhold_s = 7.0\n",
        more='[[cameras]]\nid = "gate-out"\nsource = "b.mp4"\n'
        '[[cameras]]\nid = "gate-in"\nenabled = false\n[cameras.tracking]\nmerge_s = 4.0\n',
    )
    settings = load_settings(path, environ={})
    gate_in, gate_out = settings.cameras
    assert (gate_in.id, gate_in.source, gate_in.enabled) == ("gate-in", "clip.mp4", False)
    assert gate_in.tracking is not None
    assert (gate_in.tracking.hold_s, gate_in.tracking.merge_s) == (7.0, 4.0)
    assert gate_out.id == "gate-out"


def test_an_editors_dot_file_in_conf_d_is_no_drop_in(write: Write, tmp_path: Path) -> None:
    path = write(CAMERA, real="")
    (tmp_path / "conf.d" / ".real.toml").write_text("not TOML")
    load_settings(path, environ={})


def test_a_cameras_own_tracking_keeps_what_it_does_not_set(write: Write) -> None:
    path = write(
        "[tracking]\nhold_s = 9.0\nmin_reads = 5\n" + CAMERA + "[cameras.tracking]\nhold_s = 1.0\n"
    )
    settings = load_settings(path, environ={})
    own = settings.tracking_of(settings.cameras[0])
    assert (own.hold_s, own.min_reads) == (1.0, 5)


def test_the_environment_wins_over_the_files(write: Write) -> None:
    path = write('[mqtt]\nurl = "mqtt://file"\nkeepalive_s = 20\n' + CAMERA)
    environ = {
        "ALPRD_MQTT__URL": '["mqtt://a", "mqtts://b"]',
        "ALPRD_TRACKING__HOLD_S": "7",
        "ALPRD_HEALTH__TEGRASTATS": "12",  # stays text
        "ALPRD_DEVICE_ID": "12",
        "PATH": "/bin",
    }
    settings = load_settings(path, environ=environ)
    assert settings.mqtt.url == ("mqtt://a", "mqtts://b")
    assert settings.mqtt.keepalive_s == 20
    assert settings.tracking.hold_s == 7.0
    assert (settings.health.tegrastats, settings.device_id) == ("12", "12")


def test_a_table_as_json_and_a_key_of_it_go_together(write: Write) -> None:
    environ = {"ALPRD_MQTT": '{"prefix": "p", "keepalive_s": 9}', "ALPRD_MQTT__PREFIX": "q"}
    mqtt = load_settings(write(CAMERA), environ=environ).mqtt
    assert (mqtt.prefix, mqtt.keepalive_s) == ("q", 9)


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("0", False), ("True", True)])
def test_a_switch_in_the_environment_is_set_as_people_write_it(
    write: Write, text: str, value: bool
) -> None:
    environ = {"ALPRD_CAMERAS__GATE_IN__LOOP": text}
    assert load_settings(write(CAMERA), environ=environ).cameras[0].loop is value


def test_the_environment_changes_one_camera_by_its_id(write: Write) -> None:
    path = write(CAMERA + '[[cameras]]\nid = "gate_in_2"\nsource = "b.mp4"\n')
    environ = {
        "ALPRD_CAMERAS__GATE_IN__ROTATE_DEG": "90",
        "ALPRD_CAMERAS__GATE_IN__TRACKING__HOLD_S": "3",
        "ALPRD_CAMERAS__GATE_IN_2__ROI": "[[0, 0], [1, 0], [1, 1]]",
    }
    one, two = load_settings(path, environ=environ).cameras
    assert (one.rotate_deg, two.rotate_deg) == (90, 0)
    assert one.tracking is not None
    assert one.tracking.hold_s == 3.0
    assert two.roi == ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


def test_cameras_in_the_environment_replace_those_of_the_files(write: Write) -> None:
    environ = {"ALPRD_CAMERAS": '[{"id": "x", "source": "x.mp4"}]', "ALPRD_CAMERAS__X__LOOP": "1"}
    (camera,) = load_settings(write(CAMERA), environ=environ).cameras
    assert (camera.id, camera.loop) == ("x", True)


def test_an_empty_variable_counts_as_unset(write: Write) -> None:
    settings = load_settings(write(CAMERA), environ={"ALPRD_MQTT__USERNAME": ""})
    assert settings.mqtt.username is None


def test_variables_that_others_read_are_no_settings(write: Write) -> None:
    path = write(CAMERA)
    environ = {
        "ALPRD_CONFIG_FILE": str(path),
        "ALPRD_TEST_BROKER": "binary",
        "ALPRD_TRT_TACTIC_SOURCES": "0",
        "ALPRD_FONT_DIRS": "/fonts",
    }
    assert load_settings(environ=environ).cameras[0].id == "gate-in"


def test_no_variable_of_this_process_leaks_into_a_given_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPRD_MQTT__PREFIX", "leaked")
    environ = {"ALPRD_MQTT__KEEPALIVE_S": "9"}
    assert load_settings(write(CAMERA), environ=environ).mqtt.prefix == "alpr"


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://10.0.0.7",
        "rtsps://[fd00::7]:322/main",
        "http://cam.example/video.mjpg?x=1",
        "udp://@239.0.0.1:5000",
        "srt://:9000?mode=listener",
        "file:///var/clips/a.mp4",
        "/var/clips/a b.mp4",
        "./clips",
        "/dev/video0",
        "videotestsrc ! videoconvert ! appsink",
    ],
)
def test_every_kind_of_source_is_taken(write: Write, source: str) -> None:
    text = f'[[cameras]]\nid = "a"\nsource = "{source}"\nusername = "u"\n'
    assert load_settings(write(text), environ={}).cameras[0].source == source


# --- mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[mqtt]\nusrname = 'x'", ["mqtt.usrname: no setting", "valid name is mqtt.username"]),
        ("[mqttt]\nurl = 'x'", ["mqttt: no setting", "mqtt"]),
        ("[zzz]", ["zzz: no setting", "remove it"]),
        ("[mqtt]\nkeepalive_s = '30'", ['mqtt.keepalive_s: "30" is not a whole number']),
        ("[mqtt]\nkeepalive_s = 30.5", ["mqtt.keepalive_s: 30.5 is not a whole number"]),
        ("[mqtt]\nkeepalive_s = true", ["mqtt.keepalive_s: true is not a whole number"]),
        ("[tracking]\nhold_s = true", ["tracking.hold_s: true is not a number"]),
        ("[tracking]\nhold_s = nan", ["tracking.hold_s: nan is not a finite number"]),
        ("[tracking]\nhold_s = 90", ["90 is out of range", "at least 0.2 and at most 60.0"]),
        ("[tracking]\nmin_confidence = 2", ["tracking.min_confidence: 2", "at most 1.0"]),
        ("[log]\nlevel = 'inof'", ['"inof" is not possible', 'did you mean "info"?']),
        ("mqtt = 3", ["mqtt: 3 is not a table"]),
        ("[mqtt]\nurl = 3", ["mqtt.url: the value is not a URL in quotes, or a list of them"]),
        ("[mqtt]\nurl = []", ["mqtt.url: the list is empty", "name at least one broker"]),
        ("[mqtt]\nurl = 'mqtt://h:99999'", ["mqtt.url: the port is not a number from 1 to 65535"]),
        ("[mqtt]\nurl = 'mqtt://h:x'", ["mqtt.url: the port is not a number from 1 to 65535"]),
        ("[mqtt]\nurl = 'tcp://h'", ["mqtt.url: tcp:// is no scheme", "write mqtt://"]),
        ("[mqtt]\nurl = 'ssl://h'", ["mqtt.url: ssl:// is no scheme", "write mqtts://"]),
        ("[mqtt]\nurl = 'broker:1883'", ["mqtt.url: a broker's URL starts with mqtt://"]),
        ("[mqtt]\nurl = 'mqtt://h/topic'", ["mqtt.url: nothing may follow the broker's host"]),
        ("[mqtt]\nurl = 'mqtt://'", ["mqtt.url: the URL names no host"]),
        ("[mqtt]\nurl = 'mqtt://[fd00::7'", ["mqtt.url: not a URL", "brackets"]),
        (f"[mqtt]\nurl = 'mqtt://u:{SECRET}/x@h'", ["mqtt.url: the port is not a number", "%2F"]),
        (f"[mqtt]\nurl = 'mqtt://u:{SECRET} x@h'", ["mqtt.url: a URL contains no blanks"]),
        ("[mqtt]\nprefix = '/alpr'", ["mqtt.prefix: must not start or end with '/'"]),
        ("[mqtt]\nprefix = 'a/+/b'", ["mqtt.prefix: must not contain '+'"]),
        ("[mqtt]\nprefix = '$SYS'", ["mqtt.prefix: must not start with '$'"]),
        ("[mqtt]\nprefix = ''", ["mqtt.prefix: must have 1 to 100 characters"]),
        ("[mqtt]\nusername = ''", ["mqtt.username: is empty", "give a value"]),
        ("device_id = 'edge 7'", ["device_id: 'edge 7' cannot be a device's id"]),
        (f"[mqtt]\npassword = ['{SECRET}']", ["mqtt.password: the value is not text in quotes"]),
    ],
)
def test_a_mistake_names_its_path_and_the_remedy(
    write: Write, text: str, expected: list[str]
) -> None:
    (line,) = [p for p in problems_of(write(text + "\n" + CAMERA)) if "username: is miss" not in p]
    assert all(part in line for part in expected), line
    assert "; " in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id = 'a'\nsorce = 'x'", ["cameras[a].sorce: no setting", "is cameras[a].source"]),
        ("id = 'a/b'\nsource = 'x'", ["cameras[a/b].id: 'a/b' cannot be", "use a-z, 0-9"]),
        ("id = 'Gate'\nsource = 'x'", ["cameras[Gate].id: 'Gate' cannot be a camera's id"]),
        ("id = 'devices'\nsource = 'x'", ["'devices' is a topic of its own"]),
        ("id = 'a'", ["cameras[a].source: is missing", "add source = "]),
        ("source = 'x'", ["cameras[0].id: is missing", "add id = "]),
        ("id = 'a'\nsource = ''", ["cameras[a].source: is empty", "rtsp:// URL"]),
        ("id = 'a'\nsource = 'rtps://h'", ["rtps:// is no known kind of stream", "rtsps://"]),
        ("id = 'a'\nsource = 'rtsp:/h/x'", ["an RTSP URL looks like rtsp://host/path"]),
        ("id = 'a'\nsource = 'rtsp://:554/x'", ["cameras[a].source: the URL names no host"]),
        ("id = 'a'\nsource = 'rtsp://h:70000/x'", ["the port is not a number from 1 to 65535"]),
        ("id = 'a'\nsource = 'http://[fd00::7/x'", ["not a URL", "brackets"]),
        (f"id = 'a'\nsource = 'rtsp://u:{SECRET}/@h/x'", ["the port is not a number", "%2F"]),
        ("id = 'a'\nsource = 'x'\nmax_fps = 0", ["max_fps: 0 is out of", "more than 0.0 and at"]),
        ("id = 'a'\nsource = 'x'\nrotate_deg = 45", ["45 is not possible", "0, 90, 180, 270"]),
        ("id = 'a'\nsource = 'x'\nroi = [[0,0],[1,1]]", ["at least 3 points, this has 2"]),
        ("id = 'a'\nsource = 'x'\nroi = [[0,0],[1,1],[1,0],[0,1]]", ["crosses itself"]),
        ("id = 'a'\nsource = 'x'\nroi = [[0,0],[0.5,0.5],[1,1]]", ["has no area"]),
        ("id = 'a'\nsource = 'x'\nroi = [[0,0],[1,0],[1,1],[0,0]]", ["closes itself"]),
        (
            "id = 'a'\nsource = 'x'\nroi = [[0,0],[2,0],[1,1]]",
            ["roi[1][0]: 2 is out", "0.0 to 1.0"],
        ),
        ("id = 'a'\nsource = 'x'\nroi = [[0,0],[1],[1,1]]", ["roi[1][1]: is missing", "[x, y]"]),
        ("id = 'a'\nsource = 'x'\nroi = [[0,0],[1,0,0],[1,1]]", ["roi[1]: is not a point"]),
        ("id = 'a'\nsource = 'x'\ntracking.hold = 1", ["is cameras[a].tracking.hold_s"]),
    ],
)
def test_a_mistake_in_a_camera_names_the_camera_and_the_remedy(
    write: Write, text: str, expected: list[str]
) -> None:
    lines = problems_of(write(f"[[cameras]]\n{text}\n"))
    assert any(all(part in line for part in expected) for line in lines), lines
    assert all("; " in line for line in lines)


def test_all_mistakes_are_told_at_once_with_the_file_they_stand_in(write: Write) -> None:
    path = write(
        "[mqtt]\nkeepalive_s = 1\n[log]\nlevel = 3\n" + CAMERA, extra="[outbox]\nmax_events = 1\n"
    )
    environ = {"ALPRD_TRACKING__HOLD_S": "long", "ALPRD_MQTT__PREFX": "x"}
    lines = problems_of(path, environ)
    assert len(lines) == 5
    assert any(f"(in {path})" in line for line in lines if line.startswith("mqtt.keepalive_s"))
    assert any("conf.d/extra.toml)" in line for line in lines if line.startswith("outbox."))
    assert any("(in ALPRD_TRACKING__HOLD_S)" in line for line in lines)


def test_two_cameras_with_one_id_in_a_file_are_refused(write: Write) -> None:
    (line,) = problems_of(write(CAMERA + CAMERA))
    assert line.startswith("cameras[gate-in]: two cameras have this id")


def test_a_single_bracket_around_cameras_is_explained(write: Write) -> None:
    (line,) = problems_of(write('[cameras]\nid = "a"\nsource = "b"\n'))
    assert "[[cameras]], with double brackets" in line


@pytest.mark.parametrize("text", ["", "cameras = []"])
def test_a_configuration_without_cameras_is_refused(write: Write, text: str) -> None:
    (line,) = problems_of(write(text))
    assert line.startswith("cameras: ")
    assert "add a [[cameras]] table with id and source" in line


def test_a_drop_in_with_a_misspelt_camera_id_is_told_the_nearest_one(write: Write) -> None:
    path = write(CAMERA, more='[[cameras]]\nid = "gate-im"\nenabled = false\n')
    (line,) = problems_of(path)
    assert 'is the id meant to be "gate-in"?' in line


def test_a_syntax_error_names_file_line_and_column(write: Write) -> None:
    path = write("[mqtt]\nurl = \n")
    (line,) = problems_of(path)
    assert line.startswith(f"{path}:2:7: not TOML: invalid value")


def test_a_syntax_error_at_the_end_names_the_last_line(write: Write) -> None:
    path = write('[mqtt]\nurl = "mqtt://h')
    (line,) = problems_of(path)
    assert line.startswith(f"{path}:2")


def test_every_broken_file_is_named_at_once(write: Write) -> None:
    path = write("a = ", one="b = ", two="")
    assert len(problems_of(path)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[mqtt]\nmax_inflight = " + "9" * 5000, "a number with thousands of digits; shorten it"),
        ("[mqtt]\nmax_inflight = 0x" + "f" * 6000, "mqtt.max_inflight: the number is too large"),
        ("[mqtt]\nmax_inflight = " + "9" * 30, "mqtt.max_inflight: the number is too large"),
        ('[mqtt]\nurl = "mqtts://h"\nca_file = "a\\u0000b"', "mqtt.ca_file: holds a NUL character"),
        ('[inference]\nmodels_dir = "a\\u0000b"', "inference.models_dir: holds a NUL character"),
        ('[outbox]\npath = "a\\u0000b"', "outbox.path: holds a NUL character; remove it"),
        ('[[cameras]]\nid = "b"\nsource = "a\\u0000b"', "cameras[0].source: holds a NUL"),
        ("x = " + "[" * 40 + "]" * 40, "nests more than 32 deep; flatten it"),
        ("x = " + "[" * 5000 + "]" * 5000, "nests too deeply; flatten it"),
        (".".join("x" * 5000) + " = 1", "; flatten it"),
    ],
)
def test_what_no_setting_can_hold_is_refused_with_the_remedy(
    write: Write, text: str, expected: str
) -> None:
    path = write(text + "\n")
    (line,) = problems_of(path)
    assert line.startswith(f"{path}: ")
    assert expected in line
    assert len(line) < 300


def test_a_file_that_is_not_utf8_is_refused(write: Write) -> None:
    path = write(CAMERA)
    path.write_bytes(b"# caf\xe9\n")
    assert "is not UTF-8 at byte 5" in problems_of(path)[0]


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path / "none.toml", {"ALPRD_CAMERAS": "[]"})
    assert "none.toml: does not exist; create it" in line
    assert "--config" in line


def test_a_folder_in_place_of_the_file_is_explained(tmp_path: Path) -> None:
    assert "is a folder" in problems_of(tmp_path)[0]


def test_a_file_that_may_not_be_read_names_the_remedy(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(CAMERA)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert f"chgrp alprd {path} && chmod 640 {path}" in problems_of(path)[0]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ALPRD_MQTT__USRNAME", "x", "the nearest valid name is ALPRD_MQTT__USERNAME"),
        ("ALPRD_MQTT_URL", "x", "the nearest valid name is ALPRD_MQTT__URL"),
        ("ALPRD_DEVICEID", "", "the nearest valid name is ALPRD_DEVICE_ID"),
        ("ALPRD_ZZZZZZ", "x", "no setting has this name; remove it"),
        ("ALPRD_CAMERAS__GATE_IM__LOOP", "1", "is ALPRD_CAMERAS__GATE_IN__LOOP"),
        ("ALPRD_CAMERAS__GATE_IN__LOOPS", "1", "is ALPRD_CAMERAS__GATE_IN__LOOP"),
        ("ALPRD_CAMERAS__GATE_IN__ID", "x", "no setting has this name"),
        ("ALPRD_CAMERAS", f"[{SECRET}", "ALPRD_CAMERAS: not valid JSON"),
        ("ALPRD_MQTT", f"{{'password': '{SECRET}'}}", "ALPRD_MQTT: not valid JSON"),
        ("ALPRD_MQTT", "3", "mqtt: 3 is not a table (in ALPRD_MQTT)"),
        ("ALPRD_MQTT__KEEPALIVE_S", "soon", 'mqtt.keepalive_s: "soon" is not a whole number (in '),
        ("ALPRD_MQTT__PREFIX", "a\udc80", "ALPRD_MQTT__PREFIX: is not UTF-8"),
        ("ALPRD_CAMERAS", "[" * 5000, "ALPRD_CAMERAS: not valid JSON"),
        ("ALPRD_CAMERAS__GATE_IN__ROI", "[" * 5000, "GATE_IN__ROI: not valid JSON"),
        ("ALPRD_MQTT", '{"max_inflight": ' + "9" * 5000 + "}", "ALPRD_MQTT: not valid JSON"),
        ("ALPRD_MQTT", '{"max_inflight": ' + "9" * 30 + "}", "mqtt.max_inflight: the number"),
        ("ALPRD_MQTT__MAX_INFLIGHT", "9" * 5000, "mqtt.max_inflight: this text is not a whole"),
        ("ALPRD_MQTT__MAX_INFLIGHT", "9" * 30, "mqtt.max_inflight: "),
        ("ALPRD_MQTT", '{"ca_file": "a\\u0000b"}', "mqtt.ca_file: holds a NUL character"),
        (
            "ALPRD_CAMERAS",
            '[{"id": "a", "source": "\\ud800"}]',
            "source: holds half of a surrogate",
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    write: Write, name: str, value: str, expected: str
) -> None:
    (line,) = problems_of(write(CAMERA), {name: value})
    assert name in line
    assert expected in line


def test_camera_ids_that_look_alike_in_a_variable_are_refused_there(write: Write) -> None:
    path = write(CAMERA + '[[cameras]]\nid = "gate_in"\nsource = "b"\n')
    load_settings(path, environ={})
    (line,) = problems_of(path, {"ALPRD_CAMERAS__GATE_IN__LOOP": "1"})
    assert "look the same in a variable" in line


# --- secrets --------------------------------------------------------------------------------


def test_a_password_file_is_read_without_its_newline(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(f" {SECRET} \r\n")
    path = write(f'[mqtt]\nusername = "u"\npassword_file = "{tmp_path}/pw"\n' + CAMERA)
    assert password(load_settings(path, environ={}).mqtt.password) == f" {SECRET} "


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "does not exist; create it"),
        (b"", "is empty; write the password into it"),
        (b"\n", "is empty"),
        (f"{SECRET}\nsecond".encode(), "holds several lines"),
        (SECRET.encode() + b"\xff", "is not UTF-8"),
        (SECRET.encode() * 1000, "is longer than 4096 bytes"),
    ],
)
def test_a_bad_password_file_is_named_with_the_remedy(
    write: Write, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    file = tmp_path / "pw"
    if content is not None:
        file.write_bytes(content)
    path = write(CAMERA + f'username = "u"\npassword_file = "{file}"\n')
    (line,) = problems_of(path)
    assert line.startswith(f"cameras[gate-in].password_file: {file} {expected}")


def test_a_password_file_that_is_a_folder_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(CAMERA + f'username = "u"\npassword_file = "{tmp_path}"\n')
    assert "name a plain file" in problems_of(path)[0]


def test_a_credential_wins_over_the_configuration(write: Write, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt.password").write_text("from systemd\n")
    (credentials / "camera.gate-in.password").write_text("camera's\n")
    path = write('[mqtt]\nusername = "u"\npassword = "in the file"\n' + CAMERA + 'username = "v"\n')
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    settings = load_settings(path, environ=environ)
    assert password(settings.mqtt.password) == "from systemd"
    assert password(settings.cameras[0].password) == "camera's"


@pytest.mark.parametrize("empty", ["", "\n"])
def test_an_empty_credential_counts_as_none(write: Write, tmp_path: Path, empty: str) -> None:
    """The unit's default where there is no password file."""
    (tmp_path / "mqtt.password").write_text(empty)
    path = write('[mqtt]\nurl = "mqtt://broker"\n' + CAMERA)
    settings = load_settings(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.mqtt.password is None
    path = write('[mqtt]\nusername = "u"\npassword = "in the file"\n' + CAMERA)
    settings = load_settings(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert password(settings.mqtt.password) == "in the file"


def test_a_password_given_twice_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(SECRET)
    path = write(
        f'[mqtt]\nusername = "u"\npassword = "{SECRET}"\npassword_file = "{tmp_path}/pw"\n' + CAMERA
    )
    (line,) = problems_of(path)
    assert line.startswith("mqtt.password_file: the password is also given as mqtt.password")


def test_a_password_given_twice_in_the_environment_is_refused(write: Write) -> None:
    environ = {
        "ALPRD_MQTT__USERNAME": "u",
        "ALPRD_MQTT__PASSWORD": SECRET,
        "ALPRD_MQTT__PASSWORD_FILE": "/nowhere",
    }
    lines = problems_of(write(CAMERA), environ)
    assert "ALPRD_MQTT__PASSWORD_FILE: ALPRD_MQTT__PASSWORD is set too; keep one" in lines


def test_a_drop_in_may_replace_a_password_by_a_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("new")
    path = write(
        '[mqtt]\nusername = "u"\npassword = "old"\n' + CAMERA,
        secret=f'[mqtt]\npassword_file = "{tmp_path}/pw"\n',
    )
    assert password(load_settings(path, environ={}).mqtt.password) == "new"


def test_a_password_without_a_user_is_refused(write: Write) -> None:
    (line,) = problems_of(write(CAMERA + f'password = "{SECRET}"\n'))
    assert line.startswith("cameras[gate-in].username: is missing, but a password is given")


def test_a_login_in_the_url_and_beside_it_is_refused(write: Write) -> None:
    path = write(f'[mqtt]\nurl = "mqtt://u:{SECRET}@h"\nusername = "v"\n' + CAMERA)
    (line,) = problems_of(path)
    assert line.startswith("mqtt.url: holds a user name or password, and so do other settings")


def test_a_certificate_that_no_connection_would_use_is_refused(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("")
    (line,) = problems_of(write(f'[mqtt]\nca_file = "{tmp_path}/ca.pem"\n' + CAMERA))
    assert line.startswith("mqtt.ca_file: is given, but no broker's URL starts with mqtts://")


def test_a_certificate_that_does_not_exist_is_refused(write: Write) -> None:
    path = write('[mqtt]\nurl = "mqtts://h"\nca_file = "/nowhere.pem"\n' + CAMERA)
    (line,) = problems_of(path)
    assert line.startswith("mqtt.ca_file: /nowhere.pem does not exist")


@pytest.mark.parametrize(
    "source",
    [
        f"rtsp://admin:{SECRET}@10.0.0.7:554/main",
        f"rtspsrc location=rtsp://10.0.0.7/x user-id=a user-pw={SECRET} ! decodebin ! appsink",
        f"http://10.0.0.7/video?user=admin&password={SECRET}",
    ],
)
def test_a_password_in_a_source_is_accepted_and_shows_nowhere(write: Write, source: str) -> None:
    settings = load_settings(write(f'[[cameras]]\nid = "a"\nsource = "{source}"\n'), environ={})
    assert settings.cameras[0].source == source
    for shown in (repr(settings), str(settings), json.dumps(public_dump(settings))):
        assert SECRET not in shown
        assert "10.0.0.7" in shown


def test_the_public_form_names_every_setting_and_no_secret(write: Write) -> None:
    path = write(
        f'[mqtt]\nurl = ["mqtt://a:{SECRET}@one", "mqtt://two"]\n'
        + CAMERA
        + f'username = "u"\npassword = "{SECRET}"\n'
    )
    settings = load_settings(path, environ={})
    public = public_dump(settings)
    assert SECRET not in json.dumps(public) + repr(settings)
    assert public["mqtt"]["url"] == ["mqtt://a:***@one", "mqtt://two"]
    assert public["cameras"][0]["password"] == MASK
    assert set(public) == set(Settings.model_fields)
