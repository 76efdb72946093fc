"""From a network's raw outputs to detections and texts, in the frame's own pixels.

Pixels are continuous here: pixel i covers [i, i + 1), so a frame's right edge is its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import ALPHABET, BLANK, PLATE_LABEL, Detection

_NMS_CANDIDATES = 512  # per image, best first; far more than objects fit in a frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a frame lies in the network's input: input = frame * scale + offset, in pixels."""

    frame_width: int
    frame_height: int
    width: int
    height: int
    offset_x: int
    offset_y: int

    @property
    def scale_x(self) -> float:
        """Input pixels per frame pixel, across."""
        return self.width / self.frame_width

    @property
    def scale_y(self) -> float:
        """Input pixels per frame pixel, down."""
        return self.height / self.frame_height


def letterbox(frame_size: tuple[int, int], input_size: tuple[int, int]) -> Placement:
    """Fit a frame into the input, aspect kept, centred; both sizes are (width, height)."""
    (frame_width, frame_height), (input_width, input_height) = frame_size, input_size
    scale = min(input_width / frame_width, input_height / frame_height)
    # A side never vanishes, however long and thin the frame is.
    width = min(input_width, max(1, round(frame_width * scale)))
    height = min(input_height, max(1, round(frame_height * scale)))
    return Placement(
        frame_width=frame_width,
        frame_height=frame_height,
        width=width,
        height=height,
        offset_x=(input_width - width) // 2,
        offset_y=(input_height - height) // 2,
    )


