"""Lines that are crossed, zones that are entered, and what that adds up to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from alprd.core.counting import LineCount, _over, count, crossings, in_or_out, visits
from alprd.core.tracking import PathPoint
from alprd.core.types import Crossing, ZoneVisit

SIZE = (1000, 1000)
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Line:
    points: Points = ((0.2, 0.5), (0.8, 0.5))
    inwards: str = "down"
    allowed: str = "both"
    name: str = "entrance"


@dataclass(frozen=True)
class Zone:
    polygon: Points = ((0.2, 0.4), (0.8, 0.4), (0.8, 0.6), (0.2, 0.6))
    name: str = "bay"


def path(*places: tuple[float, float], width: float = 50.0) -> list[PathPoint]:
    """A place a second."""
    return [
        PathPoint(t_s=float(i), x_px=x, y_px=y, width_px=width, height_px=width / 4.7)
        for i, (x, y) in enumerate(places)
    ]


def crossed(*places: tuple[float, float], line: Line | None = None) -> list[str]:
    return [c.label for c in crossings(path(*places), [line or Line()], SIZE)]


def test_a_line_is_crossed_in_the_direction_that_the_configuration_calls_in() -> None:
    down = ((500.0, 400.0), (500.0, 600.0))
    assert crossed(*down) == ["in"]
    assert crossed(*reversed(down)) == ["out"]
    assert crossed(*down, line=Line(inwards="up")) == ["out"]
    assert crossed(*down, line=Line(points=((0.8, 0.5), (0.2, 0.5)))) == ["in"]


def test_an_upright_line_is_crossed_to_the_right_and_left() -> None:
    line = Line(points=((0.5, 0.1), (0.5, 0.9)), inwards="right")
    assert crossed((400, 500), (600, 520), line=line) == ["in"]
    assert crossed((600, 500), (400, 520), line=line) == ["out"]


def test_who_passes_beside_the_ends_of_a_line_does_not_cross_it() -> None:
    assert crossed((100, 400), (100, 600)) == []
    assert crossed((850, 400), (900, 600)) == []


def test_a_plate_that_trembles_on_the_line_has_not_crossed_it() -> None:
    assert crossed((500, 400), (500, 503), (500, 497), (500, 504), (500, 400)) == []


def test_a_plate_that_stops_on_the_line_and_drives_on_crosses_it_once() -> None:
    assert crossed((500, 400), (500, 498), (500, 503), (500, 499), (500, 600)) == ["in"]


def test_who_drives_back_goes_out_again() -> None:
    assert crossed((500, 400), (500, 600), (500, 400)) == ["in", "out"]


def test_the_time_of_a_crossing_is_between_the_pictures() -> None:
    (only,) = crossings(path((500, 400), (500, 440), (500, 600)), [Line()], SIZE)
    assert only.t_s == pytest.approx(1.375)


def test_who_goes_against_the_allowed_direction_is_on_the_wrong_way() -> None:
    one_way = Line(allowed="in")
    (out,) = crossings(path((500, 600), (500, 400)), [one_way], SIZE)
    (inward,) = crossings(path((500, 400), (500, 600)), [one_way], SIZE)
    assert (out.wrong_way, out.checked) == (True, True)
    assert (inward.wrong_way, inward.checked) == (False, True)


def test_several_lines_are_told_in_the_order_in_which_they_were_crossed() -> None:
    lines = [Line(points=((0.2, 0.7), (0.8, 0.7)), name="second"), Line(name="first")]
    found = crossings(path((500, 400), (500, 600), (500, 800)), lines, SIZE)
    assert [c.line for c in found] == ["first", "second"]


@pytest.mark.parametrize(
    "line",
    [
        Line(points=((0.5, 0.5), (0.5, 0.5))),
        Line(points=((float("nan"), 0.5), (0.5, 0.5))),
        Line(inwards="sideways"),
    ],
)
def test_a_line_that_is_none_counts_nothing(line: Line) -> None:
    assert crossed((500, 400), (500, 600), line=line) == []


def test_a_zone_is_entered_and_left_and_its_time_is_told() -> None:
    (visit,) = visits(path((500, 300), (500, 450), (500, 550), (500, 700)), [Zone()], SIZE)
    assert visit == ZoneVisit(zone="bay", dwell_s=1.0, entered=True, left=True)


def test_who_begins_in_a_zone_did_not_enter_it() -> None:
    (visit,) = visits(path((500, 500), (500, 550), (500, 700)), [Zone()], SIZE)
    assert (visit.entered, visit.left) == (False, True)
    assert visits(path((500, 100), (500, 200)), [Zone()], SIZE) == ()


def test_the_last_line_tells_in_or_out_and_without_lines_the_zones_do() -> None:
    def crossing(label: str) -> Crossing:
        return Crossing(line="x", label=label, wrong_way=False, checked=False, t_s=0.0)

    entered = ZoneVisit(zone="bay", dwell_s=1.0, entered=True, left=False)
    left = ZoneVisit(zone="kerb", dwell_s=1.0, entered=False, left=True)
    through = ZoneVisit(zone="road", dwell_s=1.0, entered=True, left=True)
    assert in_or_out([crossing("in"), crossing("out")], [entered]) == "out"
    assert in_or_out([], [entered, through]) == "in"
    assert in_or_out([], [left]) == "out"
    assert in_or_out([], [entered, left]) is None
    assert in_or_out([], [through]) is None


def test_counts_add_up_per_line_and_the_old_ones_stay_as_they_were() -> None:
    one_way = Line(allowed="in")
    before = count({}, crossings(path((500, 400), (500, 600)), [one_way], SIZE))
    after = count(before, crossings(path((500, 600), (500, 400)), [one_way], SIZE))
    assert before == {"entrance": LineCount(inward=1)}
    assert after == {"entrance": LineCount(inward=1, outward=1, wrong_way=1)}


@pytest.mark.parametrize("ys", [(496, 560, 624), (376, 440, 504)])
def test_a_fast_vehicle_has_crossed_with_one_point_just_beyond_the_line(
    ys: tuple[float, ...],
) -> None:
    places = [(500.0, y) for y in ys]
    assert crossed(*places) == ["in"]
    assert crossed(*reversed(places)) == ["out"]


def test_a_vehicle_that_stops_just_beyond_a_line_has_not_crossed_it_yet() -> None:
    assert crossed(*((500, y) for y in (376, 440, 480, 496, 503, 504, 503, 504))) == []


@pytest.mark.parametrize("inwards", ["up", "down", "left", "right"])
def test_the_lines_that_are_not_looked_at_closely_were_not_crossed(inwards: str) -> None:
    """Wandering paths, some of a single point, and lines of any slope, as long as one likes."""
    rng = np.random.default_rng(7)
    told = 0
    for _ in range(300):
        steps = rng.normal(0.0, rng.choice([2.0, 60.0]), (int(rng.integers(1, 30)), 2))
        way = path(*map(tuple, rng.uniform(0.0, 1000.0, 2) + steps.cumsum(axis=0)))
        ends = rng.uniform(-0.2, 1.2, (2, 2)).round(1)
        line = Line(points=tuple(map(tuple, ends.tolist())), inwards=inwards)
        found = crossings(way, [line], SIZE)
        assert found == tuple(_over(way, line, SIZE))
        told += len(found)
    assert told > 20
    assert crossings([], [Line()], SIZE) == ()
