"""[cameras.speed]: what was measured on the road, and every mistake that can be made with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alprd.config import ConfigError, SpeedSettings, load_settings

GOOD = """
frame_size = [1280, 720]
points = [[412, 650], [880, 648], [700, 402], [560, 402]]
metres = [[0, 0], [3.5, 0], [3.5, 12], [0, 12]]
"""
LINES = "[[[300, 600], [900, 600]], [[400, 400], [800, 400]]]"


def load(tmp_path: Path, speed: str, *, drop_in: str | None = None) -> SpeedSettings:
    camera = '[[cameras]]\nid = "gate"\nsource = "/clip.mp4"\n[cameras.speed]\n'
    path = tmp_path / "alprd.toml"
    path.write_text(camera + speed)
    if drop_in is not None:
        (tmp_path / "conf.d").mkdir()
        text = f'[[cameras]]\nid = "gate"\n[cameras.speed]\n{drop_in}'
        (tmp_path / "conf.d" / "50.toml").write_text(text)
    found = load_settings(path, environ={}).cameras[0].speed
    assert found is not None
    return found


def problem(tmp_path: Path, speed: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, speed)
    assert len(caught.value.problems) == 1, caught.value.problems
    return without_file(caught.value.problems[0])


def without_file(problem: str) -> str:
    return re.sub(r" \(in [^)]*\.toml\)", "", problem)


def test_points_and_their_metres_are_a_calibration(tmp_path: Path) -> None:
    calibration = load(tmp_path, GOOD).calibration()
    assert calibration.points[1] == (880.0, 648.0)
    assert calibration.metres[2] == (3.5, 12.0)


def test_a_rectangle_is_its_corners_in_metres(tmp_path: Path) -> None:
    rectangle = GOOD.replace(GOOD.splitlines()[3], "rectangle_m = [3.5, 12]")
    measured = load(tmp_path, rectangle).calibration()
    assert measured.metres == ((0.0, 0.0), (3.5, 0.0), (3.5, 12.0), (0.0, 12.0))


def test_two_lines_a_known_distance_apart_are_a_calibration(tmp_path: Path) -> None:
    text = f"frame_size = [1280, 720]\nlines = {LINES}\ndistance_m = 10\ncamera_height_m = 5"
    assert load(tmp_path, text).calibration().distance_m == 10.0


def test_the_name_changes_with_whatever_the_speed_rests_on(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    other = settings.model_copy(update={"plate_height_m": 0.6})
    same = settings.model_copy(update={"limit": 50.0})
    assert other.calibration().name != settings.calibration().name
    assert same.calibration().name == settings.calibration().name


def test_a_drop_in_with_metres_takes_back_a_rectangle_below_it(tmp_path: Path) -> None:
    rectangle = GOOD.replace(GOOD.splitlines()[3], "rectangle_m = [3, 9]")
    settings = load(tmp_path, rectangle, drop_in=GOOD)
    assert settings.rectangle_m is None
    assert settings.calibration().metres[2] == (3.5, 12.0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[412, 650], ", "", "the road's plane needs at least 4 points, not 3; add some"),
        (", [0, 12]", "", "4 points and 3 places in metres; give one place for every point"),
        (
            "[[412, 650], [880, 648], [700, 402], [560, 402]]",
            "[[100, 100], [200, 200], [300, 300], [560, 402]]",
            "lie on one line in the picture; give four of which no three are in line",
        ),
        (
            "[3.5, 12], [0, 12]",
            "[7, 0], [0, 12]",
            "lie on one line in metres; give four of which no three are in line",
        ),
        (
            "[700, 402], [560, 402]",
            "[560, 402], [700, 402]",
            "crosses itself in one of the two); give both lists in the same order",
        ),
        ("[880, 648]", "[1300, 648]", "point 2 (1300, 648) lies outside the picture of 1280 x 720"),
        ("[880, 648]", "[880, -3]", "point 2 (880, -3) lies outside the picture"),
        ("[3.5, 0]", "[0, 0]", "points 1 and 2 are 0 m apart; correct their places in metres"),
        ("[880, 648]", "[412, 650]", "points 1 and 2 are the same place in the picture"),
        ("frame_size = [1280, 720]", "", "frame_size: is missing"),
        ("[412, 650]", "[412]", "points[0][1]: is missing; write each point as [x, y]"),
        ("[412, 650]", "[4, 5, 6]", "points[0]: is not a point; write each point as [x, y]"),
        ("[412, 650]", '["a", 650]', 'points[0][0]: "a" is not a number; write a number'),
        ("[1280, 720]", "[1280]", "frame_size[1]: is missing; write it as [width, height]"),
        ("[1280, 720]", "[1280, 7]", "7 is out of range; give 16 to 65535 pixels"),
        ("points = ", "plate_widths_m = [52.0]\npoints = ", "give 0.1 to 2.0 metres"),
        ("metres = ", "rectangle_m = [0, 12]\nmetres_ = ", "no setting has this name"),
    ],
)
def test_a_mistake_with_points_is_named_with_its_remedy(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    named = [p for p in map(without_file, caught.value.problems) if expected in p]
    assert named, caught.value.problems
    assert named[0].startswith("cameras[gate].speed")
    assert ";" in named[0]


@pytest.mark.parametrize(
    ("rectangle", "points", "expected"),
    [
        ("[0, 12]", None, "a side of the rectangle is 0 m long; give both in metres"),
        ("[3.5, -1]", None, "a side of the rectangle is 0 m long"),
        (
            "[3.5, 12]",
            "[[412, 650], [700, 402], [880, 648], [560, 402]]",
            "the corners cross each other or bend inwards; give them in order",
        ),
        ("[3.5, 12]", "[[412, 650], [880, 648], [700, 402]]", "4 corners, these are 3 points"),
    ],
)
def test_a_mistake_with_a_rectangle_is_named(
    tmp_path: Path, rectangle: str, points: str | None, expected: str
) -> None:
    points = points or "[[412, 650], [880, 648], [700, 402], [560, 402]]"
    text = f"frame_size = [1280, 720]\npoints = {points}\nrectangle_m = {rectangle}"
    assert expected in problem(tmp_path, text)


@pytest.mark.parametrize(
    ("lines", "rest", "expected"),
    [
        (LINES, "distance_m = 0", "the lines are 0 m apart; give distance_m"),
        (LINES, "", "the lines are 0 m apart; give distance_m"),
        (LINES, "distance_m = 10", "give camera_height_m"),
        (LINES, "distance_m = 10\ncamera_height_m = 0.6", "hardly higher than the plates"),
        (
            "[[[300, 600], [900, 600]], [[400, 400], [800, 700]]]",
            "distance_m = 10",
            "the lines cross in the picture",
        ),
        (
            "[[[300, 600], [300, 600]], [[400, 400], [800, 400]]]",
            "distance_m = 10",
            "line 1 has no length",
        ),
        ("[[[300, 600], [900, 600]]]", "distance_m = 10", "1 lines; give two"),
    ],
)
def test_a_mistake_with_two_lines_is_named(
    tmp_path: Path, lines: str, rest: str, expected: str
) -> None:
    text = f"frame_size = [1280, 720]\nlines = {lines}\n{rest}"
    assert expected in problem(tmp_path, text)


def test_a_point_that_contradicts_the_others_is_named(tmp_path: Path) -> None:
    text = """
frame_size = [1280, 720]
points = [[412, 650], [880, 648], [700, 402], [560, 402], [630, 500], [600, 470]]
metres = [[0, 0], [3.5, 0], [3.5, 12], [0, 12], [1.75, 4], [9, 9]]
"""
    assert "point 6 is far from where the other points put it" in problem(tmp_path, text)


def test_ways_to_calibrate_exclude_each_other(tmp_path: Path) -> None:
    assert "keep one of the two" in problem(tmp_path, GOOD + "rectangle_m = [3.5, 12]")
    assert "keep one of the two" in problem(tmp_path, GOOD + f"lines = {LINES}\ndistance_m = 9")
    assert "without lines" in problem(tmp_path, GOOD + "distance_m = 9")
