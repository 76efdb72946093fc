"""The reader: plate detections in, texts with their posteriors out, whatever runs the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alprd.core.geometry import is_clockwise_convex
from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.inference.decoding import CropText, ReaderDecoding, reader_outputs
from alprd.inference.manifest import ReaderManifest
from alprd.inference.network import Network
from alprd.inference.preprocess import (
    InputBatch,
    check_image,
    on_host,
    rectify,
    sharpness,
    unrectified,
)
from alprd.ports import ImageU8

__all__ = ["NetworkReader", "reader_outputs"]

OUTSIDE = 0.5
"""So far outside the crop, in parts of its size, a corner can be; farther it is an error."""


class NetworkReader:
    """Implements the PlateReader port; used by one thread."""

    def __init__(self, manifest: ReaderManifest, network: Network) -> None:
        self._network = network
        self._decoding = ReaderDecoding(manifest)
        self._input = InputBatch(manifest.input, network.max_batch)
        self._size = (manifest.input.width, manifest.input.height)
        self._margins = self._decoding.margins

    def read(self, plates: Sequence[tuple[FrameImage, Detection, float]]) -> list[PlateRead]:
        """One read per (full frame image, plate detection with quad, t_s), in that order.

        Raises:
            ImageError: a picture cannot be processed; then nothing was read.
            EngineError: the network failed.
        """
        crops: list[ImageU8] = []
        quads: list[NDArray[np.float32]] = []
        for picture, plate, _ in plates:
            image = on_host(picture)
            check_image(image)
            quads.append(corners_of(plate))
            crops.append(rectify(image, quads[-1], self._size, self._margins))
        found = self.read_crops(crops)
        return plate_reads(found, plates, quads, [*map(sharpness, crops)], self._margins)

    def read_crops(self, crops: Sequence[ImageU8]) -> list[CropText]:
        """Texts of rectified (height, width, 3) crops of the network's own size."""
        found: list[CropText] = []
        for start in range(0, len(crops), self._input.max_batch):
            found.extend(self._read_batch(crops[start : start + self._input.max_batch]))
        return found

    def _read_batch(self, crops: Sequence[ImageU8]) -> list[CropText]:
        for row, crop in enumerate(crops):
            self._input.fill(row, crop)
        outputs = self._network.run(self._input.rows, len(crops))
        return self._decoding.decode(outputs, len(crops))


def corners_of(plate: Detection) -> NDArray[np.float32]:
    """(4, 2) the plate's quad, or its box's corners."""
    if plate.quad is not None:
        return plate.quad
    x1, y1, x2, y2 = plate.box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)


def plate_reads(
    found: Sequence[CropText],
    plates: Sequence[tuple[FrameImage, Detection, float]],
    quads: Sequence[NDArray[np.float32]],
    sharpness: Sequence[float],
    margins: tuple[float, float],
) -> list[PlateRead]:
    """What was read on plates.

    Args:
        found: on the crop of each.
        plates: as `PlateReader.read` takes them.
        quads: (4, 2) each, by which they were cut out.
        sharpness: of each crop.
        margins: fractions of the crops' width and height that were left on each side.
    """
    return [
        PlateRead(
            text=text.text,
            char_probs=text.char_probs,
            quad=quad,
            t_s=t_s,
            score=plate.score,
            quality=text.quality,
            regions=text.regions,
            sharpness=sharp,
            refined=refined,
        )
        for text, (_, plate, t_s), quad, sharp, refined in zip(
            found, plates, quads, sharpness, _in_frames(found, quads, margins), strict=True
        )
    ]


def _in_frames(
    found: Sequence[CropText],
    quads: Sequence[NDArray[np.float32]],
    margins: tuple[float, float],
) -> Sequence[NDArray[np.float32] | None]:
    """(4, 2) each: the corners that were seen, in the frames; None if they are no plate's."""
    seen = [text.corners for text in found if text.corners is not None]
    if len(seen) < len(found) or not seen:
        return [None] * len(found)
    corners = np.array(seen)
    near = (np.abs(corners - 0.5) <= 0.5 + OUTSIDE).all(axis=(1, 2))
    # What is far, or no number, must not disturb the others.
    usual = np.where(near[:, None, None], corners, np.float32(0.5))
    refined = unrectified(usual, np.asarray(quads, np.float32), margins)
    return [
        each if ok and is_clockwise_convex(points) else None
        for each, ok, points in zip(refined, near.tolist(), refined.tolist(), strict=True)
    ]
