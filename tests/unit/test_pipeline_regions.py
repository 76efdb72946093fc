"""Where a camera's plates are from: what it is told to expect reaches the event."""

from __future__ import annotations

from alprd.core.types import Region
from support.line import pipeline, run, standing
from support.plates_in_frames import make_plate, make_read
from support.replay import Rules

TORN = (("GB", 0.55), ("IE", 0.45))


def region(text: str, regions: tuple[tuple[str, float], ...], expected: tuple[str, ...]) -> Region:
    seen = [(make_plate(600.0), make_read(text, regions=regions))]
    line = pipeline(Rules(regions=expected))
    (event, *others) = [event for _, event in run(line, 6.0, lambda _: seen)]
    assert others == []
    assert event.region is not None
    return event.region


def test_the_region_that_a_camera_expects_is_the_likelier_one() -> None:
    assert region("PLATE1X", TORN, ()).code == "GB"
    assert region("PLATE1X", TORN, ("IE",)).code == "IE"


def test_a_plate_that_is_clearly_from_elsewhere_stays_so_whatever_is_expected() -> None:
    assert region("AB123CD", (("FR", 0.95), ("GB", 0.02)), ("GB", "IE")).code == "FR"


def test_a_read_that_names_no_region_has_none_whatever_is_expected() -> None:
    line = pipeline(Rules(regions=("GB",)))
    (event,) = [event for _, event in run(line, 6.0, lambda _: standing())]
    assert event.region is None
