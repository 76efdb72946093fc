"""Readers as others export them run through a manifest alone.

The slot readers and the CRNN have weights from a seed; the reference runs the file and reads its
outputs in plain loops. The LPRNet-like reader was trained (engines/training/ctc_example.py): it
reads plates that are drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from alprd.core.types import ALPHABET, Detection
from alprd.demo.plates import WHITE_EU, WHITE_UK, YELLOW_UK, PlateStyle, render_plate
from alprd.inference.decoding import reader_outputs
from alprd.inference.manifest import load_reader_manifest
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.reader import NetworkReader
from alprd.inference.selftest import check_reader
from alprd.ports import EngineError
from support import foreign_models as foreign
from support.foreign_models import Look

TRAINED = Path(__file__).parents[2] / "data" / "models" / "lprnet" / "model.onnx"
LPRNET = Look(size=(94, 24), colour="BGR", scale=1.0, mean=127.5, std=128.0)
LPRNET_CLASSES = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZIO-"
LPRNET_DECODER = {
    "type": "ctc",
    "outputs": {"chars": "logits"},
    "layout": "NCT",
    "alphabet": LPRNET_CLASSES,
    "blank": "-",
    "activation": "softmax",
}


def reader(folder: Path, max_batch: int = 4) -> NetworkReader:
    manifest, place = load_reader_manifest(folder.name, folder.parent)
    network = OnnxNetwork(
        (folder / manifest.file).read_bytes(),
        path=place / manifest.file,
        spec=manifest.input,
        outputs=reader_outputs(manifest),
        max_batch=max_batch,
        threads=1,
    )
    return NetworkReader(manifest, network)


def run_alone(folder: Path, ready: NDArray[Any]) -> NDArray[Any]:
    """The one output for one crop that is in the network's own form."""
    session = onnxruntime.InferenceSession(
        (folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    [output] = session.run(None, {"images": np.ascontiguousarray(ready)[None]})
    return np.asarray(output)


@pytest.mark.parametrize("colour", ["GRAY", "RGB"])
def test_a_fast_plate_ocr_reader_takes_8_bit_pixels_and_gives_its_slots_flat(
    tmp_path: Path, colour: str
) -> None:
    look = Look(size=(140, 70), layout="NHWC", colour=colour, type="uint8", scale=1.0)
    alphabet = f"{ALPHABET}_"
    decoder = {
        "type": "slots",
        "outputs": {"chars": "plate"},
        "slots": 9,
        "alphabet": alphabet,
        "blank": "_",
    }
    folder = foreign.slots(
        tmp_path / "ocr", look=look, opset=17, decoder=decoder, number=9, classes=37
    )
    crops = [foreign.frame((140, 70), seed) for seed in range(6)]
    crops = [cv2.resize(crop, (140, 70), interpolation=cv2.INTER_NEAREST) for crop in crops]

    found = reader(folder).read_crops(crops)

    for crop, text in zip(crops, found, strict=True):
        ready = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[:, :, None]
        values = run_alone(folder, ready if colour == "GRAY" else crop[:, :, ::-1]).ravel()
        expected, sure = "", []
        for slot in range(9):
            row = values[slot * 37 : slot * 37 + 37].tolist()
            if alphabet[row.index(max(row))] != "_":
                expected += alphabet[row.index(max(row))]
                sure.append(max(row))
        assert text.text == expected
        assert text.char_probs.max(axis=1).tolist() == pytest.approx(sure, abs=1e-4)
    assert len({text.text for text in found}) > 3


def test_small_letters_and_separators_count_as_the_manifest_says(tmp_path: Path) -> None:
    alphabet = "089-1#2345abcd7ef6gÄ"
    look = Look(size=(100, 40), mean=0.5, std=0.5)
    decoder = {
        "type": "slots",
        "outputs": {"chars": "plate"},
        "alphabet": alphabet,
        "blank": 0,  # a class of its own before the alphabet
        "ignore": "-#",
        "rename": {"Ä": "A"},
        "upper_case": True,
        "activation": "softmax",
    }
    folder = foreign.slots(
        tmp_path / "ocr", look=look, opset=11, decoder=decoder, number=7, classes=21
    )
    crops = [foreign.frame((104, 40), seed)[:, :100] for seed in range(24)]

    found = reader(folder).read_crops(crops)

    seen = set()
    for crop, text in zip(crops, found, strict=True):
        ready = ((crop[:, :, ::-1] / 255.0 - 0.5) / 0.5).transpose(2, 0, 1).astype(np.float32)
        expected = ""
        for row in run_alone(folder, ready)[0].tolist():
            # Chances of what counts as one character add up.
            raised = [math.exp(value) for value in row]
            shares: dict[str, float] = {}
            for char, value in zip(["", *alphabet], raised, strict=True):
                name = {"Ä": "A", "-": "", "#": ""}.get(char, char).upper()
                shares[name] = shares.get(name, 0.0) + value
            expected += max(shares, key=lambda name: shares[name])
            seen.add(("", *alphabet)[row.index(max(row))])
        assert text.text == expected
    assert seen & set("abcdefgÄ")
    assert seen & {"-", "#", ""}


def test_a_crnn_reader_has_its_columns_first_and_logarithms(tmp_path: Path) -> None:
    look = Look(size=(100, 32), colour="GRAY", mean=0.5, std=0.5)
    classes = "-012345ABCDEF"
    decoder = {
        "type": "ctc",
        "outputs": {"chars": "log_probs"},
        "layout": "TNC",
        "alphabet": classes[1:],
        "blank": 0,
        "activation": "log",
    }
    folder = foreign.columns(
        tmp_path / "crnn", look=look, opset=13, decoder=decoder, classes=len(classes)
    )
    crops = [foreign.frame((104, 32), seed)[:, :100] for seed in range(5)]

    found = reader(folder, max_batch=3).read_crops(crops)  # in two calls

    for crop, text in zip(crops, found, strict=True):
        grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_BGR2GRAY)
        ready = ((grey / 255.0 - 0.5) / 0.5).astype(np.float32)[None]
        expected, sure = greedy(np.exp(run_alone(folder, ready)[:, 0]), classes)
        assert text.text == expected
        assert text.char_probs.max(axis=1).tolist() == pytest.approx(sure, abs=1e-4)
    assert any(text.text for text in found)


def greedy(probs: NDArray[np.float32], classes: str) -> tuple[str, list[float]]:
    """The greedy CTC reading of (T, C), and each character's greatest chance in its run."""
    best = probs.argmax(axis=1).tolist()
    text, sure = "", []
    for label, run in groupby(range(len(best)), key=best.__getitem__):
        if classes[label] != "-":
            text += classes[label]
            sure.append(max(float(probs[k, label]) for k in run))
    return text, sure


def drawn(text: str, style: PlateStyle, slope: float) -> tuple[NDArray[np.uint8], Detection]:
    """A plate in a frame, seen a little from the side, and the detection of it."""
    flat = render_plate(text, style)
    height, width = flat.shape[:2]
    wide, tall = 180.0, 180.0 * height / width
    quad = np.array(
        [
            [60, 70],
            [60 + wide, 70 + slope * wide],
            [60 + wide, 70 + slope * wide + tall],
            [60, 70 + tall],
        ],
        np.float32,
    )
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    frame = np.full((240, 320, 3), 90, np.uint8)
    warp = cv2.getPerspectiveTransform(corners, quad)
    flat = cv2.GaussianBlur(flat, (0, 0), 2.0)
    cv2.warpPerspective(
        flat, warp, (320, 240), dst=frame, borderMode=cv2.BORDER_TRANSPARENT, flags=cv2.INTER_LINEAR
    )
    low, high = quad.min(axis=0), quad.max(axis=0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return frame, Detection(label="plate", score=0.9, box=box, quad=quad)


PLATES: Sequence[tuple[str, PlateStyle, float]] = (
    ("LS15EBC", WHITE_UK, 0.0),
    ("AB12CDE", YELLOW_UK, 0.08),
    ("WOB7788", WHITE_EU, -0.06),
    ("B1000AA", WHITE_EU, 0.04),
    ("0OI1", YELLOW_UK, 0.0),
    ("MX77KQZ", WHITE_UK, -0.1),
    ("HH22GG99", WHITE_EU, 0.02),
    ("5S8B2Z", YELLOW_UK, -0.03),
)


def write_lprnet(folder: Path, **changes: object) -> Path:
    crop = cv2.resize(render_plate("LS15EBC", WHITE_UK), (94, 24), interpolation=cv2.INTER_AREA)
    return foreign.write_reader(
        folder,
        TRAINED.read_bytes(),
        LPRNET,
        {**LPRNET_DECODER, **changes},
        picture=np.asarray(crop, np.uint8),
        plate="LS15EBC",
    )


def test_a_trained_lprnet_reads_plates_with_a_posterior_for_every_character(tmp_path: Path) -> None:
    folder = write_lprnet(tmp_path / "lprnet")
    scenes = [(*drawn(*plate), 0.0) for plate in PLATES]

    reads = reader(folder).read(scenes)

    right = [read.text == text for read, (text, _, _) in zip(reads, PLATES, strict=True)]
    assert sum(right) >= len(PLATES) - 1, [read.text for read in reads]
    for read, (frame, plate, _) in zip(reads, scenes, strict=True):
        expected, sure = greedy(lprnet_alone(folder, frame, plate), LPRNET_CLASSES)
        assert read.text == expected
        assert read.char_probs.shape == (len(expected), 37)
        assert read.char_probs.sum(axis=1) == pytest.approx(1.0, abs=1e-3)
        own = [read.char_probs[k, ALPHABET.index(char)] for k, char in enumerate(expected)]
        assert own == pytest.approx(sure, abs=0.02)


def lprnet_alone(folder: Path, frame: NDArray[np.uint8], plate: Detection) -> NDArray[np.float32]:
    """(T, classes) posteriors for the plate, cut out and prepared without alprd."""
    assert plate.quad is not None
    times = 2  # sampled twice as finely both ways, then averaged
    target = np.array([[0, 0], [94, 0], [94, 24], [0, 24]], np.float32) * times - 0.5
    warp = cv2.getPerspectiveTransform(plate.quad - np.float32(0.5), target.astype(np.float32))
    crop = cv2.warpPerspective(frame, warp, (94 * times, 24 * times), flags=cv2.INTER_LINEAR)
    crop = cv2.resize(crop, (94, 24), interpolation=cv2.INTER_AREA)
    ready = ((crop.astype(np.float32) - 127.5) / 128.0).transpose(2, 0, 1)
    raised = np.exp(run_alone(folder, ready)[0].T)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(
    ("input_changes", "decoder", "message"),
    [
        ({"scale": 1.0, "mean": 0.0, "std": 1.0}, {}, r"read '.*' instead of 'LS15EBC'"),
        ({}, {"activation": "none"}, "no probabilities: set decoder.activation"),
        ({}, {"alphabet": LPRNET_CLASSES[::-1], "blank": "-"}, "instead of 'LS15EBC'"),
    ],
    ids=["normalised otherwise", "logits", "alphabet backwards"],
)
def test_what_a_manifest_gets_wrong_about_a_foreign_reader_fails_its_self_test(
    tmp_path: Path, input_changes: Mapping[str, float], decoder: Mapping[str, Any], message: str
) -> None:
    look = Look(
        size=LPRNET.size,
        colour="BGR",
        scale=input_changes.get("scale", LPRNET.scale),
        mean=input_changes.get("mean", LPRNET.mean),
        std=input_changes.get("std", LPRNET.std),
    )
    crop = cv2.resize(render_plate("LS15EBC", WHITE_UK), (94, 24), interpolation=cv2.INTER_AREA)
    folder = foreign.write_reader(
        tmp_path / "lprnet",
        TRAINED.read_bytes(),
        look,
        {**LPRNET_DECODER, **decoder},
        picture=np.asarray(crop, np.uint8),
        plate="LS15EBC",
    )
    manifest, place = load_reader_manifest("lprnet", tmp_path)
    network = OnnxNetwork(
        (folder / manifest.file).read_bytes(),
        path=place / manifest.file,
        spec=manifest.input,
        outputs=reader_outputs(manifest),
        max_batch=4,
        threads=1,
    )
    with pytest.raises(EngineError, match=message):
        check_reader(manifest, network, place)
