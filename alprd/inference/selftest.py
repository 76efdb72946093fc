"""Proof, before the daemon says that it is ready, that a model does what its manifest says.

Wrong normalisation, swapped colours or a wrong alphabet raise no error anywhere: the network runs
and returns nonsense. So each model looks at a known plate first, and when it fails, the usual
mistakes are tried out so that the error can name the one that it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.types import PLATE_LABEL, Detection
from alprd.inference.decoding import DetectorDecoding, ReaderDecoding
from alprd.inference.detector import NetworkDetector
from alprd.inference.manifest import (
    DetectorManifest,
    Manifest,
    ReaderManifest,
    unreadable,
)
from alprd.inference.mistakes import explanation
from alprd.inference.network import Network, Outputs
from alprd.inference.reader import NetworkReader
from alprd.ports import EngineError, ImageU8


class _Recorder:
    """A network that remembers what it returned last."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.max_batch = network.max_batch
        self.last: Outputs = {}

    def run(self, rows: NDArray[Any], count: int) -> Outputs:
        self.last = self._network.run(rows, count)
        return self.last


def check_detector(manifest: DetectorManifest, network: Network, folder: Path) -> None:
    """Find the known plate. Raises EngineError saying what is wrong."""
    expected = manifest.selftest
    image = known_picture(folder / expected.image)
    quad = np.array(expected.quad, np.float32)

    def attempt(tried: DetectorManifest, through: Network) -> str | None:
        plates = [
            found
            for found in NetworkDetector(tried, through).detect([image])[0]
            if found.label == PLATE_LABEL
        ]
        if not plates:
            return "found no plate"
        best = max(_quad_iou(quad, plate) for plate in plates)
        if best < expected.min_iou:
            return f"found a plate elsewhere (overlap {best:.2f}, at least {expected.min_iou})"
        return None

    def sound(tried: DetectorManifest, through: Network) -> bool:
        seen = _Recorder(through)
        found = attempt(tried, seen) is None
        return found and DetectorDecoding(tried).doubt(seen.last) is None

    recorder = _Recorder(network)
    problem = attempt(manifest, recorder)
    doubt = DetectorDecoding(manifest).doubt(recorder.last)
    if problem is not None or doubt is not None:
        # A decoder that reads no probabilities may be reading something else: tried out first.
        cause = explanation(manifest, lambda tried: sound(tried, network)) or doubt
        problem = problem or "cannot be trusted though it found the plate"
        raise _failure(manifest, folder, expected.image, problem, cause)


def check_reader(manifest: ReaderManifest, network: Network, folder: Path) -> None:
    """Read the known plate. Raises EngineError saying what is wrong."""
    expected = manifest.selftest
    size = (manifest.input.width, manifest.input.height)
    crop = known_picture(folder / expected.image)
    if (crop.shape[1], crop.shape[0]) != size:
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)

    def attempt(tried: ReaderManifest, through: Network) -> str:
        return NetworkReader(tried, through).read_crops([crop])[0].text

    recorder = _Recorder(network)
    text = attempt(manifest, recorder)
    # Of a wrong scale the greatest is still the greatest: the text says nothing of probabilities.
    doubt = ReaderDecoding(manifest).doubt(recorder.last)
    if text != expected.plate or doubt is not None:
        cause = doubt or explanation(
            manifest, lambda tried: attempt(tried, network) == expected.plate
        )
        wanted = "" if text == expected.plate else f" instead of {expected.plate!r}"
        problem = f"read {text!r}{wanted}"
        raise _failure(manifest, folder, expected.image, problem, cause)


def _failure(
    manifest: Manifest, folder: Path, image: str, problem: str, cause: str | None
) -> EngineError:
    remedy = cause or (
        "check [input] (colour, scale, mean, std, resize) and [decoder] (labels, alphabet, blank) "
        "in its manifest against how it was trained"
    )
    return EngineError(f"{folder / manifest.file}: the self-test on {image} {problem}; {remedy}")


def known_picture(path: Path) -> ImageU8:
    """A self-test's picture. Raises EngineError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise EngineError(
            f"{path} does not exist; the self-test needs it: restore it, or correct "
            "selftest.image in the manifest"
        ) from None
    except OSError as error:
        raise unreadable(path, error, "the self-test needs it: let alprd's user read it") from None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise EngineError(f"{path} is no picture; the self-test needs one: restore it")
    return np.asarray(image, np.uint8)


def _quad_iou(quad: NDArray[np.float32], plate: Detection) -> float:
    if plate.quad is None:
        return 0.0
    common, _ = cv2.intersectConvexConvex(quad, plate.quad)
    union = cv2.contourArea(quad) + cv2.contourArea(plate.quad) - common
    return float(common / union) if union > 0.0 else 0.0
