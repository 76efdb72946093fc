"""Boxes, rows and runs of foreign networks: what the forms mean, and what must not count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alprd.core.box_forms import (
    Activation,
    BoxForm,
    corner_form,
    in_pixels,
    probabilities,
    turned_corners,
)
from alprd.core.decode import DetectorRules, stretch
from alprd.core.decode_ctc import decode_ctc, folded, folding
from alprd.core.decode_ssd import SsdForm, decode_ssd
from alprd.core.decode_yolo import HeadForm, RowForm, decode_head, decode_rows
from alprd.core.types import ALPHABET, BLANK

RULES = DetectorRules(labels=("plate", None), thresholds=(0.5, 0.5), nms_iou=0.5)
PLACES = [stretch((200, 100), (100, 100))] * 2
"""Frames twice as wide as the input."""


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("xyxy", [10, 20, 30, 60]),
        ("yxyx", [20, 10, 60, 30]),
        ("cxcywh", [20, 40, 20, 40]),
        ("xywh", [10, 20, 20, 40]),
    ],
)
def test_every_form_of_a_box_means_the_same_corners(form: BoxForm, values: list[float]) -> None:
    assert corner_form(np.array([values], np.float32), form).tolist() == [[10, 20, 30, 60]]


def test_parts_of_the_picture_count_its_own_width_and_height() -> None:
    box = np.array([[0.1, 0.5, 0.2, 1.0]], np.float32)
    assert in_pixels(box, "fraction", (640, 384))[0] == pytest.approx([64, 192, 128, 384])


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "log"])
def test_activations_stay_finite_and_in_order_however_large_the_values(
    activation: Activation,
) -> None:
    values = np.array([[-1e4, -1.0, 0.0]], np.float16)
    found = probabilities(values, activation)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found[0].tolist() == sorted(found[0].tolist())
    assert (found >= 0).all()
    assert (found <= 1.0 + 1e-6).all()


def test_what_is_no_number_stays_none() -> None:
    for activation in ("sigmoid", "softmax", "log"):
        assert np.isnan(probabilities(np.array([[np.nan, 1.0]], np.float32), activation)).any()


@given(
    angle=st.floats(-math.pi, math.pi),
    long=st.floats(20, 80),
    short=st.floats(4, 15),
    upright=st.booleans(),
)
def test_a_turned_box_has_its_long_sides_along_the_text_from_left_to_right(
    *, angle: float, long: float, short: float, upright: bool
) -> None:
    # The same rectangle, said with width and height the other way round.
    box = [50.0, 60.0, long, short] if upright else [50.0, 60.0, short, long]
    told = angle if upright else angle - math.pi / 2
    [quad] = turned_corners(np.array([box]), np.array([told]))
    top, side = quad[1] - quad[0], quad[3] - quad[0]
    assert math.hypot(*top) == pytest.approx(long)
    assert math.hypot(*side) == pytest.approx(short)
    assert top[0] >= -1e-9  # never upside down
    assert top[0] * side[1] - top[1] * side[0] == pytest.approx(long * short)  # clockwise
    assert quad.mean(axis=0) == pytest.approx([50.0, 60.0])


def rows(values: list[list[float]], columns: tuple[str, ...]) -> list[list[str]]:
    form = RowForm(columns=columns, units="pixels", input_size=(100, 100))
    array = np.array(values, np.float32).reshape(-1, len(columns))
    if "batch" not in columns:
        array = array.reshape(2, -1, len(columns))
    found = decode_rows(array, PLACES, RULES, form)
    return [[f"{d.label} {d.score:.1f} {d.box}" for d in each] for each in found]


TOGETHER = ("batch", "x1", "y1", "x2", "y2", "class", "score")


def test_rows_of_all_images_go_to_the_one_that_they_name() -> None:
    found = rows([[1, 10, 10, 20, 20, 0, 0.9], [0, 30, 10, 40, 20, 0, 0.8]], TOGETHER)
    assert found == [
        ["plate 0.8 (60.0, 10.0, 80.0, 20.0)"],
        ["plate 0.9 (20.0, 10.0, 40.0, 20.0)"],
    ]


@pytest.mark.parametrize(
    "row",
    [
        [2, 10, 10, 20, 20, 0, 0.9],  # no such image
        [-1, 10, 10, 20, 20, 0, 0.9],
        [0, 10, 10, 20, 20, 2, 0.9],  # no such class
        [0, 10, 10, 20, 20, -1, 0.9],
        [0, 10, 10, 20, 20, 1, 0.9],  # a class that is ignored
        [0, 10, 10, 20, 20, 0, 0.4],
        [0, 10, 10, 20, 20, 0, math.nan],
        [0, 10, 10, 20, 20, 0, math.inf],
        [math.nan, 10, 10, 20, 20, 0, 0.9],
        [0, 10, 10, 20, 20, math.nan, 0.9],
        [0, math.nan, 10, 20, 20, 0, 0.9],
        [0, 20, 10, 10, 20, 0, 0.9],  # inside out
    ],
)
def test_a_row_that_makes_no_sense_is_left_out(row: list[float]) -> None:
    assert rows([row], TOGETHER) == [[], []]


def test_no_rows_at_all_are_no_detections() -> None:
    assert rows([], TOGETHER) == [[], []]


def test_filling_rows_and_values_that_do_not_matter_are_skipped() -> None:
    columns = ("score", "skip", "cx", "cy", "w", "h", "skip")
    filled = [[0.9, 7, 15, 15, 10, 10, 7], [0.0] * 7, [0.0] * 7, [0.6, 7, 50, 50, 4, 4, 7]]
    assert rows(filled, columns) == [
        ["plate 0.9 (20.0, 10.0, 40.0, 20.0)"],
        ["plate 0.6 (96.0, 48.0, 104.0, 52.0)"],
    ]


def test_rows_may_hold_corners() -> None:
    corners = tuple(f"{axis}_{place}" for place in ("tl", "tr", "br", "bl") for axis in "xy")
    form = RowForm(
        columns=("x1", "y1", "x2", "y2", "score", *corners),
        units="fraction",
        input_size=(100, 100),
    )
    row = [0.1, 0.1, 0.3, 0.2, 0.9, 0.1, 0.1, 0.3, 0.12, 0.3, 0.2, 0.1, 0.18]
    [[found]] = decode_rows(np.array([[row]], np.float32), PLACES[:1], RULES, form)
    assert found.quad is not None
    assert found.quad.ravel() == pytest.approx([20, 10, 60, 12, 60, 20, 20, 18], abs=1e-4)


def head(cells: list[list[float]], rules: DetectorRules = RULES) -> list[str]:
    form = HeadForm(
        cells_last=False,
        boxes="cxcywh",
        units="pixels",
        objectness=False,
        activation="none",
        corners="none",
        corner_order=(0, 1, 2, 3),
        input_size=(100, 100),
    )
    [found] = decode_head(np.array([cells], np.float32), PLACES[:1], rules, form)
    return [f"{d.label} {d.score:.1f}" for d in found]


def test_a_cell_of_an_ignored_class_is_not_taken_for_its_second_best_one() -> None:
    assert head([[50, 50, 20, 10, 0.6, 0.9]]) == []
    assert head([[50, 50, 20, 10, 0.9, 0.6]]) == ["plate 0.9"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("column", range(6))
def test_what_is_no_number_in_a_head_costs_its_own_cell_only(*, bad: float, column: int) -> None:
    form = HeadForm(
        cells_last=True,
        boxes="cxcywh",
        units="fraction",
        objectness=False,
        activation="none",
        corners="angle",
        corner_order=(0, 1, 2, 3),
        input_size=(100, 100),
    )
    rules = DetectorRules(labels=("plate",), thresholds=(0.5,), nms_iou=0.5)
    sound = [0.5, 0.5, 0.2, 0.1, 0.9, 0.1]
    broken = [bad if k == column else value for k, value in enumerate(sound)]
    broken[0] += 0.3
    cells = np.array([[sound, broken]], np.float32).transpose(0, 2, 1)
    [found] = decode_head(cells, PLACES[:1], rules, form)
    whole = [d for d in found if d.box[0] == pytest.approx(79.1, abs=0.5)]
    assert len(whole) == 1
    for detection in found:
        assert detection.quad is not None
        assert np.isfinite([*detection.box, *detection.quad.ravel()]).all()


def test_classes_of_one_name_suppress_each_other() -> None:
    twins = DetectorRules(labels=("plate", "plate"), thresholds=(0.5, 0.5), nms_iou=0.5)
    others = DetectorRules(labels=("plate", "car"), thresholds=(0.5, 0.5), nms_iou=0.5)
    cells: list[list[float]] = [[50, 50, 20, 10, 0.9, 0.1], [51, 50, 20, 10, 0.1, 0.8]]
    assert head(cells, twins) == ["plate 0.9"]
    assert head(cells, others) == ["plate 0.9", "car 0.8"]


def test_an_ssd_counts_only_so_many_boxes_and_never_its_background() -> None:
    form = SsdForm(boxes="xyxy", units="fraction", activation="none", input_size=(100, 100))
    rules = DetectorRules(labels=(None, "plate"), thresholds=(2.0, 0.5), nms_iou=0.5)
    boxes = np.array([[[0, 0, 0.1, 0.1], [0.2, 0.2, 0.3, 0.3], [0.4, 0.4, 0.5, 0.5]]], np.float32)
    scores = np.array([[0.9, 0.8, 0.7]], np.float32)
    classes = np.array([[1, 0, 1]], np.int64)

    def number(count: NDArray[np.float32] | None) -> list[float]:
        [found] = decode_ssd(
            boxes,
            scores,
            classes=classes,
            count=count,
            placements=PLACES[:1],
            rules=rules,
            form=form,
        )
        return [round(d.score, 1) for d in found]

    assert number(None) == [0.9, 0.7]
    assert number(np.array([2.0], np.float32)) == [0.9]
    assert number(np.array([[0.0]], np.float32)) == []


CLASSES = ("A", "a", "-", "1")  # then the blank
MEANINGS = ("A", "A", None, "1", None)


def path(*labels: int, sure: float = 0.9) -> NDArray[np.float32]:
    """(1, T, 5) posteriors whose best classes are these."""
    probs = np.full((1, len(labels), 5), (1.0 - sure) / 4, np.float32)
    for column, label in enumerate(labels):
        probs[0, column, label] = sure
    return probs


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ((0, 0, 0), "A"),
        ((0, 4, 0), "AA"),  # the blank keeps twins apart
        ((0, 1), "AA"),  # two classes are two characters, though they are read alike
        ((0, 2, 2, 3), "A1"),  # a separator is no character
        ((0, 2, 0), "AA"),
        ((4, 4), ""),
        ((4, 3, 4, 4, 3, 3, 4), "11"),
    ],
)
def test_runs_of_a_class_are_one_character(labels: tuple[int, ...], text: str) -> None:
    [(found, probs)] = decode_ctc(path(*labels), MEANINGS, folding(MEANINGS), 4)
    assert found == text
    assert probs.shape == (len(text), 37)


def test_a_character_has_the_posterior_of_the_column_where_its_class_is_surest() -> None:
    chars = np.concatenate([path(0, 0, sure=0.6), path(0, 4, sure=0.8)], axis=1)
    [(text, probs)] = decode_ctc(chars, MEANINGS, folding(MEANINGS), 4)
    assert text == "A"
    # "A" and "a" count as one, the separator as nothing.
    assert probs[0, ALPHABET.index("A")] == pytest.approx(0.85)
    assert probs[0, BLANK] == pytest.approx(0.1)
    assert probs.sum() == pytest.approx(1.0)


def test_a_crop_that_holds_no_number_has_no_text_and_spoils_no_other() -> None:
    chars = np.concatenate([path(0, 3), path(0, 3)])
    chars[0, 1, 2] = np.nan
    (broken, probs), (text, _) = decode_ctc(chars, MEANINGS, folding(MEANINGS), 4)
    assert (broken, probs.shape, text) == ("", (0, 37), "A1")


def test_folding_keeps_what_probabilities_add_up_to() -> None:
    chars = np.random.default_rng(1).dirichlet(np.ones(5), (2, 3)).astype(np.float32)
    assert folded(chars, folding(MEANINGS)).sum(axis=-1) == pytest.approx(1.0)
