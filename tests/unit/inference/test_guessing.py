"""Which decoder fits, from the outputs that exporters of the field write."""

from __future__ import annotations

import pytest

from alprd.inference.guessing import Tensor, guess

FLOAT, INT32, INT64 = "tensor(float)", "tensor(int32)", "tensor(int64)"
TENSORFLOW = {
    "detection_anchor_indices": (FLOAT, (None, 100)),
    "detection_boxes": (FLOAT, (None, 100, 4)),
    "detection_classes": (FLOAT, (None, 100)),
    "detection_multiclass_scores": (FLOAT, (None, 100, 2)),
    "detection_scores": (FLOAT, (None, 100)),
    "num_detections": (FLOAT, (None,)),
    "raw_detection_boxes": (FLOAT, (None, 12804, 4)),
    "raw_detection_scores": (FLOAT, (None, 12804, 2)),
}
WHOLE = {
    "boxes": "detection_boxes",
    "scores": "detection_scores",
    "classes": "detection_classes",
    "count": "num_detections",
}
EFFICIENT = {
    "num_dets": (INT32, (None, 1)),
    "det_boxes": (FLOAT, (None, 100, 4)),
    "det_scores": (FLOAT, (None, 100)),
    "det_classes": (INT32, (None, 100)),
}
TORCHVISION = {
    "boxes": (FLOAT, (None, 4)),
    "labels": (INT64, (None,)),
    "scores": (FLOAT, (None,)),
}


def without_raw() -> dict[str, tuple[str, tuple[int | None, ...]]]:
    return {name: told for name, told in TENSORFLOW.items() if not name.startswith("raw_")}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        pytest.param(TENSORFLOW, WHOLE, id="TensorFlow 2's detection API"),
        pytest.param(without_raw(), WHOLE, id="without what is raw"),
        pytest.param(
            EFFICIENT,
            {
                "boxes": "det_boxes",
                "scores": "det_scores",
                "classes": "det_classes",
                "count": "num_dets",
            },
            id="EfficientNMS",
        ),
        pytest.param(
            TORCHVISION,
            {"boxes": "boxes", "scores": "scores", "classes": "labels"},
            id="torchvision",
        ),
    ],
)
def test_the_outputs_of_a_whole_detector_are_told_apart(
    outputs: dict[str, tuple[str, tuple[int | None, ...]]], expected: dict[str, str]
) -> None:
    tensors = [Tensor(name=name, type=kind, shape=shape) for name, (kind, shape) in outputs.items()]
    for order in (tensors, tensors[::-1]):
        found = guess(order, (None, None))
        assert found is not None
        assert found.decoder["type"] == "ssd"
        assert found.decoder["outputs"] == expected


def test_boxes_and_scores_that_are_only_raw_are_better_than_nothing() -> None:
    raw = [
        Tensor(name=name, type=FLOAT, shape=TENSORFLOW[name][1])
        for name in ("raw_detection_boxes", "raw_detection_scores")
    ]
    found = guess(raw, (320, 320))
    assert found is not None
    assert found.decoder["outputs"] == {
        "boxes": "raw_detection_boxes",
        "scores": "raw_detection_scores",
    }
