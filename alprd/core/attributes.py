"""What classifiers say of a vehicle: which of its pictures are worth asking about, and the vote.

Every answer is a probability per label of a head (type, color, view, whatever a model's manifest
declares). A vehicle is looked at a few times while it passes; the answers are averaged by how well
each picture shows it. Below a head's confidence the attribute is unknown, which is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.edges import cut_sides
from alprd.core.light import COLOURLESS, chroma
from alprd.core.types import Attribute, BoxPx, Direction, PlateEvent, Vehicle

TYPE: Final = "type"
VIEW: Final = "view"
FRONT: Final = "front"
REAR: Final = "rear"
"""Labels of the head `view` that begin so show that end of the vehicle."""

SMALLEST_PX: Final = 28.0
"""A vehicle that is smaller, by the square root of its box, is not looked at."""

LARGE_PX: Final = 260.0
"""A larger one shows no more."""

CUT_OFF: Final = 0.4
"""Worth of a vehicle that the picture's edge cuts, beside one that is whole."""

MUCH_BETTER: Final = 1.4
AS_GOOD: Final = 0.7
APART_S: Final = 0.4
"""A picture is looked at when it is much better than the best before, or nearly as good and so much
later."""

SOFT: Final = 120.0
"""Variance of the Laplacian at which a picture counts for half of what a sharp one does."""

TELLING: Final = 0.6
"""Less belief in front and rear together says nothing of the direction."""

