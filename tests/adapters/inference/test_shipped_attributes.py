"""The vehicle attributes that are shipped, as the daemon loads them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.config import InferenceSettings
from alprd.core.types import BoxPx
from alprd.inference.attribute_manifest import load_attribute_manifest
from alprd.inference.attribute_models import load_attributes
from alprd.inference.classifier import NetworkClassifier, classifier_outputs
from alprd.inference.manifest import load_onnx
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.selftest import known_picture

NAME = "vehicle-attributes"


@pytest.fixture(scope="module")
def classifier() -> NetworkClassifier:
    manifest, folder = load_attribute_manifest(NAME, None)
    network = OnnxNetwork(
        load_onnx(manifest, folder),
        path=folder / manifest.file,
        spec=manifest.input,
        outputs=classifier_outputs(manifest),
        max_batch=4,
        threads=1,
    )
    return NetworkClassifier(manifest, network)


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    manifest, folder = load_attribute_manifest(NAME, None)
    assert manifest.selftest is not None
    picture: np.ndarray = known_picture(Path(folder) / manifest.selftest.image)
    return picture


def colour(classifier: NetworkClassifier, crop: np.ndarray) -> str:
    answer = classifier.classify([crop])[0]["color"]
    return classifier.heads[1].labels[int(answer.argmax())]


def test_the_shipped_attributes_pass_their_self_test_and_answer_all_their_heads() -> None:
    stage = load_attributes(InferenceSettings(threads=1, attributes=(NAME,)))
    assert stage is not None
    assert stage.problems == {}
    assert [head.name for head in stage.heads] == ["type", "color", "view"]
    assert stage.heads[1].needs_colour
    assert stage.heads[1].unknown == {"unknown"}
    assert len(stage.heads[1].labels) == 13, "twelve colours and unknown"


def test_the_drawn_car_has_its_colour_until_the_picture_is_grey(
    classifier: NetworkClassifier, drawn: np.ndarray
) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(drawn, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert colour(classifier, drawn) != "unknown"
    assert colour(classifier, grey) == "unknown"
    one_lamp = (grey * np.array([0.95, 0.72, 1.0])).astype(np.uint8)
    assert colour(classifier, one_lamp) == "unknown"


def test_a_crop_answers_the_same_alone_and_among_others(
    classifier: NetworkClassifier, drawn: np.ndarray
) -> None:
    box: BoxPx = (10.0, 10.0, 150.0, 150.0)
    crops = [classifier.cut(drawn, box), drawn, drawn[:, ::-1].copy()]
    together = classifier.classify(crops)
    for crop, answer in zip(crops, together, strict=True):
        alone = classifier.classify([crop])[0]
        for head in alone:
            np.testing.assert_allclose(answer[head], alone[head], atol=1e-4)
