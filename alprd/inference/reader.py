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
        return [
            plate_read(found, plate, quad, t_s, sharp=sharpness(crop), margins=self._margins)
            for (_, plate, t_s), quad, crop, found in zip(
                plates, quads, crops, self.read_crops(crops), strict=True
            )
        ]

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


def plate_read(
    found: CropText,
    plate: Detection,
    quad: NDArray[np.float32],
    t_s: float,
    *,
    sharp: float,
    margins: tuple[float, float],
) -> PlateRead:
    """What was read on one plate.

    Args:
        found: on its crop.
        plate: that was detected.
        quad: (4, 2) by which it was cut out.
        t_s: the frame's time.
        sharp: the crop's sharpness.
        margins: fractions of the crop's width and height that were left on each side.
    """
    return PlateRead(
        text=found.text,
        char_probs=found.char_probs,
        quad=quad,
        t_s=t_s,
        score=plate.score,
        quality=found.quality,
        regions=found.regions,
        sharpness=sharp,
        refined=_in_frame(found.corners, quad, margins),
    )


def _in_frame(
    corners: NDArray[np.float32] | None, quad: NDArray[np.float32], margins: tuple[float, float]
) -> NDArray[np.float32] | None:
    """(4, 2) the corners in the frame where `quad` is; None if they are no plate's."""
    if corners is None or not bool((np.abs(corners - 0.5) <= 0.5 + OUTSIDE).all()):
        return None
    found = unrectified(corners, quad, margins)
    a, b, c, d = ((float(x), float(y)) for x, y in found)
    return found if is_clockwise_convex((a, b, c, d)) else None
