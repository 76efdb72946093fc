"""Both models as TensorRT engines, frames and crops prepared on the GPU."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from alprd.config.models import InferenceSettings
from alprd.inference.attribute_manifest import AttributeManifest
from alprd.inference.backend_models import BackendModels
from alprd.inference.classifier import classifier_outputs
from alprd.inference.cuda import Cuda
from alprd.inference.decoding import detector_outputs, reader_outputs
from alprd.inference.engines import Device, Engine, engine, find_device, load_plan
from alprd.inference.gpu_detector import GpuDetector
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.gpu_reader import GpuReader
from alprd.inference.manifest import AnyManifest, DetectorManifest, InputSpec, ReaderManifest
from alprd.inference.network import Shape
from alprd.inference.plans import PlanStore
from alprd.inference.trt_engine import TensorRTNetwork

BATCHES_HELD = 3
"""Batches whose frames stay on the GPU: one is read, one is looked at, one is copied there."""


def load_trt_models(
    settings: InferenceSettings,
    found: tuple[DetectorManifest, Path],
    read: tuple[ReaderManifest, Path],
) -> BackendModels:
    """Both on the first GPU, from the plans that were built for it.

    Raises:
        EngineError: TensorRT, a GPU or a plan is missing, or does not fit; with the remedy.
    """
    device = find_device()
    store = PlanStore(settings.engines_dir)
    detector, reader = _plain(found[0]), _plain(read[0])
    with ExitStack() as stack:
        cuda = Cuda()
        stack.callback(cuda.close)

        def network(
            name: str, spec: InputSpec, outputs: dict[str, Shape]
        ) -> tuple[TensorRTNetwork, Engine]:
            wanted = engine(name, settings)
            made = TensorRTNetwork(
                load_plan(wanted, device, store),
                path=store.path(wanted.name, wanted.settings.precision),
                spec=spec,
                outputs=outputs,
                max_batch=wanted.settings.max_batch,
                tensorrt=device.tensorrt,
                cuda=cuda,
                graphs=settings.cuda_graphs,
            )
            stack.callback(made.close)
            return made, wanted

        detecting, detect_engine = network(
            settings.detector, detector.input, dict(detector_outputs(detector))
        )
        reading, read_engine = network(settings.reader, reader.input, dict(reader_outputs(reader)))
        # A network with a batch of its own may take fewer frames than come at once, or more.
        frames = GpuFrames(cuda, BATCHES_HELD * max(settings.max_batch, detecting.max_batch))
        stack.callback(frames.close)
        gpu_detector = GpuDetector(detector, detecting, frames, cuda)
        stack.callback(gpu_detector.close)
        gpu_reader = GpuReader(reader, reading, frames, cuda)
        stack.callback(gpu_reader.close)
        held = stack.pop_all()

    def open_engine(name: str, manifest: AttributeManifest) -> TensorRTNetwork:
        wanted = engine(name, settings)
        made = TensorRTNetwork(
            load_plan(wanted, device, store),
            path=store.path(wanted.name, wanted.settings.precision),
            spec=manifest.input,
            outputs=dict(classifier_outputs(manifest)),
            max_batch=wanted.settings.max_batch,
            tensorrt=device.tensorrt,
            cuda=cuda,
            graphs=settings.cuda_graphs,
        )
        held.callback(made.close)
        return made

    return BackendModels(
        detector=gpu_detector,
        reader=gpu_reader,
        networks={"detect": detecting, "read": reading},
        details=_details(
            device,
            detect_engine,
            read_engine,
            cuda_graphs=detecting.makes_graphs and reading.makes_graphs,
        ),
        close=held.close,
        gpu=cuda,
        open_engine=open_engine,
    )


def _plain(manifest: AnyManifest) -> AnyManifest:
    """With the float32 input that every plan has, whatever the file takes."""
    return manifest.model_copy(
        update={"input": manifest.input.model_copy(update={"type": "float32"})}
    )


def _details(device: Device, *engines: Engine, cuda_graphs: bool) -> dict[str, object]:
    """What `info` tells."""
    return {
        "gpu": device.gpu.name,
        "compute_capability": device.gpu.compute_capability,
        "driver_cuda": device.gpu.driver,
        "tensorrt": device.tensorrt.version,
        "precision": engines[0].settings.precision,
        "cuda_graphs": cuda_graphs,
        "plans": {each.name: each.identity(device).key for each in engines},
    }
