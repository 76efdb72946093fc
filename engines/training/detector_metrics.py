"""Figures for a detector on annotated photographs.

Recall, false plates, AP50, corner error. Numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.training.detector_labels import ANY_VEHICLE, IGNORE_PLATE, IGNORE_VEHICLE, PLATE

Floats = NDArray[np.float32]
MIN_PLATE_PX = 40.0


@dataclass
class Found:
    """A picture's detections after NMS: labels (K,), scores (K,), boxes (K, 4), corners (K, 8)."""

    labels: NDArray[np.int64]
    scores: Floats
    boxes: Floats
    corners: Floats


@dataclass
class Truth:
    """A picture's annotations in the same pixels.

    `original` scales widths back to the original picture.
    """

    set_name: str
    classes: NDArray[np.int64]
    boxes: Floats
    original: float = 1.0
    path: str = ""
    corners: Floats | None = None


def overlaps(a: Floats, b: Floats) -> Floats:
    """IoU (len(a), len(b))."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a = (a[:, 2:] - a[:, :2]).prod(-1)
    area_b = (b[:, 2:] - b[:, :2]).prod(-1)
    return (inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-6)).astype(np.float32)


def suppress(boxes: Floats, scores: Floats, iou: float) -> NDArray[np.int64]:
    """Greedy NMS, best first; ties by index."""
    order = np.argsort(-scores, kind="stable")
    keep: list[int] = []
    while len(order):
        first = order[0]
        keep.append(int(first))
        order = order[1:][overlaps(boxes[first][None], boxes[order[1:]])[0] <= iou]
    return np.array(keep, np.int64)


def select(
    boxes: Floats, scores: Floats, corners: Floats, floor: float = 0.05, iou: float = 0.5
) -> Found:
    """NMS per label over one picture's raw outputs (A, 4), (A, 5), (A, 8)."""
    labels_all, scores_all, index_all = [], [], []
    for label in range(scores.shape[1]):
        index = np.nonzero(scores[:, label] >= floor)[0]
        if len(index) > 400:
            index = index[np.argsort(-scores[index, label], kind="stable")[:400]]
        index = index[suppress(boxes[index], scores[index, label], iou)] if len(index) else index
        labels_all.append(np.full(len(index), label, np.int64))
        scores_all.append(scores[index, label])
        index_all.append(index)
    index = np.concatenate(index_all)
    return Found(
        np.concatenate(labels_all), np.concatenate(scores_all), boxes[index], corners[index]
    )


@dataclass
class PlateTally:
    """Plates of one set at one threshold."""

    wanted: int = 0
    hit: int = 0
    pictures: int = 0
    false: int = 0
    missed: list[tuple[str, Floats]] = field(default_factory=list)
    wrong: list[tuple[str, Floats, float]] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.hit / max(self.wanted, 1)

    @property
    def false_rate(self) -> float:
        return self.false / max(self.pictures, 1)


def tally_plates(pairs: list[tuple[Truth, Found]], threshold: float) -> dict[str, PlateTally]:
    """Recall at IoU 0.5 of plates at least 40 px wide in the original, and false plates, per set.

    A detection is not false when it overlaps any annotated plate, however small, by IoU 0.3, nor
    when it overlaps a place so that somebody judged a plate or could not tell (IGNORE_PLATE).
    """
    tallies: dict[str, PlateTally] = {}
    for truth, found in pairs:
        tally = tallies.setdefault(truth.set_name, PlateTally())
        tally.pictures += 1
        plates = truth.boxes[truth.classes == PLATE]
        use = (found.labels == PLATE) & (found.scores >= threshold)
        boxes, scores = found.boxes[use], found.scores[use]
        iou = overlaps(plates, boxes)
        wide = (plates[:, 2] - plates[:, 0]) * truth.original >= MIN_PLATE_PX
        best = iou.max(1) if len(boxes) else np.zeros(len(plates), np.float32)
        tally.wanted += int(wide.sum())
        tally.hit += int((wide & (best >= 0.5)).sum())
        tally.missed += [(truth.path, box) for box in plates[wide & (best < 0.5)]]
        spared = np.concatenate([plates, truth.boxes[truth.classes == IGNORE_PLATE]])
        touch = overlaps(spared, boxes).max(0, initial=0.0)
        tally.false += int((touch < 0.3).sum())
        tally.wrong += [
            (truth.path, box, float(s))
            for box, s in zip(boxes[touch < 0.3], scores[touch < 0.3], strict=True)
        ]
    return tallies


def average_precision(
    pairs: list[tuple[Truth, Found]], label: int, iou_floor: float = 0.5
) -> float:
    """AP at one IoU, all-point interpolation.

    Vehicles of unknown type and ignored boxes count for nobody.
    """
    rows: list[tuple[float, int]] = []
    wanted = 0
    for truth, found in pairs:
        boxes = truth.boxes[truth.classes == label]
        neutral = truth.boxes[(truth.classes == ANY_VEHICLE) | (truth.classes == IGNORE_VEHICLE)]
        wanted += len(boxes)
        use = found.labels == label
        order = np.argsort(-found.scores[use], kind="stable")
        seen, scores = found.boxes[use][order], found.scores[use][order]
        taken = np.zeros(len(boxes), bool)
        iou = overlaps(seen, boxes)
        spare = overlaps(seen, neutral)
        for k in range(len(seen)):
            free = np.where(taken, -1.0, iou[k]) if len(boxes) else np.zeros(0)
            if len(free) and free.max() >= iou_floor:
                taken[int(free.argmax())] = True
                rows.append((float(scores[k]), 1))
            elif not (len(neutral) and spare[k].max() >= iou_floor):
                rows.append((float(scores[k]), 0))
    if wanted == 0:
        return float("nan")
    if not rows:
        return 0.0
    hits = np.array([hit for _, hit in sorted(rows, key=lambda row: -row[0])])
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    recall = true / wanted
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))


def corner_error(pairs: list[tuple[Truth, Found]], threshold: float) -> tuple[float, float, float]:
    """Over rendered plates: mean corner distance / plate width.

    Its 90th percentile, and recall at IoU 0.5.
    """
    errors: list[float] = []
    wanted = 0
    for truth, found in pairs:
        if truth.corners is None:
            continue
        use = (found.labels == PLATE) & (found.scores >= threshold)
        boxes, corners = found.boxes[use], found.corners[use]
        for box, true in zip(truth.boxes, truth.corners, strict=True):
            wanted += 1
            if not len(boxes):
                continue
            iou = overlaps(box[None], boxes)[0]
            best = int(iou.argmax())
            if iou[best] < 0.5:
                continue
            quad, answer = true.reshape(4, 2), corners[best].reshape(4, 2)
            width = (np.linalg.norm(quad[1] - quad[0]) + np.linalg.norm(quad[2] - quad[3])) / 2
            errors.append(float(np.linalg.norm(answer - quad, axis=1).mean() / max(width, 1.0)))
    if not errors:
        return float("nan"), float("nan"), 0.0
    return float(np.mean(errors)), float(np.quantile(errors, 0.9)), len(errors) / max(wanted, 1)
