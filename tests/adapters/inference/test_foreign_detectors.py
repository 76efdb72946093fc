"""Detectors as others export them run through a manifest alone.

Each network is exported here with weights from a seed. The reference prepares the frame, runs the
file and decodes its outputs on its own, in plain loops; it never calls alprd's decoders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from alprd.core.types import Detection
from alprd.inference.decoding import detector_outputs
from alprd.inference.detector import NetworkDetector
from alprd.inference.manifest import load_detector_manifest
from alprd.inference.onnx import OnnxNetwork
from support import foreign_models as foreign
from support.foreign_models import Look

Found = tuple[str, float, tuple[float, ...], tuple[float, ...]]
"""Label, score, box, corners (none for what is no plate)."""
Raw = Mapping[str, NDArray[Any]]


def detect(
    folder: Path, frames: Sequence[NDArray[np.uint8]], max_batch: int = 4
) -> list[list[Detection]]:
    manifest, place = load_detector_manifest(folder.name, folder.parent)
    network = OnnxNetwork(
        (folder / manifest.file).read_bytes(),
        path=place / manifest.file,
        spec=manifest.input,
        outputs=detector_outputs(manifest),
        max_batch=max_batch,
        threads=1,
    )
    return NetworkDetector(manifest, network).detect(frames)


def run_alone(folder: Path, frame: NDArray[np.uint8], look: Look) -> tuple[Raw, float, int, int]:
    """Raw outputs for one frame, and where it lies: scale, left, top."""
    height, width = frame.shape[:2]
    scale = min(look.size[0] / width, look.size[1] / height)
    wide, tall = round(width * scale), round(height * scale)
    canvas = np.full((look.size[1], look.size[0], 3), 114, np.uint8)
    left, top = (look.size[0] - wide) // 2, (look.size[1] - tall) // 2
    canvas[top : top + tall, left : left + wide] = cv2.resize(
        frame, (wide, tall), interpolation=cv2.INTER_LINEAR
    )
    picture = canvas if look.colour == "BGR" else canvas[:, :, ::-1]
    if look.type == "uint8":
        ready = picture
    else:
        ready = ((picture.astype(np.float64) * look.scale - look.mean) / look.std).astype(look.type)
    if look.layout == "NCHW":
        ready = ready.transpose(2, 0, 1)
    session = onnxruntime.InferenceSession(
        (folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    results = session.run(names, {"images": np.ascontiguousarray(ready)[None]})
    return dict(zip(names, results, strict=True)), scale, left, top


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    tall = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * tall
    return wide * tall / both


def finished(
    raw: Sequence[tuple[str, float, Sequence[float], Sequence[float]]],
    frame: NDArray[np.uint8],
    place: tuple[float, int, int],
    iou: float,
) -> list[Found]:
    """Boxes and corners in input pixels brought into the frame, the lesser of twins left out."""
    scale, left, top = place
    height, width = frame.shape[:2]
    there: list[Found] = []
    for label, score, box, quad in sorted(raw, key=lambda found: -found[1]):
        x1, x2 = (min(max((v - left) / scale, 0.0), width) for v in (box[0], box[2]))
        y1, y2 = (min(max((v - top) / scale, 0.0), height) for v in (box[1], box[3]))
        if x2 <= x1 or y2 <= y1:
            continue
        if any(kept[0] == label and overlap(kept[2], (x1, y1, x2, y2)) > iou for kept in there):
            continue
        corners = [(value - (top if k % 2 else left)) / scale for k, value in enumerate(quad)] or [
            x1,
            y1,
            x2,
            y1,
            x2,
            y2,
            x1,
            y2,
        ]
        there.append((label, score, (x1, y1, x2, y2), tuple(corners) if label == "plate" else ()))
    return there


def agree(found: Sequence[Detection], wanted: Sequence[Found], tolerance: float = 0.01) -> None:
    assert [d.label for d in found] == [w[0] for w in wanted]
    for detection, (_, score, box, corners) in zip(found, wanted, strict=True):
        assert detection.score == pytest.approx(score, abs=2e-3)
        assert detection.box == pytest.approx(box, abs=tolerance)
        quad = () if detection.quad is None else tuple(detection.quad.ravel().tolist())
        assert quad == pytest.approx(corners, abs=tolerance)


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def head_reference(
    decoder: Mapping[str, Any], called: Sequence[str | None], size: tuple[int, int]
) -> Callable[[Raw], list[tuple[str, float, Sequence[float], Sequence[float]]]]:
    """Reads a raw head cell by cell."""

    def read(raw: Raw) -> list[tuple[str, float, Sequence[float], Sequence[float]]]:
        values = raw["output0"][0].astype(np.float64)
        rows = values.T if decoder.get("layout", "NCA") == "NCA" else values
        found = []
        for row in rows.tolist():
            at = 5 if decoder.get("objectness") else 4
            scores = row[at : at + len(called)]
            if decoder.get("activation") == "sigmoid":
                scores = [sigmoid(v) for v in scores]
            if decoder.get("objectness"):
                sure = sigmoid(row[4]) if decoder.get("activation") == "sigmoid" else row[4]
                scores = [v * sure for v in scores]
            best = max(range(len(scores)), key=scores.__getitem__)
            label = called[best]
            if scores[best] < decoder["score_threshold"] or label is None:
                continue
            cx, cy, w, h = row[:4]
            box, quad = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], list[float]()
            rest = row[at + len(called) :]
            if decoder.get("corners", "none").startswith("keypoints"):
                step = len(rest) // 4
                points = [rest[k * step : k * step + 2] for k in range(4)]
                quad = [v for k in decoder.get("corner_order", range(4)) for v in points[k]]
            elif decoder.get("corners") == "angle":
                angle = rest[0] + (math.pi / 2 if h > w else 0.0)
                long, short = max(w, h) / 2, min(w, h) / 2
                if math.cos(angle) < 0:
                    angle += math.pi
                c, s = math.cos(angle), math.sin(angle)
                for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                    quad += [
                        cx + u * long * c - v * short * s,
                        cy + u * long * s + v * short * c,
                    ]
                box = [min(quad[::2]), min(quad[1::2]), max(quad[::2]), max(quad[1::2])]
            found.append((label, scores[best], box, quad))
        return found

    return read


HEADS: dict[str, tuple[Look, int, int, int, dict[str, Any]]] = {
    # look, opset, classes, values after them, decoder
    "v8": (Look(size=(384, 384)), 12, 2, 0, {"rename": {"class0": "plate", "class1": "car"}}),
    "v11 with foreign classes": (
        Look(size=(320, 192), colour="BGR", mean=0.4, std=0.25),
        17,
        4,
        0,
        {
            "rename": {
                "class0": "ignore",
                "class1": "plate",
                "class2": "plate",
                "class3": "truck",
            }
        },
    ),
    "v5 with objectness, channels last": (
        Look(size=(320, 320), layout="NHWC"),
        11,
        1,
        0,
        {
            "layout": "NAC",
            "objectness": True,
            "activation": "sigmoid",
            "rename": {"class0": "plate"},
        },
    ),
    "pose": (
        Look(size=(384, 384)),
        13,
        1,
        12,
        {
            "corners": "keypoints-visibility",
            "corner_order": [1, 2, 3, 0],
            "rename": {"class0": "plate"},
        },
    ),
    "key points without visibility": (
        Look(size=(384, 384)),
        13,
        1,
        8,
        {"corners": "keypoints", "rename": {"class0": "plate"}},
    ),
    "turned boxes": (
        Look(size=(384, 384)),
        16,
        1,
        1,
        {"corners": "angle", "rename": {"class0": "plate"}},
    ),
    "half precision": (
        Look(size=(384, 384), type="float16"),
        13,
        2,
        0,
        {"rename": {"class0": "plate", "class1": "car"}},
    ),
}


@pytest.mark.parametrize("form", HEADS)
def test_a_raw_yolo_head_gives_what_a_plain_reading_of_it_gives(tmp_path: Path, form: str) -> None:
    look, opset, classes, extra, told = HEADS[form]
    decoder = {
        "type": "yolo",
        "outputs": {"predictions": "output0"},
        "labels": list(foreign.names(classes)),
        "score_threshold": 0.3 if told.get("objectness") else 0.55,
        **told,
    }
    folder = foreign.head(
        tmp_path / "yolo", look=look, opset=opset, decoder=decoder, classes=classes, extra=extra
    )
    frames = [foreign.frame((192, 96), seed) for seed in range(3)]
    called = [told["rename"].get(name) for name in decoder["labels"]]
    called = [None if name == "ignore" else name for name in called]
    read = head_reference(decoder, called, look.size)

    found = detect(folder, frames)

    total = 0
    for frame, detections in zip(frames, found, strict=True):
        raw, *place = run_alone(folder, frame, look)
        wanted = finished(read(raw), frame, (place[0], place[1], place[2]), 0.5)
        assert len(detections) == len(wanted)
        sound = [k for k, each in enumerate(wanted) if not each[3] or usable(each)]
        wanted = [wanted[k] for k in sound]
        agree(
            [detections[k] for k in sound],
            wanted,
            tolerance=0.6 if look.type == "float16" else 0.01,
        )
        total += len(wanted)
    assert total > 10


def usable(found: Found) -> bool:
    """Corners that cross each other are the box's instead; those are tested with the decoder."""
    points = np.array(found[3]).reshape(4, 2)
    edge = np.roll(points, -1, axis=0) - points
    turn = edge[:, 0] * np.roll(edge, -1, axis=0)[:, 1] - edge[:, 1] * np.roll(edge, -1, 0)[:, 0]
    return bool((turn > 0).all())


