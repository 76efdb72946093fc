"""A large picture is looked at closely in every place, and every object counts once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.core.tiles import FINEST_SCALE, OVERLAP, in_picture, merge, tiles
from alprd.core.types import Detection

INPUT = (640, 384)


def plate(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    quad = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
    return Detection(label="plate", score=score, box=(x1, y1, x2, y2), quad=quad)


@pytest.mark.parametrize("size", [(1, 1), (640, 384), (1280, 720), (1280, 768), (300, 700)])
def test_a_picture_not_much_larger_than_the_input_needs_no_closer_look(
    size: tuple[int, int],
) -> None:
    assert tiles(size, INPUT) == []


def test_a_full_hd_picture_gets_four_closer_looks() -> None:
    found = tiles((1920, 1080), INPUT)

    assert len(found) == 4
    assert found[0] == (0, 0, 1280, 768)
    assert found[-1] == (640, 312, 1920, 1080)


@given(width=st.integers(1, 30_000), height=st.integers(1, 6_000), data=st.data())
def test_a_small_plate_anywhere_lies_whole_in_a_tile_of_the_finest_level(
    width: int, height: int, data: st.DataObject
) -> None:
    tile = (INPUT[0] / FINEST_SCALE, INPUT[1] / FINEST_SCALE)
    plate_width = min(width, 0.9 * OVERLAP * tile[0])
    plate_height = min(height, 0.9 * OVERLAP * tile[1])
    x = data.draw(st.floats(0, width - plate_width))
    y = data.draw(st.floats(0, height - plate_height))

    found = tiles((width, height), INPUT) or [(0, 0, width, height)]

    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in found)
    whole = [
        t
        for t in found
        if t[0] <= x and t[1] <= y and x + plate_width <= t[2] and y + plate_height <= t[3]
    ]
    finest = min(tile[0], width), min(tile[1], height)
    assert any((t[2] - t[0], t[3] - t[1]) == finest for t in whole)


def test_a_panorama_is_tiled_at_every_scale_between_whole_and_closest() -> None:
    widths = {x2 - x1 for x1, _, x2, _ in tiles((12_000, 3_000), INPUT)}

    assert widths == {1280, 2560, 5120, 10_240}


def test_a_tiles_detection_is_moved_to_its_place_in_the_picture() -> None:
    [found] = in_picture([plate(10, 20, 60, 40)], (1000, 500, 2280, 1268), (4000, 3000))

    assert found.box == (1010, 520, 1060, 540)
    assert found.quad is not None
    assert found.quad.tolist() == [[1010, 520], [1060, 520], [1060, 540], [1010, 540]]


@pytest.mark.parametrize(
    "cut",
    [plate(1, 50, 60, 80), plate(50, 1, 90, 30), plate(60, 50, 99, 80), plate(50, 60, 90, 99)],
)
def test_a_detection_at_a_tiles_inner_border_is_left_to_the_neighbour(cut: Detection) -> None:
    assert in_picture([cut], (100, 100, 200, 200), (300, 300)) == []


def test_a_detection_at_the_pictures_own_border_stays() -> None:
    corner = plate(0, 0, 100, 100)

    assert len(in_picture([corner], (0, 0, 100, 100), (100, 100))) == 1


def test_an_object_seen_in_several_looks_counts_once_with_its_best_score() -> None:
    car = Detection(label="car", score=0.95, box=(0, 0, 110, 50))

    found = merge(
        [plate(0, 0, 100, 50, 0.6), car, plate(2, 0, 102, 50, 0.8), plate(300, 0, 400, 50)]
    )

    assert [(each.label, each.score) for each in found] == [
        ("car", 0.95),
        ("plate", 0.9),
        ("plate", 0.8),
    ]
    assert merge([]) == []
