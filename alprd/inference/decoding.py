"""From a network's outputs to detections and texts, as its manifest says; for every backend.

Both classes work on host arrays of whatever type the network returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alprd.core.box_forms import probabilities
from alprd.core.decode import (
    DetectorRules,
    Placement,
    decode_detections,
    decode_regions,
    decode_slots,
)
from alprd.core.decode_ctc import OURS, decode_ctc, folded, folding
from alprd.core.decode_ssd import SsdForm, decode_ssd
from alprd.core.decode_yolo import (
    CORNER_VALUES,
    SCORE,
    HeadForm,
    RowForm,
    decode_head,
    decode_rows,
)
from alprd.core.types import Detection
from alprd.inference.decoders import (
    CtcDecoder,
    DetectorDecoder,
    RowsDecoder,
    SsdDecoder,
    YoloDecoder,
)
from alprd.inference.manifest import DetectorManifest, ReaderManifest
from alprd.inference.network import (
    ANY,
    BATCH,
    ROWS,
    Outputs,
    Shape,
    check_outputs,
    describe_shape,
    of_first,
)
from alprd.ports import EngineError

_TOLERANCE = 0.02  # on sums and bounds of probabilities; half precision needs some
_ACTIVATE = "set decoder.activation, or "


def detector_outputs(manifest: DetectorManifest) -> Mapping[str, Shape]:
    """Name and shape of every output that the decoder needs."""
    decoder = manifest.decoder
    classes = len(decoder.labels)
    if isinstance(decoder, YoloDecoder):
        values = 4 + decoder.objectness + classes + CORNER_VALUES[decoder.corners]
        last = decoder.layout == "NCA"
        return {decoder.outputs.predictions: (None, values, None) if last else (None, None, values)}
    if isinstance(decoder, RowsDecoder):
        values = len(decoder.columns)
        return {decoder.outputs.rows: (ROWS, values) if decoder.together else (None, None, values)}
    if isinstance(decoder, SsdDecoder):
        return _ssd_outputs(decoder)
    shapes: dict[str, Shape] = {
        decoder.outputs.boxes: (None, None, 4),
        decoder.outputs.scores: (None, None, classes),
    }
    if decoder.outputs.corners is not None:
        shapes[decoder.outputs.corners] = (None, None, 8)
    return shapes


def _ssd_outputs(decoder: SsdDecoder) -> Mapping[str, Shape]:
    names = decoder.outputs
    # Without an axis for the images the boxes come first, as many as there are.
    lead: Shape = (None, None) if decoder.batched else (ROWS,)
    scores: Shape = lead if names.classes is not None else (*lead, len(decoder.labels))
    # (N, A, 4), or (N, A, 1, 4) of one box for all classes, as converted Darknet models have it.
    boxes: Shape = ANY if decoder.batched else (ROWS, 4)
    shapes: dict[str, Shape] = {names.boxes: boxes, names.scores: scores}
    if names.classes is not None:
        shapes[names.classes] = lead
    if names.count is not None:
        shapes[names.count] = ANY
    return shapes


class DetectorDecoding:
    """Decodes a detector's outputs.

    Attributes:
        outputs: name and shape of every output that is needed.
        one_by_one: whether the outputs can hold one image only, whatever the input takes.
    """

    def __init__(self, manifest: DetectorManifest) -> None:
        decoder = manifest.decoder
        self.outputs = detector_outputs(manifest)
        self.one_by_one = isinstance(decoder, SsdDecoder) and not decoder.batched
        self._decoder = decoder
        self._size = (manifest.input.width, manifest.input.height)
        self._origin = f"{manifest.name}/{manifest.file}"
        self._rules = DetectorRules(
            labels=decoder.names,
            thresholds=decoder.thresholds,
            nms_iou=decoder.nms_iou,
            max_detections=decoder.max_detections,
        )

    def decode(self, outputs: Outputs, placements: Sequence[Placement]) -> list[list[Detection]]:
        """Detections of each image, best score first, in the image's own pixels.

        Args:
            outputs: of as many rows as there are placements.
            placements: where each image lies in the input.

        Raises:
            EngineError: the outputs are not what the manifest says.
        """
        check_outputs(outputs, self.outputs, len(placements), self._origin)
        decoder = self._decoder
        if isinstance(decoder, YoloDecoder):
            return decode_head(
                outputs[decoder.outputs.predictions],
                placements,
                self._rules,
                HeadForm(
                    cells_last=decoder.layout == "NCA",
                    boxes=decoder.boxes,
                    units=decoder.units,
                    objectness=decoder.objectness,
                    activation=decoder.activation,
                    corners=decoder.corners,
                    corner_order=decoder.corner_order,
                    input_size=self._size,
                ),
            )
        if isinstance(decoder, RowsDecoder):
            form = RowForm(columns=decoder.columns, units=decoder.units, input_size=self._size)
            return decode_rows(outputs[decoder.outputs.rows], placements, self._rules, form)
        if isinstance(decoder, SsdDecoder):
            return self._ssd(decoder, outputs, placements)
        return self._own(decoder, outputs, placements)

    def _ssd(
        self, decoder: SsdDecoder, outputs: Outputs, placements: Sequence[Placement]
    ) -> list[list[Detection]]:
        names = decoder.outputs
        found = {name: outputs[name] for name in self.outputs if name != names.count}
        if not decoder.batched:
            found = {name: values[None] for name, values in found.items()}
        boxes = found[names.boxes] = self._boxes(found[names.boxes], len(placements))
        self._agree({name: values.shape[1] for name, values in found.items()})
        return decode_ssd(
            boxes,
            found[names.scores],
            classes=None if names.classes is None else found[names.classes],
            count=None if names.count is None else self._counts(outputs[names.count], placements),
            placements=placements,
            rules=self._rules,
            form=SsdForm(
                boxes=decoder.boxes,
                units=decoder.units,
                activation=decoder.activation,
                input_size=self._size,
            ),
        )

    def _boxes(self, boxes: NDArray[Any], count: int) -> NDArray[Any]:
        """(N, A, 4)."""
        if boxes.ndim == 4 and boxes.shape[2] == 1:
            boxes = boxes[:, :, 0]
        if boxes.ndim != 3 or len(boxes) != count or boxes.shape[2] != 4:
            raise EngineError(
                f"{self._origin}: decoder.outputs.boxes has shape {describe_shape(boxes.shape)} "
                f"instead of ({count}, ?, 4); correct it in the manifest, or export the model again"
            )
        return boxes

    def _counts(self, count: NDArray[Any], placements: Sequence[Placement]) -> NDArray[Any]:
        if count.size != len(placements):
            raise EngineError(
                f"{self._origin}: decoder.outputs.count names an output of {count.size} values for "
                f"{len(placements)} images; correct it in the manifest"
            )
        return count

    def _own(
        self, decoder: DetectorDecoder, outputs: Outputs, placements: Sequence[Placement]
    ) -> list[list[Detection]]:
        self._agree({name: outputs[name].shape[1] for name in self.outputs})
        names = decoder.outputs
        return decode_detections(
            outputs[names.boxes],
            outputs[names.scores],
            None if names.corners is None else outputs[names.corners],
            placements,
            self._rules,
        )

    def _agree(self, cells: Mapping[str, int]) -> None:
        if len(set(cells.values())) > 1:
            raise EngineError(
                f"{self._origin}: its outputs disagree on the number of cells ({dict(cells)}); "
                "correct decoder.outputs in the manifest, or export the model again"
            )

    def doubt(self, outputs: Outputs) -> str | None:
        """What makes the outputs no detector's at all, with the remedy; None if they may be one."""
        decoder = self._decoder
        if isinstance(decoder, RowsDecoder):
            scores = outputs[decoder.outputs.rows][..., decoder.columns.index(SCORE)]
            return _not_probabilities(scores, "correct decoder.columns, or ")
        if isinstance(decoder, YoloDecoder):
            head = outputs[decoder.outputs.predictions]
            cells = head.swapaxes(1, 2) if decoder.layout == "NCA" else head
            scores = cells[..., 4 : 4 + decoder.objectness + len(decoder.labels)]
            return _not_probabilities(probabilities(scores, decoder.activation), _ACTIVATE)
        scores = outputs[decoder.outputs.scores]
        if isinstance(decoder, SsdDecoder):
            return _not_probabilities(probabilities(scores, decoder.activation), _ACTIVATE)
        return _not_probabilities(scores)