@pytest.mark.parametrize("batch", ["N", 1], ids=["any batch", "a batch of one"])
def test_rows_that_the_graph_suppressed_go_to_the_image_that_they_name(
    tmp_path: Path, batch: int | str
) -> None:
    look = Look(size=(384, 384), batch=batch)
    decoder = {
        "type": "yolo-end-to-end",
        "outputs": {"rows": "output"},
        "columns": ["batch", "x1", "y1", "x2", "y2", "class", "score"],
        "labels": ["License Plate"],
        "rename": {"License Plate": "plate"},
        "score_threshold": 0.5,
    }
    folder = foreign.suppressed(
        tmp_path / "yolo-v9-t", look=look, opset=12, decoder=decoder, classes=1
    )
    frames = [foreign.frame((192, 96), seed) for seed in range(3)]

    found = detect(folder, frames)

    assert all(found)
    for frame, detections in zip(frames, found, strict=True):
        raw, *place = run_alone(folder, frame, look)
        rows = [
            ("plate", row[6], row[1:5], ())
            for row in raw["output"].tolist()
            if row[6] >= 0.5 and row[5] == 0
        ]
        agree(detections, finished(rows, frame, (place[0], place[1], place[2]), 1.0))


def test_rows_of_the_best_cells_come_without_the_index_of_their_image(tmp_path: Path) -> None:
    look = Look(size=(384, 384))
    decoder = {
        "type": "yolo-end-to-end",
        "outputs": {"rows": "output0"},
        "columns": ["x1", "y1", "x2", "y2", "score", "class"],
        "labels": ["plate", "car"],
        "scores": {"plate": 0.5, "car": 0.7},
    }
    folder = foreign.best_rows(
        tmp_path / "yolo-v10", look=look, opset=17, decoder=decoder, classes=2, rows=30
    )
    frames = [foreign.frame((128, 96), seed) for seed in range(5)]

    found = detect(folder, frames, max_batch=2)

    for frame, detections in zip(frames, found, strict=True):
        raw, *place = run_alone(folder, frame, look)
        rows = [
            (("plate", "car")[int(row[5])], row[4], row[:4], ())
            for row in raw["output0"][0].tolist()
            if row[4] >= (0.5, 0.7)[int(row[5])]
        ]
        agree(detections, finished(rows, frame, (place[0], place[1], place[2]), 1.0))
    assert {d.label for detections in found for d in detections} == {"plate", "car"}


