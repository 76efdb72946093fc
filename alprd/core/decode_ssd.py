"""SSD and SSDLite exports: boxes and scores as outputs of their own.

- pytorch-ssd and jetson-inference: boxes (N, A, 4) x1 y1 x2 y2 in parts of the picture, scores
  (N, A, C) after softmax with the background as class 0; duplicates are not suppressed.
- torchvision (`ssdlite320_mobilenet_v3_large`): boxes (R, 4) in input pixels, labels (R,) int64,
  scores (R,), of one picture, suppressed; class 0 is the background.
- TensorFlow's object detection API by tf2onnx: detection_boxes (N, R, 4) y1 x1 y2 x2 in parts of
  the picture, detection_classes (N, R) from 1 on, detection_scores (N, R), num_detections (N,).
- TensorRT's EfficientNMS: num_dets (N, 1), det_boxes (N, R, 4), det_scores and det_classes (N, R).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alprd.core.box_forms import Activation, BoxForm, Units, corner_form, in_pixels, probabilities
from alprd.core.decode import (
    Candidates,
    DetectorRules,
    Placement,
    best_class_per_cell,
    placed,
)
from alprd.core.types import Detection


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdForm:
    """How the outputs are written.

    Attributes:
        boxes, units: of the boxes.
        activation: what the scores still need.
        input_size: (width, height).
    """

    boxes: BoxForm
    units: Units
    activation: Activation
    input_size: tuple[int, int]


@np.errstate(invalid="ignore", over="ignore")  # what is not finite is left out below
def decode_ssd(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    classes: NDArray[np.number] | None,
    count: NDArray[np.number] | None,
    placements: Sequence[Placement],
    rules: DetectorRules,
    form: SsdForm,
) -> list[list[Detection]]:
    """Threshold, map to the frames and suppress duplicates.

    Args:
        boxes: (N, A, 4).
        scores: (N, A, C) per class; with `classes` (N, A) of that class.
        classes: (N, A) the class of each box; None if the scores are per class.
        count: (N,) or (N, 1) how many boxes of each image count; None: all.
        placements: where each of the N frames lies in the input.
        rules: classes and thresholds.
        form: how the outputs are written.
    """
    number = len(placements)
    sure = probabilities(scores[:number], form.activation)
    if classes is None:
        image, cell, label, score = best_class_per_cell(sure, rules.thresholds)
    else:
        told = classes[:number].astype(np.float32)
        known = (told >= 0) & (told < len(rules.labels))
        wanted = np.where(known, told, 0.0).astype(np.intp)
        least = np.asarray(rules.thresholds, np.float32)[wanted]
        image, cell = np.nonzero(known & (sure >= least) & (sure < np.inf))
        label, score = wanted[image, cell], sure[image, cell]
    if count is not None:
        counted = cell < count.reshape(-1)[image].astype(np.float32)
        image, cell, label, score = image[counted], cell[counted], label[counted], score[counted]
    box = in_pixels(
        corner_form(boxes[image, cell].astype(np.float32), form.boxes), form.units, form.input_size
    )
    candidates = Candidates(image=image, box=box, quad=None, label=label, score=score)
    return placed(candidates, placements, rules)
