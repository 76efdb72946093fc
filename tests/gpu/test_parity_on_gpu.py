"""What is detected and read on the GPU is what ONNX Runtime detects and reads in FP32."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from alprd.core.types import PLATE_LABEL, Detection
from alprd.inference.second_look import SecondLook
from support.gpu import Both, Image, both_backends, photographs, rendered, settings, tell

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

NEAR_THRESHOLD = 0.05
"""Scores this near their threshold may fall on either side of it in half precision."""

HIGHEST_THRESHOLD = 0.4
"""Of the detector's: vehicles'; plates' is lower."""


INT8_MODELS = os.environ.get("ALPRD_TEST_INT8_MODELS")
"""A folder that `python -m engines.training.quantize --out` made."""


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with both_backends(settings(max_batch=8)) as made:
        yield made


def pictures(kind: str) -> tuple[Image, ...]:
    found = rendered() if kind == "rendered" else photographs()
    if not found:
        pytest.skip("no photographs here (ALPRD_TEST_PHOTOGRAPHS)")
    return found


def plates(found: Sequence[Detection]) -> list[Detection]:
    return [each for each in found if each.label == PLATE_LABEL]


def overlap(a: Detection, b: Detection) -> float:
    wide = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    tall = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    common = max(0.0, wide) * max(0.0, tall)
    areas = [(each.box[2] - each.box[0]) * (each.box[3] - each.box[1]) for each in (a, b)]
    return common / (sum(areas) - common)


def paired(
    expected: Sequence[Detection], found: Sequence[Detection]
) -> list[tuple[Detection, Detection | None]]:
    """For each expected detection the one of its label that overlaps it most."""
    pairs: list[tuple[Detection, Detection | None]] = []
    for each in expected:
        others = [other for other in found if other.label == each.label]
        best = max(others, key=lambda other: overlap(each, other), default=None)
        good = best is not None and overlap(each, best) > 0.5
        pairs.append((each, best if good else None))
    return pairs


@pytest.mark.parametrize("kind", ["rendered", "photographs"])
def test_detections_are_those_of_fp32(both: Both, kind: str) -> None:
    images = pictures(kind)
    expected = both.cpu.detector.detect(images)
    found = both.gpu.detector.detect(images)
    corners_px, boxes_px, scores, missing, sure = [], [], [], 0, 0
    for ours, theirs in zip(found, expected, strict=True):
        for wanted, there in paired(theirs, ours):
            certain = wanted.score >= HIGHEST_THRESHOLD + NEAR_THRESHOLD
            sure += certain
            if there is None:
                missing += certain
                continue
            boxes_px.append(np.abs(np.subtract(wanted.box, there.box)).mean())
            scores.append(abs(wanted.score - there.score))
            if wanted.quad is not None and there.quad is not None:
                corners_px.append(np.linalg.norm(wanted.quad - there.quad, axis=1).mean())
    extra = sum(
        1
        for ours, theirs in zip(found, expected, strict=True)
        for each, other in paired(ours, theirs)
        if other is None and each.score >= HIGHEST_THRESHOLD + NEAR_THRESHOLD
    )
    tell(
        test="detections",
        pictures=kind,
        frames=len(images),
        detections=len(boxes_px),
        missing=missing,
        extra=extra,
        corners_px_mean=float(np.mean(corners_px)),
        corners_px_p99=float(np.percentile(corners_px, 99)),
        boxes_px_mean=float(np.mean(boxes_px)),
        score_mean=float(np.mean(scores)),
        score_max=float(np.max(scores)),
    )
    assert len(corners_px) >= 30
    assert np.mean(corners_px) <= 0.5
    assert missing + extra <= 0.005 * sure
    assert np.mean(scores) < 0.005


@pytest.mark.parametrize("kind", ["rendered", "photographs"])
def test_the_same_plates_get_the_same_texts(both: Both, kind: str) -> None:
    images = pictures(kind)
    wanted = [
        (image, plate, 0.0)
        for image, found in zip(images, both.cpu.detector.detect(images), strict=True)
        for plate in plates(found)
    ]
    expected = both.cpu.reader.read(wanted)
    found = both.gpu.reader.read(wanted)
    same = [ours.text == theirs.text for ours, theirs in zip(found, expected, strict=True)]
    moved_px = [
        np.linalg.norm(ours.refined - theirs.refined, axis=1).mean()
        for ours, theirs in zip(found, expected, strict=True)
        if ours.refined is not None and theirs.refined is not None
    ]
    sharp = [
        abs(ours.sharpness - theirs.sharpness) / max(1.0, theirs.sharpness)
        for ours, theirs in zip(found, expected, strict=True)
    ]
    tell(
        test="texts of the same corners",
        pictures=kind,
        plates=len(same),
        same=float(np.mean(same)),
        others=[
            (ours.text, theirs.text, ours.quality, theirs.quality)
            for ours, theirs in zip(found, expected, strict=True)
            if ours.text != theirs.text
        ],
        refined_px_mean=float(np.mean(moved_px)),
        sharpness_max=float(np.max(sharp)),
    )
    assert len(same) >= 30
    assert np.mean(same) >= 0.995
    assert np.mean(moved_px) <= 0.5
    assert np.max(sharp) < 0.01