def _not_probabilities(values: NDArray[Any], hint: str = "") -> str | None:
    """What is wrong with outputs that should be probabilities, with the remedy."""
    if not np.isfinite(values).all():
        return "its outputs hold NaN or infinity: the weights are damaged, export it again"
    if values.size and (values.min() < -_TOLERANCE or values.max() > 1.0 + _TOLERANCE):
        return (
            f"its outputs are no probabilities: {hint}export it with the sigmoid or softmax at its "
            "end"
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropText:
    """What the network says of one crop: fields as in `PlateRead`, but corners in its own parts."""

    text: str
    char_probs: NDArray[np.float32]
    quality: float | None
    regions: tuple[tuple[str, float], ...]
    corners: NDArray[np.float32] | None = None


def reader_outputs(manifest: ReaderManifest) -> Mapping[str, Shape]:
    """Name and shape of every output that the decoder needs."""
    decoder = manifest.decoder
    classes = len(decoder.meanings)
    chars: Shape = (None, None, classes)
    if isinstance(decoder, CtcDecoder):
        by_layout: Mapping[str, Shape] = {
            "NCT": (None, classes, None),
            "NTC": (None, None, classes),
            "TNC": (None, BATCH, classes),
        }
        chars = by_layout[decoder.layout]
    elif decoder.slots is not None:
        chars = (None, decoder.slots * classes)
    shapes: dict[str, Shape] = {decoder.outputs.chars: chars}
    if decoder.outputs.region is not None:
        shapes[decoder.outputs.region] = (None, len(decoder.regions))
    if decoder.outputs.quality is not None:
        shapes[decoder.outputs.quality] = (None, 1)
    if decoder.outputs.corners is not None:
        shapes[decoder.outputs.corners] = (None, 8)
    return shapes


class ReaderDecoding:
    """Decodes a reader's outputs.

    Attributes:
        outputs: name and shape of every output that is needed.
        margins: fractions of the crop's width and height that lie outside the plate on each side.
    """

    def __init__(self, manifest: ReaderManifest) -> None:
        decoder = manifest.decoder
        self.outputs = reader_outputs(manifest)
        self.margins = (decoder.margin_x, decoder.margin_y)
        self._decoder = decoder
        self._meanings = decoder.meanings
        self._matrix = folding(decoder.meanings)
        self._ours = tuple(decoder.meanings) == OURS
        self._origin = f"{manifest.name}/{manifest.file}"

    def decode(self, outputs: Outputs, count: int) -> list[CropText]:
        """Texts of `count` crops. Raises EngineError: the outputs are not what the manifest says.

        Args:
            outputs: of as many rows.
            count: of crops.
        """
        outputs = {
            # Not every backend knows which axis holds the rows.
            name: of_first(outputs[name], shape, count) if BATCH in shape else outputs[name]
            for name, shape in self.outputs.items()
        }
        check_outputs(outputs, self.outputs, count, self._origin)
        names = self._decoder.outputs
        chars = self._chars(outputs)
        texts = (
            decode_ctc(chars, self._meanings, self._matrix, self._decoder.blank_class)
            if isinstance(self._decoder, CtcDecoder)
            else decode_slots(chars if self._ours else folded(chars, self._matrix))
        )
        regions: list[tuple[tuple[str, float], ...]] = [()] * count
        if names.region is not None:
            posteriors = outputs[names.region].astype(np.float32, copy=False)
            regions = decode_regions(posteriors, self._decoder.regions)
        qualities: list[float | None] = [None] * count
        if names.quality is not None:
            qualities = [_probability(value) for value in outputs[names.quality][:, 0].tolist()]
        corners: list[NDArray[np.float32] | None] = [None] * count
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

    def _chars(self, outputs: Outputs) -> NDArray[np.float32]:
        """(N, slots or columns, classes) posteriors."""
        chars = outputs[self._decoder.outputs.chars]
        if isinstance(self._decoder, CtcDecoder):
            chars = chars.transpose({"NCT": (0, 2, 1), "NTC": (0, 1, 2), "TNC": (1, 0, 2)}[
                self._decoder.layout
            ])  # fmt: skip
        elif self._decoder.slots is not None:
            chars = chars.reshape(len(chars), self._decoder.slots, len(self._meanings))
        return probabilities(chars, self._decoder.activation)

    def doubt(self, outputs: Outputs) -> str | None:
        """What makes the outputs no reader's at all, with the remedy; None if they may be one."""
        chars = self._chars(outputs)
        problem = _not_probabilities(chars, _ACTIVATE)
        if problem is None and (abs(chars.sum(axis=2) - 1.0) > _TOLERANCE).any():
            return (
                "its slots do not sum to 1: set decoder.activation, or export it with a softmax "
                "over the classes at its end"
            )
        return problem


def _probability(value: float) -> float | None:
    return min(1.0, max(0.0, value)) if np.isfinite(value) else None
