"""Counting lines and zones in the configuration: what is wrong is named, with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from alprd.config import ConfigError, load_settings

CAMERA = '[[cameras]]\nid = "gate"\nsource = "rtsp://192.0.2.1/s"\n'


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "alprd.toml"
    path.write_text(CAMERA + text)
    return load_settings(path, environ={}).cameras[0]


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return [
        problem.replace(f" (in {tmp_path}/alprd.toml)", "") for problem in caught.value.problems
    ]


def line(points: str, more: str = "") -> str:
    return f'[[cameras.lines]]\nname = "entrance"\npoints = {points}\n{more}\n'


def test_a_line_counts_downwards_and_allows_both_ways_unless_told_otherwise(tmp_path: Path) -> None:
    camera = load(tmp_path, line("[[0.1, 0.6], [0.9, 0.6]]"))
    assert [(each.inwards, each.allowed) for each in camera.lines] == [("down", "both")]


def test_a_camera_may_have_several_lines_and_zones(tmp_path: Path) -> None:
    zone = '[[cameras.zones]]\nname = "bay"\npolygon = [[0, 0], [1, 0], [1, 1]]\n'
    text = line("[[0, 0.5], [1, 0.5]]") + zone + zone.replace("bay", "kerb")
    camera = load(tmp_path, text)
    assert [each.name for each in camera.lines] == ["entrance"]
    assert [each.name for each in camera.zones] == ["bay", "kerb"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            line("[[0.1, 0.6]]"),
            "cameras[gate].lines[entrance].points: a line has 2 points, this has 1; give its two "
            "ends",
        ),
        (
            line("[[0.1, 0.6], [0.5, 0.6], [0.9, 0.6]]"),
            "cameras[gate].lines[entrance].points: a line has 2 points, this has 3; give its two "
            "ends",
        ),
        (
            line("[[0.1, 0.6], [0.1, 0.6]]"),
            "cameras[gate].lines[entrance].points: both points are the same; give the line's two "
            "ends",
        ),
        (
            line("[[0.1, 0.6], [0.9, 1.6]]"),
            "cameras[gate].lines[entrance].points[1][1]: 1.6 is out of range; give fractions from "
            "0.0 to 1.0",
        ),
        (
            line("[[0.1, 0.6], [0.9]]"),
            "cameras[gate].lines[entrance].points[1][1]: is missing; write each point as [x, y]",
        ),
        (
            line("[[0.5, 0.1], [0.5, 0.9]]"),
            'cameras[gate].lines[entrance]: nothing that goes "down" crosses this line, it runs '
            'that way itself; set inwards to "left" or "right"',
        ),
        (
            line("[[0.1, 0.6], [0.9, 0.6]]", 'inwards = "dwon"'),
            'cameras[gate].lines[entrance].inwards: "dwon" is not possible; did you mean "down"? '
            'possible are "up", "down", "left", "right"',
        ),
        (
            line("[[0.1, 0.6], [0.9, 0.6]]", "alowed = true"),
            "cameras[gate].lines[entrance].alowed: no setting has this name; the nearest valid "
            "name is cameras[gate].lines[entrance].allowed",
        ),
        (
            '[[cameras.lines]]\nname = "entrance"\n',
            "cameras[gate].lines[entrance].points: is missing; add points = ...",
        ),
        (
            2 * line("[[0.1, 0.6], [0.9, 0.6]]"),
            "cameras[gate].lines: two have the name 'entrance'; names must be unique",
        ),
        (
            '[[cameras.zones]]\nname = "bay"\npolygon = [[0.1, 0.1], [0.9, 0.9]]\n',
            "cameras[gate].zones[bay].polygon: a polygon needs at least 3 points, this has 2; add "
            "some",
        ),
        (
            '[[cameras.zones]]\nname = "bay"\npolygon = [[0, 0], [1, 1], [1, 0], [0, 1]]\n',
            "cameras[gate].zones[bay].polygon: the polygon crosses itself: the side after point 1 "
            "meets the one after point 3; give the points in order around the area",
        ),
        (
            '[[cameras.zones]]\nname = "bay"\npolygon = [[0, 0], [0.5, 0.5], [1, 1]]\n',
            "cameras[gate].zones[bay].polygon: the polygon has no area, its points lie on one "
            "line; spread them",
        ),
        (
            "[[cameras.zones]]\npolygon = [[0, 0], [1, 0], [1, 1]]\n",
            "cameras[gate].zones[0].name: is missing; add name = ...",
        ),
    ],
)
def test_what_is_wrong_with_a_line_or_zone_is_named(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert problems(tmp_path, text) == [problem]