@pytest.mark.parametrize("kind", ["rendered", "photographs"])
def test_the_whole_way_gives_the_same_texts(both: Both, kind: str) -> None:
    """Detector, reader and second look, each on its own."""
    images = pictures(kind)
    texts = []
    for backend in (both.gpu, both.cpu):
        reader = SecondLook(backend.reader, 0.9)
        found = backend.detector.detect(images)
        wanted = [
            (image, plate, float(index))
            for index, (image, each) in enumerate(zip(images, found, strict=True))
            for plate in plates(each)
        ]
        texts.append(list(zip(wanted, reader.read(wanted), strict=True)))
    same, others = 0, []
    for (_, plate, t_s), theirs in texts[1]:
        candidates = [
            (overlap(plate, other), ours)
            for (_, other, other_t_s), ours in texts[0]
            if other_t_s == t_s
        ]
        best = max(candidates, key=lambda each: each[0], default=(0.0, None))
        if best[1] is not None and best[0] > 0.5 and best[1].text == theirs.text:
            same += 1
        else:
            others.append((theirs.text, best[1].text if best[1] else None, theirs.quality))
    tell(test="whole way", pictures=kind, plates=len(texts[1]), same=same, others=others)
    assert same >= 0.99 * len(texts[1])


def test_a_batch_does_not_depend_on_its_neighbours(both: Both) -> None:
    images = rendered()[:8]
    alone = [both.gpu.detector.detect([image])[0] for image in images]
    together = both.gpu.detector.detect(images)
    for one, other in zip(alone, together, strict=True):
        pairs = paired([each for each in one if each.score > 0.45], other)
        assert all(there is not None for _, there in pairs)


@pytest.mark.skipif(INT8_MODELS is None, reason="ALPRD_TEST_INT8_MODELS names no folder")
@pytest.mark.parametrize("kind", ["rendered", "photographs"])
def test_int8_loses_little(kind: str) -> None:
    """What people who want its speed give for it; the detector's and the reader's each alone."""
    images = pictures(kind)
    wanted = settings(max_batch=8, precision="int8", models_dir=INT8_MODELS)
    with both_backends(wanted) as made:
        expected = [plates(each) for each in made.cpu.detector.detect(images)]
        found = [plates(each) for each in made.gpu.detector.detect(images)]
        pairs = [
            pair
            for ours, theirs in zip(found, expected, strict=True)
            for pair in paired(theirs, ours)
        ]
        looks = [
            (image, plate, 0.0)
            for image, there in zip(images, expected, strict=True)
            for plate in there
        ]
        texts = [read.text for read in made.cpu.reader.read(looks)]
        ours = [read.text for read in made.gpu.reader.read(looks)]
    sure = [pair for pair in pairs if pair[0].score >= HIGHEST_THRESHOLD + NEAR_THRESHOLD]
    missing = sum(there is None for _, there in sure)
    extra = sum(
        there is None and each.score >= HIGHEST_THRESHOLD + NEAR_THRESHOLD
        for mine, theirs in zip(found, expected, strict=True)
        for each, there in paired(mine, theirs)
    )
    moved_px = [
        float(np.linalg.norm(plate.quad - there.quad, axis=1).mean())
        for plate, there in pairs
        if there is not None and plate.quad is not None and there.quad is not None
    ]
    same = [a == b for a, b in zip(ours, texts, strict=True)]
    tell(
        test="int8",
        pictures=kind,
        plates=len(pairs),
        sure=len(sure),
        missing=missing,
        extra=extra,
        corners_px_mean=float(np.mean(moved_px)),
        texts=len(same),
        same=float(np.mean(same)),
    )
    assert missing + extra <= 0.05 * len(sure)
    assert np.mean(moved_px) <= 2.0
    assert np.mean(same) >= 0.95