def stretch(frame_size: tuple[int, int], input_size: tuple[int, int]) -> Placement:
    """Fill the input with the frame, aspect not kept; both sizes are (width, height)."""
    return Placement(
        frame_width=frame_size[0],
        frame_height=frame_size[1],
        width=input_size[0],
        height=input_size[1],
        offset_x=0,
        offset_y=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRules:
    """How a detector's raw outputs become detections.

    Attributes:
        labels: what each class is called here, in the order of the scores; classes may share a
            name, and what belongs to a class without one (None) is left out.
        thresholds: the least score of each class; above 1 for one that never counts.
        nms_iou: of two boxes of one name that overlap more, only the better stays; 1 keeps all.
        max_detections: per image, the best are kept.
    """

    labels: tuple[str | None, ...]
    thresholds: tuple[float, ...]
    nms_iou: float
    max_detections: int = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """What a network may have found, before duplicates are suppressed; K of all images together.

    Attributes:
        image: (K,) the index of each one's image in the batch.
        box: (K, 4) x1 y1 x2 y2 in input pixels.
        quad: (K, 4, 2) corners in input pixels, clockwise from the plate's own top left; None for a
            network without them.
        label: (K,) the class.
        score: (K,) probabilities.
    """

    image: NDArray[np.intp]
    box: NDArray[np.floating]
    quad: NDArray[np.floating] | None
    label: NDArray[np.intp]
    score: NDArray[np.floating]


def decode_detections(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    corners: NDArray[np.float32] | None,
    placements: Sequence[Placement],
    rules: DetectorRules,
) -> list[list[Detection]]:
    """Threshold, map to the frames and suppress duplicates.

    A cell is one object, so it counts for its best class only. Cells with a value that is not
    finite are skipped. A plate without usable corners gets those of its box.

    Args:
        boxes: (N, A, 4) x1 y1 x2 y2 in input pixels.
        scores: (N, A, L) probabilities.
        corners: (N, A, 8) x0 y0 .. x3 y3 in input pixels, clockwise from the plate's own top
            left; None for a network without them.
        placements: where each of the N frames lies in the input.
        rules: classes and thresholds.

    Returns:
        For each image its detections, best score first, in the frame's pixels.
    """
    image, cell, label, score = best_class_per_cell(scores[: len(placements)], rules.thresholds)
    candidates = Candidates(
        image=image,
        box=boxes[image, cell],
        quad=None if corners is None else corners[image, cell].reshape(-1, 4, 2),
        label=label,
        score=score,
    )
    return placed(candidates, placements, rules)


def placed(
    candidates: Candidates, placements: Sequence[Placement], rules: DetectorRules
) -> list[list[Detection]]:
    """Map candidates to the frames and suppress duplicates.

    Returns:
        For each image its detections, best score first, in the frame's pixels.
    """
    found: list[list[Detection]] = [[] for _ in placements]
    image, label, score = candidates.image, candidates.label, candidates.score
    if not len(image):
        return found
    # Classes of one name are one: each goes by the first of that name.
    names = np.array([rules.labels.index(name) for name in rules.labels], np.intp)[label]
    called = np.array([name is not None for name in rules.labels])[label]
    # (K, 2): of each candidate's image
    scale = np.array([(p.scale_x, p.scale_y) for p in placements])[image]
    offset = np.array([(p.offset_x, p.offset_y) for p in placements], np.float64)[image]
    size = np.array([(p.frame_width, p.frame_height) for p in placements], np.float64)[image]

    with np.errstate(invalid="ignore", over="ignore"):
        box = (candidates.box.reshape(-1, 2, 2) - offset[:, None]) / scale[:, None]
        finite = np.isfinite(box).all(axis=(1, 2))
        box = np.clip(box, 0.0, size[:, None]).reshape(-1, 4)
        usable = finite & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        if candidates.quad is None:
            quad = _box_corners(box)
        else:
            quad = (candidates.quad - offset[:, None]) / scale[:, None]
            quad = np.where(_plausible(quad, size)[:, None, None], quad, _box_corners(box))

    for index in range(len(placements)):
        mine = np.flatnonzero(usable & called & (image == index))
        kept = mine[suppress(box[mine], score[mine], names[mine], rules.nms_iou)]
        found[index] = [
            Detection(
                label=name,
                score=min(1.0, float(score[k])),
                box=tuple(box[k].tolist()),
                quad=quad[k].astype(np.float32) if name == PLATE_LABEL else None,
            )
            for k in kept[: rules.max_detections]
            if (name := rules.labels[names[k]]) is not None
        ]
    return found


def best_class_per_cell(
    scores: NDArray[np.float32], thresholds: Sequence[float]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """(K,) image, cell, class and score of every cell of (N, A, L) scores above a threshold."""
    _, cells, classes = scores.shape
    flat, least = scores.reshape(-1), np.asarray(thresholds, np.float32)
    with np.errstate(invalid="ignore"):  # a NaN is below every threshold
        # Almost no cell holds anything: the lowest threshold leaves few to look at by their class.
        hits = np.flatnonzero(flat >= least.min())
        hits = hits[(flat[hits] >= least[hits % classes]) & (flat[hits] < np.inf)]
    hit_scores = flat[hits]
    image_cell, label = np.divmod(hits, classes)
    best_first = np.lexsort((label, -hit_scores, image_cell))
    _, first = np.unique(image_cell[best_first], return_index=True)
    chosen = best_first[first]
    image, cell = np.divmod(image_cell[chosen], cells)
    return image, cell, label[chosen], hit_scores[chosen]


def suppress(
    boxes: NDArray[np.float64],
    scores: NDArray[np.floating],
    groups: NDArray[np.integer],
    iou: float,
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, best score first; only boxes of one group compete.

    Args:
        boxes: (K, 4) x1 y1 x2 y2.
        scores: (K,); equal scores go by index.
        groups: (K,) the class of each box.
        iou: a box that overlaps a better one by more is dropped.
    """
    order = np.argsort(-scores, kind="stable")[:_NMS_CANDIDATES]
    overlapping = pairwise_iou(boxes[order]) > iou
    overlapping &= groups[order][:, None] == groups[order][None, :]
    alive = np.ones(len(order), np.bool_)
    kept: list[int] = []
    for index in range(len(order)):
        if alive[index]:
            kept.append(index)
            alive &= ~overlapping[index]
    return order[kept]


def pairwise_iou(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, K) intersection over union of (K, 4) boxes with positive area."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union: NDArray[np.float64] = area[:, None] + area[None, :] - common
    iou: NDArray[np.float64] = common / union
    return iou


def _box_corners(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, 4, 2) corners of (K, 4) boxes, clockwise from the top left."""
    return box[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def _plausible(quad: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of (K, 4, 2) quads are convex, clockwise, not tiny and near their (K, 2) frame."""
    edge = np.roll(quad, -1, axis=1) - quad
    following = np.roll(edge, -1, axis=1)
    turn = edge[..., 0] * following[..., 1] - edge[..., 1] * following[..., 0]
    near = (quad > -size[:, None]) & (quad < 2.0 * size[:, None])
    # The turns at two opposite corners are twice the areas of the triangles there.
    area = 0.5 * (turn[:, 0] + turn[:, 2])
    plausible: NDArray[np.bool_] = (turn > 0.0).all(axis=1) & near.all(axis=(1, 2)) & (area >= 1.0)
    return plausible


def class_order(alphabet: str, blank: int) -> NDArray[np.intp]:
    """(37,) for every class of ours (`ALPHABET`, then the blank) the network's class, or -1.

    The network's classes are the characters of `alphabet`, the blank inserted at index `blank`.
    """
    classes = [*alphabet[:blank], None, *alphabet[blank:]]
    wanted = [*ALPHABET, None]
    return np.array([classes.index(c) if c in classes else -1 for c in wanted], np.intp)


def decode_slots(
    chars: NDArray[np.float32], order: NDArray[np.intp]
) -> list[tuple[str, NDArray[np.float32]]]:
    """Text and (n, 37) posteriors of its characters for each crop.

    Slots whose most probable class is the blank are left out; a crop with a value that is not
    finite has no text.

    Args:
        chars: (N, S, C) posteriors per slot.
        order: (37,) as `class_order` gives it.
    """
    canonical = chars[..., np.maximum(order, 0)]
    canonical[..., order < 0] = 0.0  # a character that the network does not know
    broken = set(np.nonzero(~np.isfinite(chars))[0].tolist())
    best = canonical.argmax(axis=2)
    reads: list[tuple[str, NDArray[np.float32]]] = []
    for crop in range(len(chars)):
        slots = np.flatnonzero((best[crop] != BLANK) & (crop not in broken))
        text = "".join(ALPHABET[index] for index in best[crop, slots])
        reads.append((text, np.clip(canonical[crop, slots], 0.0, 1.0).astype(np.float32)))
    return reads


def decode_regions(
    region: NDArray[np.float32], labels: Sequence[str], count: int = 8
) -> list[tuple[tuple[str, float], ...]]:
    """The `count` most probable labels of each crop, best first; ties go by the labels' order.

    "unknown" is a label like any other: whoever votes must see that it won.

    Args:
        region: (N, R) posteriors.
        labels: the R region codes.
        count: at most so many.
    """
    posterior = np.where(np.isfinite(region), region, 0.0)
    best = np.argsort(-posterior, axis=1, kind="stable")[:, :count]
    return [
        tuple(
            (labels[k], min(1.0, float(posterior[crop, k])))
            for k in best[crop]
            if posterior[crop, k] > 0.0
        )
        for crop in range(len(region))
    ]
