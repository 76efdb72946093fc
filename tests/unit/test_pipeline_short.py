"""Plates of two characters are published when all speaks for them; badges and lettering never."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alprd.core.types import Detection, PlateEvent, PlateRead
from support.line import pipeline, show
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules
from support.simulation import times

GB = (("GB", 0.95),)
Seen = list[tuple[Detection, PlateRead]]


def car(y: float) -> Detection:
    return Detection(label="car", score=0.8, box=(450.0, y - 180.0, 750.0, y + 30.0))


def read(text: str, **how: object) -> PlateRead:
    return make_read(text, **{"regions": GB, **how})  # type: ignore[arg-type]


def drive(
    seen: Callable[[int, float], Seen],
    *,
    cars: bool = True,
    seconds: float = 2.5,
    rules: Rules | None = None,
) -> list[PlateEvent]:
    """A car drives down the picture and away; `seen` gets the frame's number and its plate's y."""
    line, events = pipeline(rules), []
    show(line, -1.0, others=[car(100.0)])  # this camera's detector reports vehicles
    for i, t_s in enumerate(times(0.0, seconds, 10.0)):
        y = 300.0 + 100.0 * t_s
        events += show(line, t_s, seen(i, y), others=[car(y)] if cars else [])
    return [*events, *line.finish()]


def plate(y: float, text: str, x: float = 600.0, width: float = 100.0, **how: object) -> Seen:
    return [(make_plate(x, y, width), read(text, **how))]


@pytest.mark.parametrize("text", ["A1", "1A"])
def test_a_plate_of_two_characters_that_is_surely_read_is_published(text: str) -> None:
    (event,) = drive(lambda _, y: plate(y, text))
    assert event.plate == text


def test_two_such_plates_after_each_other_are_two_passes() -> None:
    line, events = pipeline(), []
    for begin_s, text in ((0.0, "A1"), (3.5, "B2")):
        for t_s in times(0.0, 2.0, 10.0):
            y = 300.0 + 150.0 * t_s
            events += show(line, begin_s + t_s, plate(y, text), others=[car(y)])
    events += line.finish()
    assert [event.plate for event in events] == ["A1", "B2"]


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(lambda _, y: plate(y, "AB"), id="two letters"),
        pytest.param(lambda _, y: plate(y, "12"), id="two digits"),
        pytest.param(
            lambda _, y: plate(y, "A1", regions=(("GB", 0.5), ("FR", 0.5))), id="unsure country"
        ),
        pytest.param(lambda _, y: plate(y, "A1", regions=()), id="no country"),
        pytest.param(lambda _, y: plate(y, "A1", regions=(("FR", 0.95),)), id="none of its plates"),
        pytest.param(lambda _, y: plate(y, "A1", sure=0.8), id="unsure characters"),
        pytest.param(lambda i, y: plate(y, "A1" if i < 4 else ""), id="four reads"),
        pytest.param(lambda i, y: plate(y, "A1" if i % 2 else ""), id="every other read"),
        pytest.param(
            lambda _, y: [
                *plate(y, "LS15EBC"),
                *plate(y - 60.0, "A4", x=520.0, width=40.0),
            ],
            id="a badge beside the plate",
        ),
    ],
)
def test_what_is_less_than_sure_is_not_published(seen: Callable[[int, float], Seen]) -> None:
    assert [e.plate for e in drive(seen) if len(e.plate or "") < 3] == []


def test_that_a_country_is_expected_does_not_make_its_plate_of_a_badge() -> None:
    rules = Rules(regions=("GB",))
    for share in (0.3, 0.45, 0.7):
        regions = (("GB", share), ("unknown", 1.0 - share))
        seen = drive(lambda _, y, r=regions: plate(y, "A1", regions=r), rules=rules)  # type: ignore[misc]
        assert seen == []
    assert [e.plate for e in drive(lambda _, y: plate(y, "A1"), rules=rules)] == ["A1"]


def test_on_no_vehicle_two_characters_are_lettering() -> None:
    assert drive(lambda _, y: plate(y, "A1"), cars=False) == []


def test_a_piece_of_a_plate_is_not_published_beside_the_whole() -> None:
    """A post covers all but two characters for a while."""
    events = drive(lambda i, y: plate(y, "LS15EBC" if i < 8 else "5E"))
    assert [event.plate for event in events] == ["LS15EBC"]
    events = drive(lambda i, y: plate(y, "LS15EBC" if i > 16 else "5E"))
    assert [event.plate for event in events] == ["LS15EBC"]


def test_a_photograph_is_not_enough() -> None:
    assert drive(lambda _, y: plate(y, "A1", sure=0.999), seconds=0.1) == []