SURE: Final = 0.8
"""Agreement of view and motion at which a vehicle surely drives forwards; backwards below 1 - it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One question to a classifier.

    Attributes:
        name: the field of the event's vehicle.
        labels: the answers, in the order of the output.
        unknown: labels that mean that it cannot be told.
        min_confidence: a smaller one is unknown.
        needs_colour: whether a grey or infrared picture says nothing.
    """

    name: str
    labels: tuple[str, ...]
    unknown: frozenset[str] = frozenset()
    min_confidence: float = 0.5
    needs_colour: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What one picture of a vehicle says.

    Attributes:
        weight: how well the picture shows it.
        colourless: whether the picture has no colours.
        heads: head -> (labels,) probabilities.
    """

    weight: float
    colourless: bool
    heads: Mapping[str, NDArray[np.float32]]


def worth(box: BoxPx, frame_size: tuple[int, int], others: Sequence[BoxPx]) -> float:
    """How well a vehicle shows itself, 0..1: large, whole, not behind others.

    Args:
        box: the vehicle's.
        frame_size: (width, height), pixels.
        others: boxes of the other vehicles of the frame.
    """
    x1, y1, x2, y2 = box
    area = max(0.0, x2 - x1) * max(0.0, y2 - y1)
    size_px = math.sqrt(area)
    if size_px < SMALLEST_PX:
        return 0.0
    value = min(1.0, size_px / LARGE_PX)
    if any(cut_sides(box, frame_size)):
        value *= CUT_OFF
    # Who stands lower in the picture is nearer, and in front.
    hidden = [_overlap(box, other) / area for other in others if other[3] > y2]
    return value * (1.0 - min(1.0, max(hidden, default=0.0)))


def _overlap(one: BoxPx, other: BoxPx) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return wide * tall if wide > 0.0 and tall > 0.0 else 0.0


def worth_a_look(value: float, t_s: float, looks: Sequence[tuple[float, float]], most: int) -> bool:
    """Whether a picture is to be looked at, given the (worth, time) of those looked at before.

    A vehicle that comes near gets better and better pictures, so no number of looks is reserved:
    each must be much better than all before, which bounds them.

    Args:
        value: `worth` of the picture.
        t_s: its time.
        looks: those kept.
        most: kept of one vehicle.
    """
    if value <= 0.0:
        return False
    if not looks:
        return True
    best = max(kept for kept, _ in looks)
    if value >= MUCH_BETTER * best:
        return True
    last_s = max(at for _, at in looks)
    return len(looks) < most and value >= AS_GOOD * best and t_s - last_s >= APART_S


def sharp_share(variance: float) -> float:
    """What a picture counts by its sharpness, 0..1."""
    return variance / (variance + SOFT)


def is_colourless(picture: NDArray[np.uint8]) -> bool:
    """Whether a picture (H, W, 3) is grey, or one tint all over, as infrared ones are."""
    return chroma(picture) < COLOURLESS


def vote(answers: Sequence[Answers], heads: Sequence[Head]) -> tuple[Attribute, ...]:
    """One attribute per head, in their order; unknown where the pictures do not tell."""
    return tuple(_voted(head, _mean(answers, head)) for head in heads)


def _mean(answers: Sequence[Answers], head: Head) -> NDArray[np.float64] | None:
    """(labels,) the weighted mean of the probabilities; None when nothing was asked."""
    told = [
        (a.weight, a.heads[head.name])
        for a in answers
        if head.name in a.heads and not (head.needs_colour and a.colourless)
    ]
    weights = np.array([weight for weight, _ in told], np.float64)
    if not weights.sum() > 0.0:
        return None
    return np.average(np.stack([p for _, p in told]), axis=0, weights=weights)


def _voted(head: Head, mean: NDArray[np.float64] | None) -> Attribute:
    if mean is None:
        return Attribute(name=head.name)
    best = int(mean.argmax())
    confidence = float(min(1.0, mean[best]))
    if head.labels[best] in head.unknown or confidence < head.min_confidence:
        return Attribute(name=head.name)
    return Attribute(name=head.name, value=head.labels[best], confidence=confidence)


def shows_front(answers: Sequence[Answers], heads: Sequence[Head]) -> float | None:
    """Belief that the vehicle showed its front, against its rear; None when neither was seen."""
    head = next((head for head in heads if head.name == VIEW), None)
    mean = None if head is None else _mean(answers, head)
    if head is None or mean is None:
        return None
    front = sum(float(p) for label, p in zip(head.labels, mean, strict=True) if _is(FRONT, label))
    rear = sum(float(p) for label, p in zip(head.labels, mean, strict=True) if _is(REAR, label))
    return front / (front + rear) if front + rear >= TELLING else None


def _is(end: str, label: str) -> bool:
    return label == end or label.startswith(f"{end}-")


def agreement(label: str, front: float | None) -> float | None:
    """Belief that a vehicle that went that way drove forwards; None when the view cannot tell."""
    if front is None or label not in ("approaching", "receding"):
        return None
    return front if label == "approaching" else 1.0 - front


def described(event: PlateEvent, answers: Sequence[Answers], heads: Sequence[Head]) -> PlateEvent:
    """The event with what its vehicle was seen to be.

    A known type takes the place of the detector's coarser one. View and motion that contradict
    each other lower the direction's confidence: the vehicle drove backwards, or one is wrong.
    """
    if event.vehicle is None or not heads:
        return event
    attributes = vote(answers, heads)
    kind = next((a for a in attributes if a.name == TYPE and a.value is not None), None)
    vehicle = replace(event.vehicle, attributes=attributes)
    if kind is not None and kind.value is not None and kind.confidence is not None:
        vehicle = replace(vehicle, type=kind.value, confidence=kind.confidence)
    return _directed(event, vehicle, shows_front(answers, heads))


def _directed(event: PlateEvent, vehicle: Vehicle, front: float | None) -> PlateEvent:
    direction: Direction | None = event.direction
    agreed = None if direction is None else agreement(direction.label, front)
    if direction is None or agreed is None:
        return replace(event, vehicle=vehicle)
    backwards = None if 1.0 - SURE < agreed < SURE else agreed <= 1.0 - SURE
    return replace(
        event,
        vehicle=replace(vehicle, reversing=backwards),
        direction=replace(direction, confidence=agreed),
    )
