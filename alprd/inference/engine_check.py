"""Proof that an engine does what its model does: against ONNX Runtime in FP32, with figures.

Both look at the model's known plate and at variations of it, in a full batch. What counts is what
comes out at the end: the same texts, the same plates, corners at the same places. The raw outputs'
errors are given too, for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.core.types import PLATE_LABEL, Detection
from alprd.inference.attribute_manifest import AttributeManifest
from alprd.inference.classifier import NetworkClassifier, check_classifier, classifier_outputs
from alprd.inference.detector import NetworkDetector, detector_outputs
from alprd.inference.engines import AnyModel, Engine
from alprd.inference.identity import Precision
from alprd.inference.manifest import DetectorManifest, ReaderManifest, load_onnx
from alprd.inference.network import Network, Outputs, Shape
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.preprocess import InputBatch
from alprd.inference.reader import NetworkReader, reader_outputs
from alprd.inference.selftest import check_detector, check_reader, known_picture
from alprd.ports import Clock, EngineError, ImageU8

_SURE = 0.1
"""A plate this much above its threshold, or a character this much above one half, must come out
again; nearer ones may fall on either side of it."""
_CORNER_LIMITS_PX: Mapping[Precision, float] = {"fp32": 0.5, "fp16": 2.0, "int8": 6.0}
_WARM_UP = 3
_TIMED = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a check found.

    Attributes:
        figures: plain values: per output the largest and the mean error against FP32, how far
            corners moved (pixels of the picture), texts or plates that are the same, ms per batch.
        problem: why the engine must not be used; None when it may.
    """

    figures: Mapping[str, Any]
    problem: str | None


def network_outputs(manifest: AnyModel) -> Mapping[str, Shape]:
    """Name and shape of every output that the model's decoder needs."""
    if isinstance(manifest, AttributeManifest):
        return classifier_outputs(manifest)
    if isinstance(manifest, DetectorManifest):
        return detector_outputs(manifest)
    return reader_outputs(manifest)


def fp32_network(engine: Engine) -> OnnxNetwork:
    """The model itself in ONNX Runtime: what the engine is measured by. Raises EngineError."""
    return OnnxNetwork(
        load_onnx(engine.manifest, engine.folder),
        path=engine.folder / engine.manifest.file,
        spec=engine.manifest.input,
        outputs=network_outputs(engine.manifest),
        max_batch=engine.settings.max_batch,
        threads=0,
    )


def check_engine(engine: Engine, network: Network, reference: Network, clock: Clock) -> Check:
    """Compare a loaded engine with its model.

    Args:
        engine: which it is.
        network: the engine, loaded.
        reference: the model in FP32.
        clock: monotonic seconds, for the time per batch.

    Raises:
        EngineError: one of the two does not run at all.
    """
    tried, wanted = _Recorder(network), _Recorder(reference, engine.manifest.input.type)
    figures: dict[str, Any] = {}
    manifest = engine.served
    if isinstance(manifest, DetectorManifest):
        problem = _compare_plates(engine, manifest, tried, wanted, figures)
        proof: Callable[[], None] = lambda: check_detector(manifest, network, engine.folder)  # noqa: E731
    elif isinstance(manifest, AttributeManifest):
        problem = _compare_answers(manifest, engine.folder, tried, wanted, figures)
        proof = lambda: check_classifier(manifest, network, engine.folder)  # noqa: E731
    else:
        problem = _compare_texts(engine, manifest, tried, wanted, figures)
        proof = lambda: check_reader(manifest, network, engine.folder)  # noqa: E731
    figures["outputs"] = _errors(tried.calls, wanted.calls)
    if _spoilt(tried.calls, wanted.calls):
        problem = "its outputs hold NaN or infinity"
    if problem is None:
        try:
            proof()
        except EngineError as error:
            problem = str(error)
    figures["ms"] = {
        str(count): round(_time_ms(manifest, network, count, clock), 3)
        for count in sorted({1, network.max_batch})
    }
    return Check(figures=figures, problem=problem)


