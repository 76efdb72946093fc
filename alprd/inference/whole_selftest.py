"""Proof of the whole way: pictures go in where frames do, so that what prepares them is proven too.

The self-test of a network prepares its rows on the CPU; a backend that prepares them on the GPU,
with kernels of our own, could pass it and see nothing.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from alprd.core.types import PLATE_LABEL, Detection
from alprd.inference.manifest import DetectorManifest, ReaderManifest
from alprd.inference.preprocess import inset
from alprd.inference.selftest import known_picture
from alprd.ports import Detector, EngineError, PlateReader

_REMEDY = "update the NVIDIA driver, or set inference.backend to onnxruntime, and report it"


def check_whole_detector(manifest: DetectorManifest, detector: Detector, folder: Path) -> None:
    """Find the known plate in its picture. Raises EngineError."""
    expected = manifest.selftest
    path = folder / expected.image
    wanted = np.array(expected.quad, np.float32)
    plates = [
        each for each in detector.detect([known_picture(path)])[0] if each.label == PLATE_LABEL
    ]
    if not any(
        cv2.pointPolygonTest(wanted, _centre(each), measureDist=False) >= 0 for each in plates
    ):
        raise EngineError(
            f"{folder / manifest.file}: the engine passes its self-test, but with frames prepared "
            f"on the GPU the known plate of {path.name} is not found; {_REMEDY}"
        )


def check_whole_reader(manifest: ReaderManifest, reader: PlateReader, folder: Path) -> None:
    """Read the known plate off its picture. Raises EngineError."""
    expected = manifest.selftest
    crop = known_picture(folder / expected.image)
    height, width = crop.shape[:2]
    decoder = manifest.decoder
    quad = inset((decoder.margin_x, decoder.margin_y)) * np.array([width, height], np.float32)
    plate = Detection(
        label=PLATE_LABEL, score=1.0, box=(0.0, 0.0, float(width), float(height)), quad=quad
    )
    text = reader.read([(crop, plate, 0.0)])[0].text
    if text != expected.plate:
        raise EngineError(
            f"{folder / manifest.file}: the engine passes its self-test, but with plates cut out "
            f"on the GPU it reads {text!r} instead of {expected.plate!r} off {expected.image}; "
            f"{_REMEDY}"
        )


def _centre(plate: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = plate.box
    return (x1 + x2) / 2.0, (y1 + y2) / 2.0
