"""Raw network outputs become detections and texts; checked against plain loops written here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alprd.core.decode import (
    DetectorRules,
    Placement,
    decode_detections,
    decode_regions,
    decode_slots,
    letterbox,
    stretch,
    suppress,
)
from alprd.core.decode_ctc import folded, folding
from alprd.core.types import ALPHABET, Detection

LABELS = ("plate", "car", "bus")
SQUARE = stretch((100, 100), (100, 100))


def rules(
    *,
    thresholds: tuple[float, ...] = (0.4, 0.4, 0.4),
    nms_iou: float = 0.5,
    max_detections: int = 100,
) -> DetectorRules:
    return DetectorRules(
        labels=LABELS, thresholds=thresholds, nms_iou=nms_iou, max_detections=max_detections
    )


def decode_cells(
    *cells: tuple[tuple[float, ...], tuple[float, ...]],
    placement: Placement = SQUARE,
    corners: list[list[float]] | None = None,
    by: DetectorRules | None = None,
) -> list[Detection]:
    """Decode one image of (box, scores) cells."""
    boxes = np.array([[box for box, _ in cells]], np.float32)
    scores = np.array([[score for _, score in cells]], np.float32)
    quads = None if corners is None else np.array([corners], np.float32)
    return decode_detections(boxes, scores, quads, [placement], by or rules())[0]


# --- placement


@given(
    frame=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    net=st.tuples(st.integers(8, 2_000), st.integers(8, 2_000)),
)
def test_a_letterboxed_frame_lies_inside_the_input_centred_and_keeps_its_aspect(
    frame: tuple[int, int], net: tuple[int, int]
) -> None:
    placed = letterbox(frame, net)

    assert placed.offset_x >= 0
    assert placed.offset_y >= 0
    assert placed.offset_x + placed.width <= net[0]
    assert placed.offset_y + placed.height <= net[1]
    assert abs((net[0] - placed.width) - 2 * placed.offset_x) <= 1
    assert abs((net[1] - placed.height) - 2 * placed.offset_y) <= 1
    scale = min(net[0] / frame[0], net[1] / frame[1])
    assert abs(placed.width - max(1.0, frame[0] * scale)) <= 0.5
    assert abs(placed.height - max(1.0, frame[1] * scale)) <= 0.5


@given(
    frame=st.tuples(st.integers(2, 20_000), st.integers(2, 20_000)),
    net=st.tuples(st.integers(8, 2_000), st.integers(8, 2_000)),
    place=st.sampled_from([letterbox, stretch]),
    at=st.tuples(st.floats(0.0, 0.9), st.floats(0.0, 0.9), st.floats(0.05, 0.1)),
)
def test_a_box_drawn_into_the_input_comes_back_to_its_place_in_the_frame(
    frame: tuple[int, int],
    net: tuple[int, int],
    place: type[Placement],
    at: tuple[float, float, float],
) -> None:
    placed = place(frame, net)
    x1, y1 = at[0] * frame[0], at[1] * frame[1]
    x2, y2 = x1 + at[2] * frame[0], y1 + at[2] * frame[1]
    box = (
        x1 * placed.scale_x + placed.offset_x,
        y1 * placed.scale_y + placed.offset_y,
        x2 * placed.scale_x + placed.offset_x,
        y2 * placed.scale_y + placed.offset_y,
    )

    [found] = decode_cells((box, (0.9, 0.0, 0.0)), placement=placed)

    # Outputs are float32: a pixel of the frame is a small step of the input.
    allowed = 1e-3 * max(1.0, 1.0 / placed.scale_x, 1.0 / placed.scale_y)
    assert found.box == pytest.approx((x1, y1, x2, y2), abs=allowed)


# --- detections


def test_only_cells_at_or_above_their_own_labels_threshold_count() -> None:
    by = rules(thresholds=(0.5, 0.8, 0.1))
    found = decode_cells(
        ((0, 0, 10, 10), (0.5, 0.0, 0.0)),
        ((20, 0, 30, 10), (0.49, 0.0, 0.0)),
        ((40, 0, 50, 10), (0.0, 0.79, 0.0)),
        ((60, 0, 70, 10), (0.0, 0.0, 0.11)),
        by=by,
    )

    assert [(each.label, each.box[0]) for each in found] == [("plate", 0.0), ("bus", 60.0)]


def test_a_cell_is_one_object_of_its_best_label() -> None:
    [found] = decode_cells(((0, 0, 10, 10), (0.6, 0.9, 0.7)))

    assert (found.label, found.score) == ("car", pytest.approx(0.9))


def test_a_better_label_below_its_threshold_does_not_hide_one_above() -> None:
    [found] = decode_cells(((0, 0, 10, 10), (0.5, 0.6, 0.0)), by=rules(thresholds=(0.4, 0.8, 0.4)))

    assert found.label == "plate"


def test_overlapping_boxes_of_one_label_leave_the_best_and_other_labels_stay() -> None:
    found = decode_cells(
        ((0, 0, 10, 10), (0.7, 0.0, 0.0)),
        ((1, 0, 11, 10), (0.8, 0.0, 0.0)),
        ((1, 0, 11, 10), (0.0, 0.6, 0.0)),
        ((50, 0, 60, 10), (0.5, 0.0, 0.0)),
    )

    assert [(each.label, each.box[0]) for each in found] == [
        ("plate", 1.0),
        ("car", 1.0),
        ("plate", 50.0),
    ]


def test_a_suppressed_box_suppresses_nothing() -> None:
    # A chain: the second overlaps both neighbours, the third overlaps only the second.
    found = decode_cells(
        ((0, 0, 10, 10), (0.9, 0.0, 0.0)),
        ((3, 0, 13, 10), (0.8, 0.0, 0.0)),
        ((6, 0, 16, 10), (0.7, 0.0, 0.0)),
    )

    assert [each.box[0] for each in found] == [0.0, 6.0]


def test_equal_scores_go_by_the_cells_order() -> None:
    found = decode_cells(
        ((50, 0, 60, 10), (0.5, 0.0, 0.0)),
        ((0, 0, 10, 10), (0.5, 0.0, 0.0)),
        ((51, 0, 61, 10), (0.5, 0.0, 0.0)),
    )

    assert [each.box[0] for each in found] == [50.0, 0.0]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_cell_with_a_value_that_is_not_finite_is_skipped_and_others_stay(poison: float) -> None:
    good = ((0, 0, 10, 10), (0.9, 0.0, 0.0))

    assert len(decode_cells(good, ((20, poison, 30, 10), (0.9, 0.0, 0.0)))) == 1
    assert len(decode_cells(good, ((20, 0, 30, 10), (poison, poison, poison)))) == 1


def test_a_score_that_is_not_a_number_does_not_hide_the_cells_other_label() -> None:
    [found] = decode_cells(((0, 0, 10, 10), (math.nan, 0.7, 0.0)))

    assert found.label == "car"


def test_of_equal_labels_of_a_cell_the_first_counts() -> None:
    [found] = decode_cells(((0, 0, 10, 10), (0.0, 0.7, 0.7)))

    assert found.label == "car"


def test_a_box_begins_at_zero_though_the_network_says_negative_zero() -> None:
    [found] = decode_cells(((-0.0, -0.0, 10, 10), (0.0, 0.9, 0.0)))

    assert [math.copysign(1.0, side) for side in found.box] == [1.0] * 4


def test_what_belongs_to_a_class_without_a_name_is_left_out_and_suppresses_nothing() -> None:
    by = DetectorRules(labels=("plate", None, "bus"), thresholds=(0.4,) * 3, nms_iou=0.5)
    found = decode_cells(
        ((0, 0, 10, 10), (0.0, 0.9, 0.0)),
        ((0, 0, 10, 10), (0.8, 0.0, 0.0)),
        ((0, 0, 10, 10), (0.0, 0.0, 0.7)),
        by=by,
    )

    assert [each.label for each in found] == ["plate", "bus"]


def test_classes_of_one_name_compete() -> None:
    by = DetectorRules(labels=("car", "plate", "car"), thresholds=(0.4,) * 3, nms_iou=0.5)
    found = decode_cells(
        ((0, 0, 10, 10), (0.8, 0.0, 0.0)), ((0, 0, 10, 10), (0.0, 0.0, 0.9)), by=by
    )

    assert [(each.label, each.score) for each in found] == [("car", pytest.approx(0.9))]


def test_every_plate_of_a_batch_has_the_corners_of_its_own_frame_and_cell() -> None:
    placements = [letterbox((200, 100), (100, 100)), SQUARE]
    box = [[10.0, 30.0, 20.0, 40.0], [60.0, 30.0, 80.0, 40.0]]
    corners = [[10, 30, 20, 32, 20, 40, 10, 38], [60, 30, 80, 31, 80, 40, 60, 39]]
    scores = [[0.5, 0.0, 0.0], [0.9, 0.0, 0.0]]

    found = decode_detections(
        np.array([box] * 2, np.float32),
        np.array([scores] * 2, np.float32),
        np.array([corners] * 2, np.float32),
        placements,
        rules(),
    )

    own = [[each.quad.tolist() for each in image if each.quad is not None] for image in found]
    first, second = (np.array(each, float).reshape(4, 2) for each in corners)
    assert own[0] == [((quad - (0, 25)) * 2).tolist() for quad in (second, first)]
    assert own[1] == [quad.tolist() for quad in (second, first)]


def test_boxes_are_clipped_to_the_frame_and_dropped_when_they_lie_outside_or_are_empty() -> None:
    found = decode_cells(
        ((-5, -5, 10, 10), (0.9, 0.0, 0.0)),
        ((120, 0, 130, 10), (0.9, 0.0, 0.0)),
        ((50, 50, 40, 60), (0.9, 0.0, 0.0)),
        ((50, 50, 50, 60), (0.9, 0.0, 0.0)),
    )

    assert [each.box for each in found] == [(0.0, 0.0, 10.0, 10.0)]


def test_a_plate_has_its_corners_in_frame_pixels_and_a_vehicle_has_none() -> None:
    placed = letterbox((200, 100), (100, 100))  # half the size, 25 rows of padding above
    corners = [[10.0, 30.0, 20.0, 32.0, 20.0, 40.0, 10.0, 38.0]] * 2
    plate, car = decode_cells(
        ((10, 30, 20, 40), (0.9, 0.0, 0.0)),
        ((10, 30, 20, 40), (0.0, 0.8, 0.0)),
        placement=placed,
        corners=corners,
    )

    assert plate.quad is not None
    assert plate.quad.dtype == np.float32
    assert plate.quad.tolist() == [[20, 10], [40, 14], [40, 30], [20, 26]]
    assert car.quad is None


@pytest.mark.parametrize(
    "corners",
    [
        pytest.param(None, id="no such output"),
        pytest.param([[10.0, 10.0] * 4], id="all in one point"),
        pytest.param([[20.0, 10.0, 10.0, 10.0, 10.0, 20.0, 20.0, 20.0]], id="mirrored"),
        pytest.param([[10.0, 10.0, 20.0, 20.0, 20.0, 10.0, 10.0, 20.0]], id="crossed"),
        pytest.param([[math.nan] * 8], id="not numbers"),
        pytest.param([[-1e9, 10.0, 20.0, 10.0, 20.0, 20.0, -1e9, 20.0]], id="far outside"),
    ],
)
def test_a_plate_without_usable_corners_gets_those_of_its_box(
    corners: list[list[float]] | None,
) -> None:
    [found] = decode_cells(((10, 10, 20, 20), (0.9, 0.0, 0.0)), corners=corners)

    assert found.quad is not None
    assert found.quad.tolist() == [[10, 10], [20, 10], [20, 20], [10, 20]]


def test_a_plate_upside_down_keeps_its_own_top_left_first() -> None:
    corners = [[20.0, 20.0, 10.0, 20.0, 10.0, 10.0, 20.0, 10.0]]
    [found] = decode_cells(((10, 10, 20, 20), (0.9, 0.0, 0.0)), corners=corners)

    assert found.quad is not None
    assert found.quad[0].tolist() == [20, 20]


def test_no_more_detections_than_allowed_come_back_and_they_are_the_best() -> None:
    cells = [((10.0 * i, 0, 10.0 * i + 9, 9), (0.5 + 0.04 * i, 0.0, 0.0)) for i in range(10)]

    found = decode_cells(*cells, by=rules(max_detections=3))

    assert [each.box[0] for each in found] == [90.0, 80.0, 70.0]


def reference_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union


def reference_decode(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    placement: Placement,
    by: DetectorRules,
) -> list[tuple[str, float, tuple[float, ...]]]:
    candidates = []
    for cell in range(len(boxes)):
        best = None
        for label in range(len(by.labels)):
            score = float(scores[cell, label])
            if score >= np.float32(by.thresholds[label]) and (best is None or score > best[1]):
                best = (label, score)
        if best is None:
            continue
        x1, y1, x2, y2 = (float(v) for v in boxes[cell])
        x1, x2 = ((x - placement.offset_x) / placement.scale_x for x in (x1, x2))
        y1, y2 = ((y - placement.offset_y) / placement.scale_y for y in (y1, y2))
        x1, x2 = (min(max(x, 0.0), float(placement.frame_width)) for x in (x1, x2))
        y1, y2 = (min(max(y, 0.0), float(placement.frame_height)) for y in (y1, y2))
        if x2 > x1 and y2 > y1:
            candidates.append((*best, (x1, y1, x2, y2)))
    candidates.sort(key=lambda each: -each[1])
    kept: list[tuple[int, float, tuple[float, ...]]] = []
    for label, score, box in candidates:
        rivals = [other for other in kept if other[0] == label]
        if all(reference_iou(box, other[2]) <= by.nms_iou for other in rivals):
            kept.append((label, score, box))
    return [(by.labels[label], score, box) for label, score, box in kept]


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_decodes_as_plain_loops_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, cells = 3, 120
    placements = [
        letterbox((int(rng.integers(50, 4000)), int(rng.integers(50, 3000))), (640, 384))
        for _ in range(images)
    ]
    centre = rng.uniform((0, 0), (640, 384), (images, cells, 2))
    half = rng.uniform(-2, 60, (images, cells, 2))
    boxes = np.concatenate((centre - half, centre + half), axis=2).astype(np.float32)
    scores = rng.uniform(0, 1, (images, cells, 3)).astype(np.float32) ** 2
    by = rules(thresholds=(0.2, 0.4, 0.6), nms_iou=0.3, max_detections=1000)

    found = decode_detections(boxes, scores, None, placements, by)

    for image in range(images):
        expected = reference_decode(boxes[image], scores[image], placements[image], by)
        assert len(expected) > 5
        assert [(d.label, d.score) for d in found[image]] == [(e[0], e[1]) for e in expected]
        for detection, (_, _, box) in zip(found[image], expected, strict=True):
            assert detection.box == pytest.approx(box, abs=1e-6)


def test_suppression_of_nothing_is_nothing() -> None:
    assert suppress([], [], 0.5) == []


# --- texts


def slots(*classes: int, count: int = 37, sure: float = 0.9) -> NDArray[np.float32]:
    """(1, S, count) posteriors that are `sure` of these classes."""
    chars = np.full((1, len(classes), count), (1.0 - sure) / (count - 1), np.float32)
    for slot, index in enumerate(classes):
        chars[0, slot, index] = sure
    return chars


def test_a_text_is_the_best_character_of_every_slot_that_is_not_blank() -> None:
    [(text, probs)] = decode_slots(slots(10, 0, 35, 36, 36))

    assert text == "A0Z"
    assert probs.shape == (3, 37)
    assert probs.dtype == np.float32
    assert probs.argmax(axis=1).tolist() == [10, 0, 35]


def test_a_blank_between_characters_is_left_out_with_its_posterior() -> None:
    [(text, probs)] = decode_slots(slots(10, 36, 11))

    assert text == "AB"
    assert probs.argmax(axis=1).tolist() == [10, 11]


def test_a_crop_of_blanks_has_an_empty_text_and_no_posteriors() -> None:
    [(text, probs)] = decode_slots(slots(36, 36))

    assert text == ""
    assert probs.shape == (0, 37)


def test_posteriors_come_in_our_order_whatever_the_networks_alphabet_is() -> None:
    matrix = folding((None, *"ZYX0"))

    [(text, probs)] = decode_slots(folded(slots(1, 4, 0, count=5, sure=0.8), matrix))

    assert text == "Z0"
    assert probs[0, ALPHABET.index("Z")] == pytest.approx(0.8)
    assert probs[0, ALPHABET.index("Y")] == pytest.approx(0.05)
    assert probs[0, len(ALPHABET)] == pytest.approx(0.05)
    assert probs[0, ALPHABET.index("A")] == 0.0  # unknown to the network


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_crop_with_a_value_that_is_not_finite_has_no_text_and_others_keep_theirs(
    poison: float,
) -> None:
    chars = np.concatenate((slots(10, 11), slots(12, 13)))
    chars[0, 1, 5] = poison

    (broken, broken_probs), (text, _) = decode_slots(chars)

    assert (broken, len(broken_probs)) == ("", 0)
    assert text == "CD"


@given(st.integers(0, 2**32 - 1))
def test_texts_decode_as_plain_loops_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alphabet = "".join(rng.permutation(list(ALPHABET))[: rng.integers(2, 37)])
    blank = int(rng.integers(0, len(alphabet) + 1))
    chars = rng.dirichlet(np.full(len(alphabet) + 1, 0.2), (4, 6)).astype(np.float32)
    names: list[str | None] = list(alphabet)
    names.insert(blank, None)

    ours = folded(chars, folding(names))
    for crop, (text, probs) in enumerate(decode_slots(ours)):
        expected = ""
        rows = []
        for slot in range(6):
            name = names[int(np.argmax(chars[crop, slot]))]
            if name is not None:
                expected += name
                rows.append(
                    [chars[crop, slot, names.index(c)] if c in names else 0.0 for c in ALPHABET]
                    + [chars[crop, slot, blank]]
                )
        assert text == expected
        assert np.allclose(probs, np.array(rows, np.float32).reshape(-1, 37))


# --- regions


def test_regions_come_best_first_and_unknown_is_one_of_them() -> None:
    region = np.array([[0.1, 0.6, 0.3, 0.0]], np.float32)

    [found] = decode_regions(region, ("GB", "unknown", "RO", "FR"))

    assert [(code, round(p, 3)) for code, p in found] == [
        ("unknown", 0.6),
        ("RO", 0.3),
        ("GB", 0.1),
    ]


def test_only_so_many_regions_as_asked_for_come_back_and_ties_go_by_label_order() -> None:
    region = np.array([[0.2, 0.4, 0.2, 0.2]], np.float32)

    [found] = decode_regions(region, ("A", "B", "C", "D"), count=2)

    assert [code for code, _ in found] == ["B", "A"]


def test_a_region_posterior_that_is_not_a_number_is_no_region() -> None:
    region = np.array([[math.nan, 0.5]], np.float32)

    [found] = decode_regions(region, ("GB", "RO"))

    assert found == (("RO", 0.5),)
