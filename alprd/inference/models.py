"""The models that a configuration names: found, checked, loaded, proven and warmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from alprd.config.models import InferenceSettings
from alprd.inference.backend import choose_backend
from alprd.inference.detector import NetworkDetector, detector_outputs
from alprd.inference.manifest import (
    load_detector_manifest,
    load_onnx,
    load_reader_manifest,
)
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.reader import NetworkReader, reader_outputs
from alprd.inference.second_look import SecondLook
from alprd.inference.selftest import check_detector, check_reader
from alprd.ports import Detector, PlateReader

READER_BATCH = 64
"""Plates in one call of the reader; more than a batch of frames usually shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What the inference thread works with; used by one thread.

    Attributes:
        detector: finds plates and vehicles.
        reader: reads plates.
        input_size: (width, height) of the detector's input.
        hashes: model name -> "sha256:..." of its ONNX file.
        backend: what runs the networks, "onnxruntime".
        reason: why this backend, for people.
        prove: does the self-test again; raises EngineError. For the thread that uses the models.
    """

    detector: Detector
    reader: PlateReader
    input_size: tuple[int, int]
    hashes: Mapping[str, str]
    backend: str
    reason: str
    prove: Callable[[], None]


def load_models(settings: InferenceSettings) -> Models:
    """Load both models and prove them on their known plates.

    Raises:
        EngineError: a model is missing, damaged, contradicts its manifest or fails its self-test;
            the message names the file and the remedy.
    """
    backend, reason = choose_backend(settings)
    found, found_folder = load_detector_manifest(settings.detector, settings.models_dir)
    read, read_folder = load_reader_manifest(settings.reader, settings.models_dir)

    detector_network = OnnxNetwork(
        load_onnx(found, found_folder),
        path=found_folder / found.file,
        spec=found.input,
        outputs=detector_outputs(found),
        max_batch=settings.max_batch,
        threads=settings.threads,
    )
    reader_network = OnnxNetwork(
        load_onnx(read, read_folder),
        path=read_folder / read.file,
        spec=read.input,
        outputs=reader_outputs(read),
        max_batch=READER_BATCH,
        threads=settings.threads,
    )

    def prove() -> None:
        check_detector(found, detector_network, found_folder)
        check_reader(read, reader_network, read_folder)

    prove()
    detector = NetworkDetector(found, detector_network)
    # The first full batch allocates; it must not delay the first frames.
    blank = np.zeros((found.input.height, found.input.width, 3), np.uint8)
    detector.detect([blank] * settings.max_batch)
    return Models(
        detector=detector,
        reader=SecondLook(NetworkReader(read, reader_network), settings.second_look),
        input_size=(found.input.width, found.input.height),
        hashes={model.name: f"sha256:{model.sha256}" for model in (found, read)},
        backend=backend,
        reason=reason,
        prove=prove,
    )
