"""The models as alprd runs them: its own preparation, decoding, second look and vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alprd.config import InferenceSettings
from alprd.core.decode import DetectorRules, decode_detections
from alprd.core.observe import usable_read
from alprd.core.types import PLATE_LABEL, Detection, PlateRead
from alprd.core.voting import Ballot, read_weight, vote
from alprd.inference.detector import detector_outputs
from alprd.inference.manifest import load_detector_manifest, load_onnx, load_reader_manifest
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.preprocess import InputBatch
from alprd.inference.reader import NetworkReader, reader_outputs
from alprd.inference.second_look import SecondLook
from engines.training.accuracy_data import Box, Image

WEAKEST = 0.02
"""Vehicles down to this score are ranked for the average precision."""
WEAK_DETECTIONS = 300
READER_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a single picture makes alprd say of one plate; empty when it would say nothing.

    `quality` is the reader's own estimate, `guess` its most probable region code ("unknown"
    included), before any vote.
    """

    text: str = ""
    confidence: float = 0.0
    quality: float = 0.0
    region: str = ""
    region_confidence: float = 0.0
    guess: str = ""


class Sight:
    """A detector: what the daemon gets of a picture, and the weak vehicles behind it."""

    def __init__(self, models: Path, name: str, threads: int) -> None:
        manifest, folder = load_detector_manifest(name, models)
        decoder = manifest.decoder
        self.name, self.sha256 = name, manifest.sha256
        self.threshold = decoder.thresholds[decoder.labels.index(PLATE_LABEL)]
        self._outputs = decoder.outputs
        self._network = OnnxNetwork(
            load_onnx(manifest, folder),
            path=folder / manifest.file,
            spec=manifest.input,
            outputs=detector_outputs(manifest),
            max_batch=1,
            threads=threads,
        )
        self._input = InputBatch(manifest.input, 1)
        self._rules = DetectorRules(
            labels=decoder.labels,
            thresholds=decoder.thresholds,
            nms_iou=decoder.nms_iou,
            max_detections=decoder.max_detections,
        )
        self._weak_rules = DetectorRules(
            labels=decoder.labels,
            thresholds=tuple(WEAKEST for _ in decoder.labels),
            nms_iou=decoder.nms_iou,
            max_detections=WEAK_DETECTIONS,
        )

    def look(self, image: Image) -> tuple[list[Detection], list[Detection]]:
        """Plates as the daemon gets them, and every vehicle down to `WEAKEST`; best first."""
        placement = self._input.fill_fitted(0, image)
        outputs = self._network.run(self._input.rows, 1)
        corners = None if self._outputs.corners is None else outputs[self._outputs.corners]
        boxes, scores = outputs[self._outputs.boxes], outputs[self._outputs.scores]
        found, weak = (
            decode_detections(boxes, scores, corners, [placement], rules)[0]
            for rules in (self._rules, self._weak_rules)
        )
        return (
            [d for d in found if d.label == PLATE_LABEL],
            [d for d in weak if d.label != PLATE_LABEL],
        )


class Eyes:
    """A reader: with the daemon's second look (`read`), and without it (`first`)."""

    def __init__(self, models: Path, name: str, threads: int) -> None:
        manifest, folder = load_reader_manifest(name, models)
        network = OnnxNetwork(
            load_onnx(manifest, folder),
            path=folder / manifest.file,
            spec=manifest.input,
            outputs=reader_outputs(manifest),
            max_batch=READER_BATCH,
            threads=threads,
        )
        self.name, self.sha256 = name, manifest.sha256
        self.regions = frozenset(manifest.decoder.regions)
        self.min_quality = manifest.decoder.min_quality
        self._first = NetworkReader(manifest, network)
        self._second = SecondLook(self._first, InferenceSettings().second_look)

    def read(self, image: Image, plates: Sequence[Detection]) -> list[PlateRead]:
        """Reads of a picture's plates as the daemon makes them."""
        return self._second.read([(image, plate, 0.0) for plate in plates]) if plates else []

    def first(self, image: Image, plates: Sequence[Detection]) -> list[PlateRead]:
        """The same, each plate cut out once only."""
        return self._first.read([(image, plate, 0.0) for plate in plates]) if plates else []


def boxed(box: Box) -> Detection:
    """A plate of which only the box is known."""
    return Detection(label=PLATE_LABEL, score=1.0, box=box)


def widened(box: Box, share: float = 0.10) -> Box:
    """The box, larger by `share` of its size in all, its centre kept."""
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * share / 2, (y2 - y1) * share / 2
    return (x1 - dx, y1 - dy, x2 + dx, y2 + dy)


def publish(read: PlateRead) -> Published:
    """What the vote makes of this one read; nothing where the daemon refuses it."""
    usable = usable_read(read)
    if usable is None:
        return Published()
    width_px = float(np.linalg.norm(read.quad[1] - read.quad[0]))
    voted = vote([Ballot(read=usable, weight=read_weight(usable, max(width_px, 1.0)))])
    if voted is None:
        return Published()
    return Published(
        text=voted.published,
        confidence=voted.confidence,
        quality=0.0 if usable.quality is None else usable.quality,
        region="" if voted.region is None else voted.region.code,
        region_confidence=0.0 if voted.region is None else voted.region.confidence,
        guess=usable.regions[0][0] if usable.regions else "",
    )
