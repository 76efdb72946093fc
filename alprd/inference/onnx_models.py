"""Both models on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alprd.config.models import InferenceSettings
from alprd.inference.backend_models import BackendModels
from alprd.inference.detector import NetworkDetector, detector_outputs
from alprd.inference.engines import READER_BATCH
from alprd.inference.manifest import DetectorManifest, ReaderManifest, load_onnx
from alprd.inference.network import Network
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.reader import NetworkReader, reader_outputs

Watch = Callable[[str, Network], Network]
"""Is given each network by its task and gives what is used in its place: the bench looks on so."""


def load_onnx_models(
    settings: InferenceSettings,
    found: tuple[DetectorManifest, Path],
    read: tuple[ReaderManifest, Path],
    watch: Watch,
) -> BackendModels:
    """Both in sessions of ONNX Runtime. Raises EngineError."""
    detector, detector_folder = found
    reader, reader_folder = read
    networks = {
        "detect": OnnxNetwork(
            load_onnx(detector, detector_folder),
            path=detector_folder / detector.file,
            spec=detector.input,
            outputs=detector_outputs(detector),
            max_batch=settings.max_batch,
            threads=settings.threads,
        ),
        "read": OnnxNetwork(
            load_onnx(reader, reader_folder),
            path=reader_folder / reader.file,
            spec=reader.input,
            outputs=reader_outputs(reader),
            max_batch=READER_BATCH,
            threads=settings.threads,
        ),
    }
    return BackendModels(
        detector=NetworkDetector(detector, watch("detect", networks["detect"])),
        reader=NetworkReader(reader, watch("read", networks["read"])),
        networks=networks,
        details={},
        close=lambda: None,
    )
