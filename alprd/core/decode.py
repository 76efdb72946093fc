"""From a network's raw outputs to detections and texts, in the frame's own pixels.

Pixels are continuous here: pixel i covers [i, i + 1), so a frame's right edge is its width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alprd.core.geometry import Quad, is_clockwise_convex, quad_box
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
    if not len(candidates.image):
        return found
    # (K, 2) each: of each candidate's image
    places = np.array(
        [
            (p.scale_x, p.scale_y, p.offset_x, p.offset_y, p.frame_width, p.frame_height)
            for p in placements
        ]
    )[candidates.image]
    scale, offset, size = places[:, :2], places[:, 2:4], places[:, 4:]
    with np.errstate(invalid="ignore", over="ignore"):
        exact = (candidates.box.reshape(-1, 2, 2) - offset[:, None]) / scale[:, None]
        # What is added makes zeros of negative zeros; np.clip takes several times as long.
        box = np.minimum(np.maximum(exact, 0.0) + 0.0, size[:, None]).reshape(-1, 4)
        usable = np.isfinite(exact).all(axis=(1, 2))
        usable &= (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    if None in rules.labels:
        usable &= np.array([name is not None for name in rules.labels])[candidates.label]
    chosen = np.flatnonzero(usable)
    image, score = candidates.image[chosen], candidates.score[chosen]
    best_first = np.lexsort((-score, image))
    chosen, image = chosen[best_first], image[best_first]

    # Few are left of a frame: with them plain numbers are faster than arrays.
    boxes: list[list[float]] = box[chosen].tolist()
    names = [rules.labels[label] or "" for label in candidates.label[chosen].tolist()]
    scores: list[float] = score[best_first].tolist()
    kept: list[tuple[int, int]] = []
    end = 0
    for index, count in enumerate(np.bincount(image, minlength=len(placements)).tolist()):
        start, end = end, end + count
        stay = suppress(
            boxes[start:end],
            names[start:end],  # classes of one name are one
            rules.nms_iou,
            most=rules.max_detections,
        )
        kept += [(index, start + k) for k in stay]
    plates = [(index, k) for index, k in kept if names[k] == PLATE_LABEL]
    quads: dict[int, NDArray[np.float32]] = {}
    if plates:
        mine = chosen[[k for _, k in plates]]
        with np.errstate(invalid="ignore", over="ignore"):
            seen = (
                None
                if candidates.quad is None
                else (candidates.quad[mine] - offset[mine, None]) / scale[mine, None]
            )
        corners = _plate_corners(
            [boxes[k] for _, k in plates], seen, [placements[index] for index, _ in plates]
        )
        quads = dict(zip([k for _, k in plates], corners, strict=True))
    for index, k in kept:
        x1, y1, x2, y2 = boxes[k]
        found[index].append(
            Detection(
                label=names[k],
                score=min(1.0, scores[k]),
                box=(x1, y1, x2, y2),
                quad=quads.get(k),
            )
        )
    return found


def best_class_per_cell(
    scores: NDArray[np.float32], thresholds: Sequence[float]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """(K,) image, cell, class and score of every cell of (N, A, L) scores above a threshold."""
    _, cells, classes = scores.shape
    flat = scores.reshape(-1)
    with np.errstate(invalid="ignore"):  # a NaN is below every threshold
        # Almost no cell holds anything: the lowest threshold leaves few to look at by their class.
        hits = np.flatnonzero(flat >= np.float32(min(thresholds))) // classes
    fresh = np.ones(len(hits), np.bool_)
    np.not_equal(hits[1:], hits[:-1], out=fresh[1:])
    some = hits[fresh]
    chosen, label, score = best_class(flat.reshape(-1, classes)[some], thresholds)
    image, cell = np.divmod(some[chosen], cells)
    return image, cell, label, score


def best_class(
    scores: NDArray[np.float32], thresholds: Sequence[float]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """(K,) index, class and score of every row of (R, L) scores above a threshold.

    A class counts if it is at or above its own threshold and finite; of equal ones the first.
    """
    with np.errstate(invalid="ignore"):  # a NaN is below every threshold
        counts = (scores >= np.asarray(thresholds, np.float32)) & (scores < np.inf)
    sure = np.where(counts, scores, np.float32(-np.inf))
    label = sure.argmax(axis=1)
    score = sure[np.arange(len(sure)), label]
    chosen = np.flatnonzero(score > -np.inf)
    return chosen, label[chosen], score[chosen]


def suppress(
    boxes: Sequence[Sequence[float]],
    groups: Sequence[Hashable],
    iou: float,
    *,
    most: int | None = None,
) -> list[int]:
    """Indices of the boxes that stay; only boxes of one group compete.

    Args:
        boxes: x1 y1 x2 y2, with positive areas, the best first.
        groups: of each, its class.
        iou: a box that overlaps a better one by more is dropped.
        most: so many stay at most, from 1; None: all that do not overlap.
    """
    rivals: dict[Hashable, list[tuple[float, float, float, float, float]]] = {}
    kept: list[int] = []
    for k, ((x1, y1, x2, y2), group) in enumerate(
        zip(boxes[:_NMS_CANDIDATES], groups, strict=False)
    ):
        area = (x2 - x1) * (y2 - y1)
        better = rivals.setdefault(group, [])
        for a1, b1, a2, b2, other in better:
            # Written out, for every candidate of every frame comes by here.
            wide = (x2 if x2 < a2 else a2) - (x1 if x1 > a1 else a1)
            high = (y2 if y2 < b2 else b2) - (y1 if y1 > b1 else b1)
            if wide > 0.0 and high > 0.0:
                common = wide * high
                if common / (other + area - common) > iou:
                    break
        else:
            better.append((x1, y1, x2, y2, area))
            kept.append(k)
            if len(kept) == most:
                break
    return kept


def _plate_corners(
    boxes: Sequence[Sequence[float]],
    seen: NDArray[np.floating] | None,
    placements: Sequence[Placement],
) -> NDArray[np.float32]:
    """(P, 4, 2) corners of plates: those that the network saw, where they can be a plate's.

    Args:
        boxes: x1 y1 x2 y2 of each, in its frame's pixels.
        seen: (P, 4, 2) in the frames' pixels.
        placements: of each plate's frame.
    """
    corners: list[Quad] = [((x1, y1), (x2, y1), (x2, y2), (x1, y2)) for x1, y1, x2, y2 in boxes]
    if seen is not None:
        for index, (quad, placed) in enumerate(zip(seen.tolist(), placements, strict=True)):
            if _plausible(quad, placed.frame_width, placed.frame_height):
                corners[index] = quad
    return np.array(corners, np.float32)


def _plausible(quad: Quad, width: int, height: int) -> bool:
    """Whether it is convex, clockwise, not tiny and near its frame."""
    if not is_clockwise_convex(quad):
        return False
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    # The turns at two opposite corners are twice the areas of the triangles there.
    twice = ((bx - ax) * (cy - by) - (by - ay) * (cx - bx)) + (
        (dx - cx) * (ay - dy) - (dy - cy) * (ax - dx)
    )
    left, top, right, bottom = quad_box(quad)
    return (
        twice >= 2.0
        and -width < left
        and right < 2.0 * width
        and -height < top
        and bottom < 2.0 * height
    )


def decode_slots(chars: NDArray[np.float32]) -> list[tuple[str, NDArray[np.float32]]]:
    """Text and (n, 37) posteriors of its characters for each crop.

    Slots whose most probable class is the blank are left out; a crop with a value that is not
    finite has no text.

    Args:
        chars: (N, S, 37) posteriors per slot, over `ALPHABET` and the blank.
    """
    best = chars.argmax(axis=2)
    best[np.flatnonzero(~np.isfinite(chars).all(axis=(1, 2)))] = BLANK
    told = best != BLANK
    letters = "".join([ALPHABET[index] for index in best[told].tolist()])
    probs = np.minimum(np.maximum(chars[told], 0.0), 1.0)
    reads: list[tuple[str, NDArray[np.float32]]] = []
    start = 0
    for end in told.sum(axis=1).cumsum().tolist():
        # A copy: who keeps one read should not keep those of all crops.
        reads.append((letters[start:end], probs[start:end].astype(np.float32)))
        start = end
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
    likely = np.minimum(posterior[np.arange(len(best))[:, None], best], 1.0)
    return [
        tuple([(labels[k], p) for k, p in zip(row, values, strict=True) if p > 0.0])
        for row, values in zip(best.tolist(), likely.tolist(), strict=True)
    ]
