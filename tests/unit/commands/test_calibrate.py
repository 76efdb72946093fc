"""`alprd calibrate --points`, the drop-in it writes, and who may talk to the page's server."""

from __future__ import annotations

import http.client
import json
import os
import re
import stat
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.cli import main
from alprd.commands.calibrate_files import drop_in_path, problems_of, save
from alprd.commands.calibrate_preview import preview
from alprd.commands.calibrate_server import PageServer
from alprd.config import load_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

POINTS = "412,650=0,0; 880,648=3.5,0; 700,402=3.5,12; 560,402=0,12"
SPEED = {
    "frame_size": [1280, 720],
    "points": [[412, 650], [880, 648], [700, 402], [560, 402]],
    "metres": [[0, 0], [3.5, 0], [3.5, 12], [0, 12]],
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    picture = tmp_path / "gate.png"
    cv2.imwrite(str(picture), np.full((720, 1280, 3), 90, np.uint8))
    path = tmp_path / "alprd.toml"
    path.write_text(
        f'[[cameras]]\nid = "gate-in"\nsource = "{picture}"\n'
        '[[cameras]]\nid = "gate-out"\nsource = "/nowhere.mp4"\n'
    )
    return path


def calibrate(config: Path, *arguments: str) -> int:
    return main(["calibrate", "--config", str(config), *arguments])


def test_points_as_text_become_a_drop_in_that_is_in_force(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(config, "gate-in", "--points", POINTS, "--camera-height", "4") == 0
    path = config.parent / "conf.d" / "50-calibration-gate-in.toml"
    said = capsys.readouterr().out
    assert f"Saved {path}" in said
    assert "The camera hangs 4.00 m above the points." in said
    assert "A car at 50 km/h would be measured to about" in said
    gate_in, gate_out = load_settings(config, environ={}).cameras
    assert gate_in.speed is not None
    assert gate_in.speed.frame_size == (1280, 720)
    assert gate_in.speed.points[1] == (880.0, 648.0)
    assert gate_in.speed.metres[2] == (3.5, 12.0)
    assert gate_in.speed.camera_height_m == 4.0
    assert gate_out.speed is None
    assert main(["check-config", "--config", str(config), "--quiet"]) == 0


def test_what_a_careful_root_calibrates_can_be_read_by_the_daemons_user(config: Path) -> None:
    umask = os.umask(0o077)
    try:
        assert calibrate(config, "gate-in", "--points", POINTS) == 0
    finally:
        os.umask(umask)
    folder = config.parent / "conf.d"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert [stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()] == [0o644]


def test_calibrating_again_replaces_the_file_under_whatever_number_it_has(config: Path) -> None:
    assert calibrate(config, "gate-in", "--points", POINTS) == 0
    folder = config.parent / "conf.d"
    (folder / "50-calibration-gate-in.toml").rename(folder / "70-calibration-gate-in.toml")
    assert calibrate(config, "gate-in", "--points", POINTS.replace("0,12", "0,11.9")) == 0
    assert [p.name for p in folder.iterdir()] == ["70-calibration-gate-in.toml"]


@pytest.mark.parametrize(
    ("points", "code", "problem"),
    [
        ("412,650=0,0; 880,648=3.5,0", 78, "needs at least 4 points, not 2; add some"),
        (POINTS.replace("880,648", "880,900"), 78, "lies outside the picture of 1280 x 720"),
        (POINTS.replace("3.5,12", "0,0"), 78, "are 0 m apart"),
        ("412;650", 2, "is not x,y=X,Y"),
        ("1.2.3,4=5,6", 2, "is not x,y=X,Y"),
    ],
)
def test_bad_points_are_named_and_nothing_is_written(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    points: str,
    code: int,
    problem: str,
) -> None:
    assert calibrate(config, "gate-in", "--points", points) == code
    assert problem in capsys.readouterr().err
    assert not (config.parent / "conf.d").exists()


def test_a_camera_without_a_picture_is_calibrated_on_a_file(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(config, "gate-out", "--points", POINTS) == 1
    assert "--image FILE" in capsys.readouterr().err
    image = str(config.parent / "gate.png")
    assert calibrate(config, "gate-out", "--image", image, "--points", POINTS) == 0


def test_an_unknown_camera_is_answered_with_those_there_are(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(config, "gate") == 2
    assert "gate-in, gate-out" in capsys.readouterr().err


def test_the_file_holds_what_was_drawn_and_leaves_no_other_behind(config: Path) -> None:
    path = drop_in_path(config, "gate-in")
    roi = [[0.0, 0.3], [1.0, 0.3], [1.0, 1.0]]
    draft = {"speed": SPEED, "roi": roi, "source": "/elsewhere"}
    assert save(draft, camera_id="gate-in", config=config, path=path) == []
    written = tomllib.loads(path.read_text())
    assert written == {"cameras": [{"id": "gate-in", "roi": roi, "speed": SPEED}]}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_later_drop_in_that_says_something_else_is_named(config: Path) -> None:
    folder = config.parent / "conf.d"
    folder.mkdir()
    later = "[[cameras]]\nid = 'gate-in'\nroi = [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0]]\n"
    (folder / "90-roi.toml").write_text(later)
    path = drop_in_path(config, "gate-in")
    draft = {"roi": [[0.0, 0.3], [1.0, 0.3], [1.0, 1.0]]}
    problems = problems_of(draft, camera_id="gate-in", config=config, path=path)
    assert len(problems) == 1
    assert "roi: a later drop-in" in problems[0]
    assert problems_of({"speed": SPEED}, camera_id="gate-in", config=config, path=path) == []


@pytest.mark.parametrize(
    ("draft", "problem"),
    [
        ({"roi": [[0.1, 0.1], [0.9, 0.9]]}, "roi: a polygon needs at least 3 points, this has 2"),
        ({"speed": {**SPEED, "metres": "x" * 5}}, "speed.metres"),
        ({"speed": {**SPEED, "limit": -3}}, "speed.limit"),
        ({"speed": {**SPEED, "extra": {"a": [1] * 50}}}, "speed.extra: no setting has this name"),
        ({"speed": 7}, "speed"),
    ],
)
def test_whatever_the_page_sends_is_answered_with_what_is_wrong(
    config: Path, draft: dict[str, object], problem: str
) -> None:
    path = drop_in_path(config, "gate-in")
    problems = problems_of(draft, camera_id="gate-in", config=config, path=path)
    assert [p for p in problems if p.startswith(problem)], problems
    assert str(path) not in problems[0]


def test_a_folder_that_may_not_be_written_is_named(config: Path) -> None:
    (config.parent / "conf.d").write_text("a file, where a folder belongs")
    path = drop_in_path(config, "gate-in")
    problems = save({"speed": SPEED}, camera_id="gate-in", config=config, path=path)
    assert "cannot be written" in problems[0]


def test_the_preview_puts_the_grid_where_the_metres_are() -> None:
    shown = preview(SPEED, np.zeros((720, 1280, 3), np.uint8))
    assert shown["step_m"] == 1.0
    assert max(shown["errors_px"]) < 0.1
    assert shown["above"].startswith("data:image/jpeg;base64,")
    # Of the corners (0, 0) and (0, 12) both lines are drawn.
    for corner in ((412.0, 650.0), (560.0, 402.0)):
        near = [line for line in shown["grid"] if _distance(corner, line) < 1.0]
        assert len(near) == 2
    assert preview({**SPEED, "points": []}, np.zeros((720, 1280, 3), np.uint8)) == {}


def _distance(point: tuple[float, float], line: list[list[float]]) -> float:
    """From a point to a line of several pieces."""
    at = np.array(point)
    found = []
    for a, b in pairwise(np.array(line)):
        share = np.clip((at - a) @ (b - a) / max((b - a) @ (b - a), 1e-9), 0.0, 1.0)
        found.append(float(np.linalg.norm(a + share * (b - a) - at)))
    return min(found)


def test_a_known_plate_width_makes_a_typical_car_surer() -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    said = [
        preview({**SPEED, **more}, image)["typical"] for more in ({}, {"plate_widths_m": [0.52]})
    ]
    blind, sighted = (float(re.findall(r"about . ([\d.]+) km/h", text)[0]) for text in said)
    assert sighted < 0.6 * blind


class Asking:
    """Requests to a server, as a browser or somebody else would make them."""

    def __init__(self, server: PageServer) -> None:
        self._server = server

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        **headers: str,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body or None, headers=named)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content


@pytest.fixture
def server() -> object:
    with PageServer(b"picture", {"echo": lambda body: {"got": dict(body)}}) as running:
        yield running


def test_the_page_loads_nothing_from_elsewhere(server: PageServer) -> None:
    status, headers, content = Asking(server)("GET", f"/{server.token}/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert b"http" not in content.replace(b"http-equiv", b"")
    for name in ("page.js", "tools.js", "page.css", "picture.jpg"):
        assert Asking(server)("GET", f"/{server.token}/{name}")[0] == 200


def test_without_the_token_there_is_nothing(server: PageServer) -> None:
    for path in ("/", "/picture.jpg", f"/{server.token[:-1]}/", "/x/page.js", f"/{server.token}"):
        expected = 200 if path == f"/{server.token}" else 404
        assert Asking(server)("GET", path)[0] == expected
    for path in (f"/{server.token}/../page.html", f"/{server.token}/page.html%00"):
        assert Asking(server)("GET", path)[0] == 404


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_a_foreign_site_reaches_nothing(server: PageServer, header: dict[str, str]) -> None:
    path = f"/{server.token}/echo"
    status, _, _ = Asking(server)("POST", path, b"{}", Content_Type="application/json", **header)
    assert status == 404


def test_only_json_objects_of_a_sane_size_are_taken(server: PageServer) -> None:
    ask, path = Asking(server), f"/{server.token}/echo"
    good = json.dumps({"a": [1, 2]}).encode()
    status, _, content = ask("POST", path, good, Content_Type="application/json")
    assert (status, json.loads(content)) == (200, {"got": {"a": [1, 2]}})
    assert ask("POST", path, good, Content_Type="text/plain")[0] == 400
    for bad in (b"[1]", b"{", b'{"a": NaN}', b"[" * 100_000, b"\xff"):
        assert ask("POST", path, bad, Content_Type="application/json")[0] == 400
    too_long = {"Content_Type": "application/json", "Content_Length": "99999999"}
    assert ask("POST", path, b"{}", **too_long)[0] == 400


def test_it_listens_on_the_loopback_alone(server: PageServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert server._server.server_address[0] == "127.0.0.1"
