"""The reader: plate detections in, texts with their posteriors out, whatever runs the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import class_order, decode_regions, decode_slots
from alprd.core.geometry import is_clockwise_convex
from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.inference.manifest import ReaderManifest
from alprd.inference.network import Network, Shape, check_outputs
from alprd.inference.preprocess import (
    InputBatch,
    check_image,
    on_host,
    rectify,
    sharpness,
    unrectified,
)
from alprd.ports import ImageU8

OUTSIDE = 0.5
"""So far outside the crop, in parts of its size, a corner can be; farther it is an error."""


def reader_outputs(manifest: ReaderManifest) -> Mapping[str, Shape]:
    """Name and shape of every output that the decoder needs."""
    decoder = manifest.decoder
    shapes: dict[str, Shape] = {decoder.outputs.chars: (None, None, len(decoder.alphabet) + 1)}
    if decoder.outputs.region is not None:
        shapes[decoder.outputs.region] = (None, len(decoder.regions))
    if decoder.outputs.quality is not None:
        shapes[decoder.outputs.quality] = (None, 1)
    if decoder.outputs.corners is not None:
        shapes[decoder.outputs.corners] = (None, 8)
    return shapes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropText:
    """What the network says of one crop: fields as in `PlateRead`, but corners in its own parts."""

    text: str
    char_probs: NDArray[np.float32]
    quality: float | None
    regions: tuple[tuple[str, float], ...]
    corners: NDArray[np.float32] | None = None


class NetworkReader:
    """Implements the PlateReader port; used by one thread."""

    def __init__(self, manifest: ReaderManifest, network: Network) -> None:
        decoder = manifest.decoder
        self._network = network
        self._input = InputBatch(manifest.input, network.max_batch)
        self._size = (manifest.input.width, manifest.input.height)
        self._margins = (decoder.margin_x, decoder.margin_y)
        self._decoder = decoder
        self._order = class_order(decoder.alphabet, decoder.blank)
        self._shapes = reader_outputs(manifest)
        self._origin = f"{manifest.name}/{manifest.file}"

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
            quads.append(_corners(plate))
            crops.append(rectify(image, quads[-1], self._size, self._margins))
        return [
            PlateRead(
                text=found.text,
                char_probs=found.char_probs,
                quad=quad,
                t_s=t_s,
                score=plate.score,
                quality=found.quality,
                regions=found.regions,
                sharpness=sharpness(crop),
                refined=self._in_frame(found.corners, quad),
            )
            for (_, plate, t_s), quad, crop, found in zip(
                plates, quads, crops, self.read_crops(crops), strict=True
            )
        ]

    def _in_frame(
        self, corners: NDArray[np.float32] | None, quad: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """(4, 2) the corners in the frame where `quad` is; None if they are no plate's."""
        if corners is None or not bool((np.abs(corners - 0.5) <= 0.5 + OUTSIDE).all()):
            return None
        found = unrectified(corners, quad, self._margins)
        a, b, c, d = ((float(x), float(y)) for x, y in found)
        return found if is_clockwise_convex((a, b, c, d)) else None

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
        check_outputs(outputs, self._shapes, len(crops), self._origin)
        names = self._decoder.outputs
        texts = decode_slots(outputs[names.chars], self._order)
        regions: list[tuple[tuple[str, float], ...]] = [()] * len(crops)
        if names.region is not None:
            regions = decode_regions(outputs[names.region], self._decoder.regions)
        qualities: list[float | None] = [None] * len(crops)
        if names.quality is not None:
            qualities = [_probability(value) for value in outputs[names.quality][:, 0].tolist()]
        corners: list[NDArray[np.float32] | None] = [None] * len(crops)
        if names.corners is not None:
            corners = list(outputs[names.corners].reshape(-1, 4, 2).astype(np.float32))
        return [
            CropText(text=text, char_probs=probs, quality=quality, regions=region, corners=seen)
            if quality is None or quality >= self._decoder.min_quality
            else CropText(text="", char_probs=probs[:0], quality=quality, regions=(), corners=seen)
            for (text, probs), quality, region, seen in zip(
                texts, qualities, regions, corners, strict=True
            )
        ]


def _corners(plate: Detection) -> NDArray[np.float32]:
    """(4, 2) the plate's quad, or its box's corners."""
    if plate.quad is not None:
        return plate.quad
    x1, y1, x2, y2 = plate.box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)


def _probability(value: float) -> float | None:
    return min(1.0, max(0.0, value)) if np.isfinite(value) else None
