"""The models that a configuration names: found, checked, loaded, proven and warmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import structlog

from alprd.config.models import InferenceSettings
from alprd.inference.attribute_models import load_attributes
from alprd.inference.attributes import AttributeStage
from alprd.inference.backend import Backend, choose_backend
from alprd.inference.backend_models import BackendModels
from alprd.inference.cuda import Device
from alprd.inference.engines import READER_BATCH
from alprd.inference.manifest import (
    DetectorManifest,
    ReaderManifest,
    load_detector_manifest,
    load_reader_manifest,
)
from alprd.inference.network import Network
from alprd.inference.onnx_models import Watch, load_onnx_models
from alprd.inference.second_look import looking_twice
from alprd.inference.selftest import check_detector, check_reader
from alprd.inference.whole_selftest import check_whole_detector, check_whole_reader
from alprd.ports import Detector, EngineError, PlateReader

__all__ = ["READER_BATCH", "Models", "Watch", "load_models"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What the inference thread works with; used by one thread at a time.

    A context manager: leaving closes it.

    Attributes:
        detector: finds plates and vehicles.
        reader: reads plates.
        input_size: (width, height) of the detector's input.
        hashes: model name -> "sha256:..." of its ONNX file.
        backend: what runs the networks, "onnxruntime" or "tensorrt".
        reason: why this backend, for people.
        prove: does the self-test again; raises EngineError. For the thread that uses the models.
        details: what the backend runs on: GPU, versions, the plans' identities.
        networks: the bare networks by task ("detect", "read").
        close: gives back what the backend holds (the GPU's context and memory); when nobody uses
            the models any more.
        gpu: that the networks run on; None on the CPU.
        attributes: says what vehicles are; None where no classifier is configured.
    """

    detector: Detector
    reader: PlateReader
    input_size: tuple[int, int]
    hashes: Mapping[str, str]
    backend: str
    reason: str
    prove: Callable[[], None]
    details: Mapping[str, Any] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None
    gpu: Device | None = None
    attributes: AttributeStage | None = None

    def __enter__(self) -> Models:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def load_models(
    settings: InferenceSettings, *, watch: Watch = lambda _task, network: network
) -> Models:
    """Load both models and prove them on their known plates.

    With inference.backend = "auto" ONNX Runtime runs them where TensorRT was chosen and fails.

    Args:
        settings: which models, and what runs them.
        watch: gives what is used in place of a network that takes its rows from this process.

    Raises:
        EngineError: a model is missing, damaged, contradicts its manifest or fails its self-test;
            the message names the file and the remedy.
    """
    backend, reason = choose_backend(settings)
    both = (
        load_detector_manifest(settings.detector, settings.models_dir),
        load_reader_manifest(settings.reader, settings.models_dir),
    )
    if backend == "tensorrt":
        try:
            return _proven(settings, *both, _tensorrt(settings, *both), (backend, reason))
        except EngineError as error:
            if settings.backend != "auto":
                raise
            # A driver, a GPU's memory, a plan that TensorRT refuses: plates are read nevertheless.
            log.warning("inference.tensorrt_failed", error=str(error))
            backend, reason = "onnxruntime", f"TensorRT failed: {error}"
    loaded = load_onnx_models(settings, *both, watch)
    return _proven(settings, *both, loaded, (backend, reason))


def _proven(
    settings: InferenceSettings,
    detector: tuple[DetectorManifest, Path],
    reader: tuple[ReaderManifest, Path],
    loaded: BackendModels,
    chosen: tuple[Backend, str],
) -> Models:
    """The loaded models, once they pass their self-tests; closed when they do not.

    Args:
        settings: what they are used for.
        detector: its manifest and folder.
        reader: the same of the reader.
        loaded: what is proven.
        chosen: the backend, and why.
    """
    found, found_folder = detector
    read, read_folder = reader

    def prove() -> None:
        check_detector(found, loaded.networks["detect"], found_folder)
        check_reader(read, loaded.networks["read"], read_folder)
        # Our kernels prepare the rows there; on the CPU the self-tests above prepared them. An
        # engine becomes a graph the second time that it runs, and is launched as one from then on.
        for _ in range(0 if loaded.gpu is None else 2 if settings.cuda_graphs else 1):
            check_whole_detector(found, loaded.detector, found_folder)
            check_whole_reader(read, loaded.reader, read_folder)

    with ExitStack() as until_proven:
        until_proven.callback(loaded.close)
        prove()
        # The first full batch allocates; it must not delay the first frames.
        blank = np.zeros((found.input.height, found.input.width, 3), np.uint8)
        loaded.detector.detect([blank] * settings.max_batch)
        attributes = load_attributes(settings, loaded.open_engine)
        until_proven.pop_all()
    hashes = {model.name: f"sha256:{model.sha256}" for model in (found, read)}
    backend, reason = chosen
    return Models(
        detector=loaded.detector,
        reader=looking_twice(loaded.reader, settings.second_look),
        input_size=(found.input.width, found.input.height),
        hashes={**hashes, **({} if attributes is None else attributes.hashes)},
        backend=backend,
        reason=reason,
        prove=prove,
        details=loaded.details,
        networks=loaded.networks,
        close=loaded.close,
        gpu=loaded.gpu,
        attributes=attributes,
    )


def _tensorrt(
    settings: InferenceSettings,
    found: tuple[DetectorManifest, Path],
    read: tuple[ReaderManifest, Path],
) -> BackendModels:
    # Only where it is chosen: it imports PyCUDA.
    from alprd.inference.trt_models import load_trt_models  # noqa: PLC0415

    return load_trt_models(settings, found, read)