SSDS: dict[str, tuple[Look, int, dict[str, Any]]] = {
    "pytorch-ssd": (
        Look(size=(300, 300), scale=1.0, mean=127.0, std=128.0),
        11,
        {"outputs": {"boxes": "boxes", "scores": "scores"}, "units": "fraction"},
    ),
    "converted Darknet": (
        Look(size=(320, 320)),
        11,
        {
            "outputs": {"boxes": "boxes", "scores": "confs"},
            "units": "fraction",
            "deep": True,
        },
    ),
    "logits": (
        Look(size=(300, 300), mean=0.5, std=0.5),
        13,
        {"outputs": {"boxes": "boxes", "scores": "scores"}, "activation": "softmax"},
    ),
    "torchvision": (
        Look(size=(320, 320), mean=0.5, std=0.5),
        11,
        {"outputs": {"boxes": "boxes", "scores": "scores", "classes": "labels"}, "batched": False},
    ),
    "TensorFlow": (
        Look(size=(320, 320), type="uint8", layout="NHWC", scale=1.0),
        13,
        {
            "outputs": {
                "boxes": "detection_boxes",
                "scores": "detection_scores",
                "classes": "detection_classes",
                "count": "num_detections",
            },
            "boxes": "yxyx",
            "units": "fraction",
        },
    ),
}


