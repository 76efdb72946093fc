"""Models of others on TensorRT, through their manifests alone, against ONNX Runtime.

The folders under tests/data/models were written by `support.foreign_models.write_yellow_models`
(the GPU host has no onnx package): an end-to-end YOLO with NonMaxSuppression inside, a raw head,
TensorFlow's SSD with 8-bit NHWC input, and a trained CTC reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.demo.plates import YELLOW_UK, render_plate
from support.gpu import Both, Image, both_backends, settings, tell

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

MODELS = Path(__file__).parents[1] / "data" / "models"
TEXTS = ("LS15EBC", "MX77KQZ", "B1000AA", "AB12CDE", "HH22GG99", "WOB7788")


@pytest.fixture(scope="module", params=["yolo-v9-t", "yolo-head", "ssd-tf"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    # What is yellow is a matter of a grey level: in half precision it would be another one.
    wanted = settings(
        models_dir=str(MODELS),
        detector=request.param,
        reader="lprnet",
        max_batch=4,
        precision="fp32",
    )
    with both_backends(wanted) as made:
        yield made


def street(text: str | None, x: int, y: int) -> Image:
    image = np.full((480, 640, 3), 90, np.uint8)
    if text is not None:
        plate = render_plate(text, YELLOW_UK)
        image[y : y + 36, x : x + 170] = cv2.resize(plate, (170, 36), interpolation=cv2.INTER_AREA)
    return image


def test_a_foreign_model_finds_and_reads_on_the_gpu_what_it_does_on_the_cpu(both: Both) -> None:
    frames = [street(text, 60 + 30 * k, 80 + 40 * k) for k, text in enumerate(TEXTS)]
    frames.insert(2, street(None, 0, 0))  # rows of the others must not become its own

    found, expected = both.gpu.detector.detect(frames), both.cpu.detector.detect(frames)

    assert [len(each) for each in found] == [len(each) for each in expected]
    assert [len(each) for each in expected] == [1, 1, 0, 1, 1, 1, 1]
    moved = [
        float(np.abs(np.subtract(a[0].box, b[0].box)).max())
        for a, b in zip(found, expected, strict=True)
        if a
    ]
    wanted = [
        (frame, plates[0], 0.0) for frame, plates in zip(frames, expected, strict=True) if plates
    ]
    texts = [read.text for read in both.gpu.reader.read(wanted)]
    tell(test="foreign", boxes_px_max=max(moved), texts=texts)
    assert max(moved) <= 2.0  # an edge that moves by a pixel of the input is 1.7 of the frame
    assert texts == [read.text for read in both.cpu.reader.read(wanted)]
    assert sum(a == b for a, b in zip(texts, TEXTS, strict=True)) >= len(TEXTS) - 1


def test_batches_that_overlap_keep_their_own_plates_however_many(both: Both) -> None:
    """How many rows came out is known per batch; the next one is begun before they are taken."""
    full = [street(text, 60 + 30 * k, 80 + 40 * k) for k, text in enumerate(TEXTS[:4])]
    empty, single = [street(None, 0, 0)] * 4, [full[0], *[street(None, 0, 0)] * 3]
    submit = both.gpu.detector.submit  # type: ignore[attr-defined] -- the GPU's is one that can

    for one, other in ((full, empty), (empty, full), (full, single), (single, full)):
        pending = [submit(one), submit(other)]
        counts = [[len(each) for each in batch.result()] for batch in pending]
        expected = [
            [len(each) for each in both.cpu.detector.detect(batch)] for batch in (one, other)
        ]
        assert counts == expected
    assert [len(each) for each in both.gpu.detector.detect(full + empty)] == [1] * 4 + [0] * 4
