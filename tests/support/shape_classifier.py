"""A classifier as somebody else would bring it: trained here, on shapes that are drawn here.

It tells a disc from a cross on a vehicle's side. NHWC input in BGR, ImageNet's normalisation,
logits, opset 17: nothing is as in the models that come with alprd.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from support.onnx_graphs import Graph, serialised, write_folder
from support.tiny_models import BACKGROUND

LABELS = ("disc", "cross")
SIDE_PX = 24
MEAN, STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)
_TRAINED_ON = 300


def draw_shape(image: NDArray[np.uint8], label: str, box: tuple[int, int, int, int]) -> None:
    """Paint a shape into the middle of a vehicle's box."""
    x1, y1, x2, y2 = box
    centre = (x1 + x2) // 2, (y1 + y2) // 2
    reach = min(x2 - x1, y2 - y1) * 3 // 10
    if label == "disc":
        cv2.circle(image, centre, reach, (230, 230, 230), -1)
        return
    for dx, dy in ((reach, 0), (0, reach)):
        one, other = (centre[0] - dx, centre[1] - dy), (centre[0] + dx, centre[1] + dy)
        cv2.line(image, one, other, (230, 230, 230), max(2, reach // 4))


def write_shape_classifier(
    folder: Path,
    *,
    head: str = "make_model",
    labels: tuple[str, ...] = LABELS,
    shape: tuple[int, ...] = (2,),
    nan_below: float | None = None,
    **changes: Any,
) -> None:
    """Train it and write its folder.

    Args:
        folder: of the model.
        head: name of its only head.
        labels: that the manifest names.
        shape: of its output, per crop.
        nan_below: pictures whose mean is darker (0..255) give NaN.
        changes: keys of the manifest's top level.
    """
    weights, bias = _trained()
    graph = Graph()
    flat = graph.add("Reshape", "image", graph.ints(-1, SIDE_PX * SIDE_PX * 3))
    values = graph.add("Gemm", flat, graph.constant(weights), graph.constant(bias))
    if nan_below is not None:
        mean = graph.add("ReduceMean", flat, axes=[1], keepdims=1)
        least = (nan_below / 255 - np.mean(MEAN)) / np.mean(STD)
        root = graph.add("Sqrt", graph.add("Sub", mean, graph.floats(float(least))))
        values = graph.add("Add", values, graph.add("Mul", root, graph.floats(0.0)))
    graph.add("Reshape", values, graph.ints(-1, *shape), output="scores")
    model = serialised(
        graph,
        {"image": (TensorProto.FLOAT, ["N", SIDE_PX, SIDE_PX, 3])},
        {"scores": (TensorProto.FLOAT, ["N", *shape])},
        17,
    )
    tables = {
        "": {"task": "attribute", **changes},
        "input": {
            "name": "image",
            "layout": "NHWC",
            "colour": "BGR",
            "width": SIDE_PX,
            "height": SIDE_PX,
            "resize": "letterbox",
            "scale": 1 / 255,
            "mean": list(MEAN),
            "std": list(STD),
        },
        "decoder": {"type": "classes", "values": "logits"},
        f"decoder.heads.{head}": {
            "output": "scores",
            "labels": list(labels),
            "min_confidence": 0.6,
        },
        "training": {"data": "shapes"},
    }
    write_folder(folder, model, np.full((SIDE_PX, SIDE_PX, 3), 127, np.uint8), tables)


@cache
def _trained() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (values, 2) and bias (2,) by ridge regression on drawn crops."""
    rng = np.random.default_rng(5)
    rows, truth = [], []
    for number in range(_TRAINED_ON):
        image = np.full((96, 128, 3), BACKGROUND, np.uint8)
        dx, dy = (int(v) for v in rng.integers(-6, 7, 2))
        kind = number % 2
        draw_shape(image, LABELS[kind], (8 + dx, 6 + dy, 120 + dx, 90 + dy))
        noisy = image.astype(np.float64) * rng.uniform(0.7, 1.2) + rng.normal(0, 6, image.shape)
        small = cv2.resize(noisy, (SIDE_PX, SIDE_PX * 3 // 4), interpolation=cv2.INTER_AREA)
        canvas = np.full((SIDE_PX, SIDE_PX, 3), 114.0)
        canvas[SIDE_PX // 8 : SIDE_PX // 8 + small.shape[0]] = small
        rows.append(((canvas / 255 - MEAN) / STD).ravel())
        truth.append(np.eye(2)[kind] * 8 - 4)
    x, y = np.array(rows), np.array(truth)
    mean = x.mean(axis=0)
    centred = x - mean
    inverse = np.linalg.inv(centred @ centred.T + 30.0 * np.eye(len(x)))
    weights = centred.T @ (inverse @ y)
    return weights.astype(np.float32), (-mean @ weights).astype(np.float32)
