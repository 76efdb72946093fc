"""The ways in which detectors write down boxes and scores, turned into ours.

Sources of the forms: x1 y1 x2 y2 (torchvision's detection models, end-to-end YOLO exports), centre
and size (the heads of YOLO v5 to v11, as Ultralytics exports them), y1 x1 y2 x2 in parts of the
picture (TensorFlow's object detection API), corner and size (COCO).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

BoxForm = Literal["xyxy", "yxyx", "cxcywh", "xywh"]
Units = Literal["pixels", "fraction"]
Activation = Literal["none", "sigmoid", "softmax", "log"]

_STEEP = 80.0  # beyond it e**x leaves single precision; probabilities are 0 or 1 long before


def corner_form(boxes: NDArray[np.floating], form: BoxForm) -> NDArray[np.floating]:
    """(..., 4) boxes as x1 y1 x2 y2, in the units that they have."""
    if form == "xyxy":
        return boxes
    if form == "yxyx":
        return boxes[..., [1, 0, 3, 2]]
    place, size = boxes[..., :2], boxes[..., 2:]
    low = place - size / 2 if form == "cxcywh" else place
    return np.concatenate([low, low + size], axis=-1)


def in_pixels(
    points: NDArray[np.floating], units: Units, input_size: tuple[int, int]
) -> NDArray[np.floating]:
    """Coordinates x y, x y, ... along the last axis, in pixels of the (width, height) input."""
    if units == "pixels":
        return points
    return points * np.tile(np.array(input_size, np.float32), points.shape[-1] // 2)


def probabilities(values: NDArray[np.floating], activation: Activation) -> NDArray[np.float32]:
    """What the last layer left out: "none" for probabilities, "log" for their logarithms.

    Args:
        values: (..., C); softmax is over the last axis.
        activation: what has to be applied.
    """
    exact = values.astype(np.float32, copy=False)
    if activation == "none":
        return exact
    with np.errstate(invalid="ignore"):  # NaN stays NaN, for whoever refuses it
        if activation == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(exact, -_STEEP, _STEEP))), np.float32)
        if activation == "log":
            return np.asarray(np.exp(np.clip(exact, -_STEEP, _STEEP)), np.float32)
        risen = np.exp(exact - exact.max(axis=-1, keepdims=True))
        return np.asarray(risen / risen.sum(axis=-1, keepdims=True), np.float32)


def turned_corners(
    boxes: NDArray[np.floating], angles: NDArray[np.floating]
) -> NDArray[np.floating]:
    """(K, 4, 2) corners of turned boxes, clockwise from the plate's own top left.

    The longer side is taken for the direction of the text, and the text for upright rather than
    upside down: an angle cannot tell.

    Args:
        boxes: (K, 4) centre x y, width, height.
        angles: (K,) radians, clockwise as seen in the picture.
    """
    centre, width, height = boxes[:, :2], boxes[:, 2], boxes[:, 3]
    tall = height > width
    along = np.where(tall, angles + np.pi / 2, angles)
    long, short = np.maximum(width, height) / 2, np.minimum(width, height) / 2
    direction = np.stack([np.cos(along), np.sin(along)], axis=1)
    direction = np.where(direction[:, :1] < 0.0, -direction, direction)
    u = direction * long[:, None]
    v = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * short[:, None]
    return np.stack([centre - u - v, centre + u - v, centre + u + v, centre - u + v], axis=1)


def bounds(quads: NDArray[np.floating]) -> NDArray[np.floating]:
    """(K, 4) x1 y1 x2 y2 around (K, 4, 2) corners."""
    return np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