class _Recorder:
    """A network that gets its rows in its own type, and remembers all that it returned."""

    def __init__(self, network: Network, type_: str = "float32") -> None:
        self._network = network
        self._type = np.dtype(type_)
        self.max_batch = network.max_batch
        self.calls: list[Outputs] = []

    def run(self, rows: NDArray[np.float32], count: int) -> Outputs:
        outputs = self._network.run(rows.astype(self._type, copy=False), count)
        # Copies: a network may hand out its own buffers.
        self.calls.append({name: np.array(value) for name, value in outputs.items()})
        return outputs


def _compare_plates(
    engine: Engine,
    manifest: DetectorManifest,
    tried: Network,
    wanted: Network,
    figures: dict[str, Any],
) -> str | None:
    pictures = _full_batch(
        _variations(known_picture(engine.folder / manifest.selftest.image)), tried.max_batch
    )
    least = zip(manifest.decoder.names, manifest.decoder.thresholds, strict=True)
    threshold = max(value for name, value in least if name == PLATE_LABEL) + _SURE
    moved: list[float] = []
    sure = same = 0
    score_error = 0.0
    for theirs, ours in zip(
        NetworkDetector(manifest, wanted).detect(pictures),
        NetworkDetector(manifest, tried).detect(pictures),
        strict=True,
    ):
        for plate in (each for each in theirs if each.label == PLATE_LABEL):
            twin = _twin(plate, ours)
            if plate.score >= threshold:
                sure += 1
                same += twin is not None
            if twin is not None:
                moved.append(_corner_distance(plate, twin))
                score_error = max(score_error, abs(plate.score - twin.score))
    figures["plates"] = {"of": sure, "same": same}
    figures["score"] = {"max": round(score_error, 5)}
    if moved:
        figures["corner_px"] = {
            "max": round(max(moved), 4),
            "mean": round(sum(moved) / len(moved), 4),
        }
    limit_px = _CORNER_LIMITS_PX[engine.settings.precision]
    if same < sure:
        return f"it finds {same} of {sure} plates that the model finds"
    if moved and sum(moved) / len(moved) > limit_px:
        return f"its corners are {sum(moved) / len(moved):.1f} px off, {limit_px} px are allowed"
    return None


def _compare_texts(
    engine: Engine,
    manifest: ReaderManifest,
    tried: Network,
    wanted: Network,
    figures: dict[str, Any],
) -> str | None:
    size = (manifest.input.width, manifest.input.height)
    crop = known_picture(engine.folder / manifest.selftest.image)
    if (crop.shape[1], crop.shape[0]) != size:
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    crops = _full_batch(_variations(crop), tried.max_batch)
    sure = same = 0
    other = ""
    for theirs, ours in zip(
        NetworkReader(manifest, wanted).read_crops(crops),
        NetworkReader(manifest, tried).read_crops(crops),
        strict=True,
    ):
        if theirs.text and float(theirs.char_probs.max(axis=-1).min()) >= 0.5 + _SURE:
            sure += 1
            same += theirs.text == ours.text
            if theirs.text != ours.text:
                other = f"{ours.text!r} instead of {theirs.text!r}"
    figures["texts"] = {"of": sure, "same": same}
    # Of INT8 the known plate is asked, by the self-test: the variations are harder to read.
    if same < sure and engine.settings.precision != "int8":
        return f"it reads {other} ({same} of {sure} texts are the same)"
    return None


def _compare_answers(
    manifest: AttributeManifest,
    folder: Path,
    tried: Network,
    wanted: Network,
    figures: dict[str, Any],
) -> str | None:
    size = (manifest.input.width, manifest.input.height)
    crop: ImageU8 = np.full((size[1], size[0], 3), 127, np.uint8)
    if manifest.selftest is not None:
        crop = known_picture(folder / manifest.selftest.image)
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    crops = _full_batch(_variations(crop), tried.max_batch)
    sure = same = 0
    for theirs, ours in zip(
        NetworkClassifier(manifest, wanted).classify(crops),
        NetworkClassifier(manifest, tried).classify(crops),
        strict=True,
    ):
        for name, answer in theirs.items():
            if answer.max() >= 0.5 + _SURE:
                sure += 1
                same += bool(answer.argmax() == ours[name].argmax())
    figures["answers"] = {"of": sure, "same": same}
    return f"only {same} of {sure} answers are the same" if same < sure else None


