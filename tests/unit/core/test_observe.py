"""What of a frame's detections is worth reading and tracking."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alprd.core.observe import (
    Carrier,
    as_read,
    carriers,
    observed,
    plausible_plates,
    sane_vehicles,
    usable_read,
)
from alprd.core.types import Detection, PlateRead
from support.plates_in_frames import make_frame, make_plate, make_read

SIZE = (1280, 720)


def kept(*detections: Detection, roi: list[tuple[float, float]] | None = None) -> list[Detection]:
    return [p.detection for p in plausible_plates(detections, frame_size=SIZE, roi=roi)]


def held(centre: tuple[float, float], *vehicles: Detection) -> list[Detection]:
    numbered = [Carrier(id=i, detection=v) for i, v in enumerate(vehicles)]
    return [carrier.detection for carrier in carriers(centre, numbered)]


def test_of_plates_upon_each_other_the_best_stays() -> None:
    best, shifted, beside = (
        make_plate(score=0.9),
        make_plate(606, score=0.8),
        make_plate(750, score=0.7),
    )
    inside = make_plate(width=60, score=0.5)
    assert kept(shifted, inside, best, beside) == [best, beside]


def test_plates_come_best_first_in_whatever_order_they_were_found() -> None:
    plates = [make_plate(200.0 * i + 100, score=0.3 + 0.1 * i) for i in range(5)]
    assert kept(*plates) == kept(*reversed(plates)) == plates[::-1]


def test_a_plate_outside_the_region_of_interest_is_ignored() -> None:
    lower_half = [(0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)]
    inside, outside = make_plate(y=500), make_plate(y=300)
    assert kept(inside, outside, roi=lower_half) == [inside]


@pytest.mark.parametrize(
    "broken",
    [
        make_plate(score=0.1),
        make_plate(score=math.nan),
        make_plate(width=4),
        make_plate(x=-500),
        make_plate(x=1e30),
        make_plate(x=math.nan),
        replace(make_plate(), quad=make_plate().quad[::-1]),
        replace(make_plate(), quad=np.zeros((4, 2), np.float32)),
        replace(make_plate(), quad=np.zeros((3, 2), np.float32)),
        replace(make_plate(), quad=None, box=(10, 10, 10, 10)),
        replace(make_plate(), quad=None, box=(0, 100, 1200, 130)),
        replace(make_plate(), quad=None, box=(100, 0, 120, 700)),
        replace(make_plate(), label="car"),
    ],
)
def test_what_cannot_be_a_plate_is_turned_away(broken: Detection) -> None:
    assert kept(broken) == []


def test_a_detector_without_corners_gives_the_box() -> None:
    boxed = replace(make_plate(), quad=None)
    assert kept(boxed) == [boxed]


def test_a_frame_without_a_size_shows_nothing() -> None:
    assert plausible_plates([make_plate()], frame_size=(0, 0), roi=None) == []


def test_a_plate_belongs_to_the_smallest_vehicle_that_holds_it_low() -> None:
    car = Detection(label="car", score=0.8, box=(500, 250, 700, 450))
    behind = Detection(label="truck", score=0.9, box=(300, 0, 900, 500))
    below = Detection(label="bus", score=0.9, box=(550, 390, 650, 600))
    assert held((600.0, 400.0), behind, car, below) == [car, behind]
    assert held((600.0, 260.0), car) == []
    assert held((100.0, 400.0), car, behind) == []


def test_vehicles_without_a_sane_box_or_score_are_left_out() -> None:
    car = Detection(label="car", score=0.8, box=(500, 250, 700, 450))
    broken = [
        replace(car, score=math.nan),
        replace(car, score=0.0),
        replace(car, box=(0, 0, math.inf, 1)),
        replace(car, box=(5, 5, 1, 1)),
        make_plate(),
    ]
    assert sane_vehicles([*broken, car]) == [car]


def test_a_read_must_be_a_plates_text_with_its_posteriors() -> None:
    good = make_read()
    assert usable_read(good) is not None
    for text in ("", "AB", "ABCDEFGHIJKL"):
        assert usable_read(make_read(text)) is None
    assert usable_read(replace(good, text="ls15ebc")) is None
    assert usable_read(replace(good, text="LS15EB")) is None
    assert usable_read(replace(good, char_probs=good.char_probs * np.nan)) is None


def test_a_reads_figures_are_brought_into_range() -> None:
    wild = replace(make_read(), quality=math.nan, score=7.0, sharpness=math.inf)
    tamed = usable_read(replace(wild, regions=(("GB", math.nan),)))
    assert tamed is not None
    assert (tamed.quality, tamed.score, tamed.sharpness) == (0.0, 1.0, 0.0)
    assert tamed.regions == (("GB", 0.0),)


def test_a_plate_is_where_the_reader_saw_its_corners_if_that_is_a_plate() -> None:
    [plate] = plausible_plates([make_plate(600, 400, 100)], frame_size=SIZE, roi=None)

    def seen(read: PlateRead | None) -> tuple[float, float, float]:
        found = observed(plate, read, make_frame(), [], t_s=0.0, since_s=0.1)
        assert found.quad[0][0] == pytest.approx(found.x_px - found.width_px / 2)
        return found.x_px, found.y_px, found.width_px

    corners = make_plate(604, 402, 96).quad
    assert corners is not None
    assert seen(replace(make_read(), quad=corners)) == pytest.approx((604, 402, 96))
    assert seen(None) == (600, 400, 100)
    # Corners of what cannot be a plate's text, or of no plate, move nothing.
    assert seen(replace(make_read("A"), quad=corners)) == (600, 400, 100)
    assert seen(replace(make_read(), quad=corners[::-1].copy())) == (600, 400, 100)
    assert seen(replace(make_read(), quad=corners * np.float32(np.nan))) == (600, 400, 100)


def test_a_reader_that_sees_the_corners_elsewhere_moves_no_plate() -> None:
    (plate,) = plausible_plates([make_plate()], frame_size=SIZE, roi=None)
    near = replace(make_read(), quad=(np.array(plate.quad) + 3.0).astype(np.float32))
    far = replace(make_read(), quad=(np.array(plate.quad) + 500.0).astype(np.float32))
    nowhere = replace(make_read(), quad=np.full((4, 2), np.nan, np.float32))
    assert as_read(plate, near).centre == pytest.approx((plate.centre[0] + 3, plate.centre[1] + 3))
    assert as_read(plate, far) is plate
    assert as_read(plate, nowhere) is plate
