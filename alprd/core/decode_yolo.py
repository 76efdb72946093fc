"""YOLO exports: raw heads, and rows that have been through the suppression inside the graph.

A raw head (YOLO v8, v9, v11 and v12 as Ultralytics exports them) is (N, 4 + C, A): for each of A
cells a centre and size in input pixels and a probability per class; v5 and v7 give (N, A, 5 + C),
an objectness before the classes. A head for poses adds 4 corners (x y, or x y and visibility), one
for turned boxes an angle in radians.

Rows are (N, R, K), as `nms=True` and YOLO v10 give them: (N, 300, 6) with x1 y1 x2 y2 score class;
or (R, K) of all images together with the image's index as a column, as the ONNX operator
NonMaxSuppression leaves them: open-image-models' YOLO v9 gives batch x1 y1 x2 y2 class score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alprd.core.box_forms import (
    Activation,
    BoxForm,
    Units,
    bounds,
    corner_form,
    in_pixels,
    probabilities,
    turned_corners,
)
from alprd.core.decode import (
    Candidates,
    DetectorRules,
    Placement,
    best_class_per_cell,
    placed,
)
from alprd.core.types import Detection

CornerForm = Literal["none", "keypoints", "keypoints-visibility", "angle"]
CORNER_VALUES = {"none": 0, "keypoints": 8, "keypoints-visibility": 12, "angle": 1}
"""Values that a cell holds after its classes."""

BATCH, CLASS, SCORE, SKIP, ANGLE = "batch", "class", "score", "skip", "angle"
XYXY = ("x1", "y1", "x2", "y2")
CXCYWH = ("cx", "cy", "w", "h")
CORNERS = tuple(f"{axis}_{place}" for place in ("tl", "tr", "br", "bl") for axis in "xy")
COLUMNS = (BATCH, *XYXY, *CXCYWH, CLASS, SCORE, ANGLE, *CORNERS, SKIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadForm:
    """How a raw head is written.

    Attributes:
        cells_last: (N, values, A) instead of (N, A, values).
        boxes, units: of the first four values.
        objectness: a fifth value, by which the classes are multiplied.
        activation: what the objectness and the classes still need.
        corners: what follows the classes.
        corner_order: which key point is the plate's top left, top right, bottom right, bottom left.
        input_size: (width, height).
    """

    cells_last: bool
    boxes: BoxForm
    units: Units
    objectness: bool
    activation: Activation
    corners: CornerForm
    corner_order: tuple[int, int, int, int]
    input_size: tuple[int, int]


@np.errstate(invalid="ignore", over="ignore")  # what is not finite is left out below
def decode_head(
    predictions: NDArray[np.floating],
    placements: Sequence[Placement],
    rules: DetectorRules,
    form: HeadForm,
) -> list[list[Detection]]:
    """Threshold, map to the frames and suppress duplicates.

    Args:
        predictions: (N, values, A) or (N, A, values), as `form` says.
        placements: where each of the N frames lies in the input.
        rules: classes and thresholds.
        form: how the head is written.
    """
    cells = predictions.transpose(0, 2, 1) if form.cells_last else predictions
    classes_at = 5 if form.objectness else 4
    corners_at = classes_at + len(rules.labels)
    scores = np.ascontiguousarray(cells[..., classes_at:corners_at])
    scores = probabilities(scores, form.activation)
    if form.objectness:
        scores = scores * probabilities(cells[..., 4:5], form.activation)
    image, cell, label, score = best_class_per_cell(scores[: len(placements)], rules.thresholds)
    chosen = cells[image, cell].astype(np.float32)
    box, quad = corner_form(chosen[:, :4], form.boxes), None
    if form.corners == "angle":
        # Turned first: in parts of a picture that is no square there are no angles.
        centred = in_pixels(_centred(chosen[:, :4], form.boxes), form.units, form.input_size)
        quad = turned_corners(centred, chosen[:, corners_at])
        box = bounds(quad)
    else:
        box = in_pixels(box, form.units, form.input_size)
        if form.corners != "none":
            points = chosen[:, corners_at:].reshape(len(chosen), 4, -1)[:, form.corner_order, :2]
            flat = points.reshape(len(chosen), 8)
            quad = in_pixels(flat, form.units, form.input_size).reshape(-1, 4, 2)
    candidates = Candidates(image=image, box=box, quad=quad, label=label, score=score)
    return placed(candidates, placements, rules)


def _centred(boxes: NDArray[np.floating], form: BoxForm) -> NDArray[np.floating]:
    """(K, 4) centre x y, width, height."""
    if form == "cxcywh":
        return boxes
    corner = corner_form(boxes, form)
    low, high = corner[:, :2], corner[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowForm:
    """How rows are written.

    Attributes:
        columns: what each value of a row is, of `COLUMNS`; without "class" all are of class 0.
        units: of its coordinates.
        input_size: (width, height).
    """

    columns: tuple[str, ...]
    units: Units
    input_size: tuple[int, int]


@np.errstate(invalid="ignore", over="ignore")  # what is not finite is left out below
def decode_rows(
    rows: NDArray[np.floating],
    placements: Sequence[Placement],
    rules: DetectorRules,
    form: RowForm,
) -> list[list[Detection]]:
    """Threshold, map to the frames and (if `rules` says so) suppress duplicates.

    Rows of a class or an image that does not exist, and those that fill up the number (score 0),
    are left out.

    Args:
        rows: (N, R, K); (R, K) with a column "batch".
        placements: where each of the N frames lies in the input.
        rules: classes and thresholds.
        form: how a row is written.
    """
    if BATCH in form.columns:
        flat = rows.astype(np.float32)
        owner = flat[:, form.columns.index(BATCH)]
    else:
        flat = rows[: len(placements)].reshape(-1, rows.shape[-1]).astype(np.float32)
        owner = np.repeat(np.arange(len(rows), dtype=np.float32), rows.shape[1])[: len(flat)]
    told = (
        flat[:, form.columns.index(CLASS)]
        if CLASS in form.columns
        else np.zeros(len(flat), np.float32)
    )
    score = flat[:, form.columns.index(SCORE)]
    known = (owner >= 0) & (owner < len(placements)) & (told >= 0) & (told < len(rules.labels))
    flat, owner, told, score = flat[known], owner[known], told[known], score[known]
    label = told.astype(np.intp)
    sure = (score >= np.asarray(rules.thresholds, np.float32)[label]) & (score < np.inf)
    flat, label, score = flat[sure], label[sure], score[sure]

    def take(names: Sequence[str]) -> NDArray[np.floating]:
        values = flat[:, [form.columns.index(name) for name in names]]
        return in_pixels(values, form.units, form.input_size)

    centred = XYXY[0] not in form.columns
    box, quad = take(CXCYWH if centred else XYXY), None
    if ANGLE in form.columns:
        middle = box if centred else _centred(box, "xyxy")
        quad = turned_corners(middle, flat[:, form.columns.index(ANGLE)])
        box = bounds(quad)
    elif centred:
        box = corner_form(box, "cxcywh")
    if CORNERS[0] in form.columns:
        quad = take(CORNERS).reshape(-1, 4, 2)
    image = owner[sure].astype(np.intp)
    candidates = Candidates(image=image, box=box, quad=quad, label=label, score=score)
    return placed(candidates, placements, rules)
