"""A classifier: crops of vehicles in, probabilities per head out, whatever runs the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import Placement, letterbox, stretch
from alprd.core.types import BoxPx
from alprd.inference.attribute_manifest import AttributeManifest
from alprd.inference.network import Network, Shape, check_outputs
from alprd.inference.preprocess import InputBatch, check_image, opencv_errors
from alprd.inference.selftest import known_picture
from alprd.ports import EngineError, ImageU8

_TOLERANCE = 0.02  # on sums and bounds of probabilities; half precision needs some


def classifier_outputs(manifest: AttributeManifest) -> Mapping[str, Shape]:
    """Name and shape of every output that the decoder needs."""
    return {head.output: (None, len(head.labels)) for head in manifest.decoder.heads.values()}


class NetworkClassifier:
    """Asks one network about vehicles; used by one thread."""

    def __init__(self, manifest: AttributeManifest, network: Network) -> None:
        self._network = network
        self._input = InputBatch(manifest.input, network.max_batch)
        self._decoder = manifest.decoder
        self._spec = manifest.input
        self._shapes = classifier_outputs(manifest)
        self._origin = f"{manifest.name}/{manifest.file}"
        self.name = manifest.name
        self.heads = manifest.heads

    def cut(self, image: ImageU8, box: BoxPx) -> ImageU8:
        """The vehicle (height, width, 3) as the network wants to see it.

        Raises:
            ImageError: the picture cannot be processed.
        """
        check_image(image)
        x1, y1, x2, y2 = box
        wide, tall = x2 - x1, y2 - y1
        if self._decoder.crop == "square":
            wide = tall = max(wide, tall)
        half_x, half_y = (side * (1.0 + self._decoder.margin) / 2.0 for side in (wide, tall))
        x, y = (x1 + x2) / 2.0, (y1 + y2) / 2.0
        left, top = round(x - half_x), round(y - half_y)
        right, bottom = max(left + 1, round(x + half_x)), max(top + 1, round(y + half_y))
        return self._fitted(image, (left, top, right, bottom))

    def _fitted(self, image: ImageU8, place: tuple[int, int, int, int]) -> ImageU8:
        """A place of the picture in the input's size; what lies outside is padding."""
        left, top, right, bottom = place
        spec = self._spec
        fit = letterbox if spec.resize == "letterbox" else stretch
        placed = fit((right - left, bottom - top), (spec.width, spec.height))
        canvas: ImageU8 = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
        height, width = image.shape[:2]
        a, b, c, d = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if a >= c or b >= d:
            return canvas
        to_x, to_y = _mapped(placed, (a - left, c - left), (b - top, d - top))
        part = image[b:d, a:c]
        size = (to_x[1] - to_x[0], to_y[1] - to_y[0])
        smaller = size[0] < part.shape[1] or size[1] < part.shape[0]
        with opencv_errors():
            canvas[to_y[0] : to_y[1], to_x[0] : to_x[1]] = cv2.resize(
                part, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            )
        return canvas

    def classify(self, crops: Sequence[ImageU8]) -> list[dict[str, NDArray[np.float32]]]:
        """Per crop, head -> (labels,) probabilities.

        Raises:
            EngineError: the network failed, or returned what is no answer.
        """
        answers: list[dict[str, NDArray[np.float32]]] = []
        for start in range(0, len(crops), self._input.max_batch):
            answers += self._classify_batch(crops[start : start + self._input.max_batch])
        return answers

    def _classify_batch(self, crops: Sequence[ImageU8]) -> list[dict[str, NDArray[np.float32]]]:
        for row, crop in enumerate(crops):
            self._input.fill(row, crop)
        outputs = self._network.run(self._input.rows, len(crops))
        check_outputs(outputs, self._shapes, len(crops), self._origin)
        columns = {
            name: self._probabilities(name, outputs[head.output])
            for name, head in self._decoder.heads.items()
        }
        return [{name: rows[k] for name, rows in columns.items()} for k in range(len(crops))]

    def _probabilities(self, name: str, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        values = np.asarray(raw, np.float32)
        if not np.isfinite(values).all():
            raise EngineError(
                f"{self._origin}: head {name!r} returned NaN or infinity; the weights are damaged "
                "or overflow in this precision: export the model again"
            )
        if self._decoder.values == "logits":
            values = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(values / values.sum(axis=1, keepdims=True), np.float32)
        off = np.abs(values.sum(axis=1) - 1.0).max(initial=0.0)
        if off > _TOLERANCE or values.min(initial=0.0) < -_TOLERANCE:
            raise EngineError(
                f"{self._origin}: head {name!r} returned no probabilities (sums are off by "
                f'{off:.2g}); set values = "logits" in [decoder], or export it with a softmax'
            )
        return values


def check_classifier(manifest: AttributeManifest, network: Network, folder: Path) -> None:
    """Ask about the known crop; a blank one where there is none. Raises EngineError."""
    classifier = NetworkClassifier(manifest, network)
    spec, expected = manifest.input, manifest.selftest
    size = (spec.width, spec.height)
    if expected is None:
        classifier.classify([np.full((spec.height, spec.width, 3), 127, np.uint8)])
        return
    crop = known_picture(folder / expected.image)
    if (crop.shape[1], crop.shape[0]) != size:
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    answers = classifier.classify([crop])[0]
    for name, wanted in expected.expect.items():
        said = manifest.decoder.heads[name].labels[int(answers[name].argmax())]
        if said != wanted:
            raise EngineError(
                f"{folder / manifest.file}: the self-test on {expected.image} said {said!r} "
                f"instead of {wanted!r} for {name!r}; check [input] (colour, scale, mean, std, "
                "resize) and the order of labels in its manifest against how it was trained"
            )


def _mapped(
    placed: Placement, across: tuple[int, int], down: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a part of the place lies in the input, at least one pixel each way."""

    def along(ends: tuple[int, int], scale: float, offset: int, most: int) -> tuple[int, int]:
        low = min(max(0, round(ends[0] * scale) + offset), most - 1)
        return low, min(most, max(low + 1, round(ends[1] * scale) + offset))

    return (
        along(across, placed.scale_x, placed.offset_x, placed.offset_x + placed.width),
        along(down, placed.scale_y, placed.offset_y, placed.offset_y + placed.height),
    )