@pytest.mark.parametrize("form", SSDS)
def test_an_ssd_gives_what_a_plain_reading_of_it_gives(tmp_path: Path, form: str) -> None:
    look, opset, told = SSDS[form]
    deep = told.get("deep", False)
    told = {key: value for key, value in told.items() if key != "deep"}
    decoder = {
        "type": "ssd",
        "labels": ["background", "plate", "car"],
        "score_threshold": 0.45,
        **told,
    }
    folder = foreign.ssd(
        tmp_path / "ssd",
        look=look,
        opset=opset,
        decoder=decoder,
        classes=3,
        cell=look.size[0] // 10,
        deep=deep,
    )
    frames = [foreign.frame((192, 96), seed) for seed in range(3)]

    found = detect(folder, frames)

    total = 0
    for frame, detections in zip(frames, found, strict=True):
        raw, *place = run_alone(folder, frame, look)
        wanted = finished(ssd_reading(raw, told, look), frame, (place[0], place[1], place[2]), 0.5)
        agree(detections, wanted)
        total += len(wanted)
    assert total > 10


def ssd_reading(
    raw: Raw, told: Mapping[str, Any], look: Look
) -> list[tuple[str, float, Sequence[float], Sequence[float]]]:
    names = told["outputs"]
    boxes = raw[names["boxes"]].reshape(-1, 4).astype(np.float64).tolist()
    found = []
    for k, box in enumerate(boxes):
        if "classes" in names:
            best = int(raw[names["classes"]].ravel()[k])
            score = float(raw[names["scores"]].ravel()[k])
        else:
            row = raw[names["scores"]][0, k].astype(np.float64)
            if told.get("activation") == "softmax":
                row = np.exp(row) / np.exp(row).sum()
            best = 1 if row[1] >= row[2] else 2
            score = float(row[best])
        if score < 0.45 or k >= float(raw.get(names.get("count", ""), np.array(1e9)).ravel()[0]):
            continue
        a, b, c, d = (box[k] for k in ((1, 0, 3, 2) if told.get("boxes") == "yxyx" else range(4)))
        wide, tall = look.size if told.get("units") == "fraction" else (1, 1)
        label = ("background", "plate", "car")[best]
        found.append((label, score, (a * wide, b * tall, c * wide, d * tall), ()))
    return found