def _twin(plate: Detection, among: Sequence[Detection]) -> Detection | None:
    """The plate whose centre is nearest, within half of the plate's own width."""
    x, y = _centre(plate)
    others = [each for each in among if each.label == PLATE_LABEL]
    if not others:
        return None

    def distance(each: Detection) -> float:
        other_x, other_y = _centre(each)
        return float(np.hypot(other_x - x, other_y - y))

    nearest = min(others, key=distance)
    return nearest if distance(nearest) <= (plate.box[2] - plate.box[0]) / 2 else None


def _centre(plate: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = plate.box
    return (x1 + x2) / 2, (y1 + y2) / 2


def _corner_distance(one: Detection, other: Detection) -> float:
    """Mean distance of corresponding corners, pixels."""
    if one.quad is None or other.quad is None:
        return float(np.abs(np.subtract(one.box, other.box)).mean())
    return float(np.linalg.norm(one.quad - other.quad, axis=1).mean())


def _errors(tried: Sequence[Outputs], wanted: Sequence[Outputs]) -> dict[str, dict[str, float]]:
    """Per output the largest and the mean absolute difference.

    The two may have split the pictures differently, so all rows of an output are put together.
    """
    found: dict[str, dict[str, float]] = {}
    for name in wanted[0]:
        ours, theirs = _rows(tried, name), _rows(wanted, name)
        if ours is not None and theirs is not None and ours.shape == theirs.shape:
            known = np.isfinite(ours) & np.isfinite(theirs)
            difference = np.abs(ours[known] - theirs[known])
            found[name] = {
                "max": round(float(difference.max(initial=0.0)), 6),
                "mean": round(float(difference.mean()) if difference.size else 0.0, 6),
            }
    return found


def _spoilt(tried: Sequence[Outputs], wanted: Sequence[Outputs]) -> bool:
    """NaN or infinity where the model itself gives numbers; what it gives is the decoder's."""
    for name in wanted[0]:
        ours, theirs = _rows(tried, name), _rows(wanted, name)
        if ours is not None and theirs is not None and ours.shape == theirs.shape:
            if (np.isfinite(theirs) & ~np.isfinite(ours)).any():
                return True
        elif all(np.isfinite(call[name]).all() for call in wanted) and not all(
            np.isfinite(call[name]).all() for call in tried
        ):
            return True
    return False


def _rows(calls: Sequence[Outputs], name: str) -> NDArray[np.float64] | None:
    """All rows of an output; None where calls differ in more than their number of rows."""
    parts = [call[name] for call in calls]
    if len({part.shape[1:] for part in parts}) > 1:
        return None
    return np.concatenate(parts).astype(np.float64)


def _time_ms(manifest: AnyModel, network: Network, count: int, clock: Clock) -> float:
    """Median time of one call from host memory to host memory, milliseconds."""
    rows = InputBatch(manifest.input, network.max_batch).rows
    rows[...] = 0.5
    taken = []
    for turn in range(_WARM_UP + _TIMED):
        begun_s = clock()
        network.run(rows, count)
        if turn >= _WARM_UP:
            taken.append(clock() - begun_s)
    return median(taken) * 1e3


def _variations(image: ImageU8) -> list[ImageU8]:
    """The picture and a few that show the same otherwise: darker, paler, softer, elsewhere."""
    height, width = image.shape[:2]
    moved = cv2.warpAffine(
        image,
        np.array([[1.0, 0.0, 0.02 * width], [0.0, 1.0, -0.02 * height]]),
        (width, height),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return [
        image,
        np.asarray(cv2.convertScaleAbs(image, alpha=0.6, beta=0), np.uint8),
        np.asarray(cv2.convertScaleAbs(image, alpha=0.8, beta=50), np.uint8),
        np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), np.uint8),
        np.asarray(moved, np.uint8),
    ]


def _full_batch(images: Sequence[ImageU8], count: int) -> list[ImageU8]:
    """At least as many pictures as one call takes, so that every row is looked at."""
    return [images[index % len(images)] for index in range(max(count, len(images)))]
