"""Which engines a configuration needs, and the device that they are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alprd.config.models import InferenceSettings
from alprd.inference.attribute_manifest import AttributeManifest, load_attribute_manifest
from alprd.inference.gpu import Gpu, find_gpu
from alprd.inference.identity import BuildSettings, EngineIdentity
from alprd.inference.manifest import (
    DetectorManifest,
    ReaderManifest,
    available_models,
    builtin_models_dir,
    is_attribute_model,
    load_manifest,
    load_onnx,
)
from alprd.inference.network import describe_shape
from alprd.inference.plans import PlanStore
from alprd.inference.trt_api import TensorRT, Typing, import_tensorrt
from alprd.inference.trt_build import RECIPE
from alprd.ports import EngineError

READER_BATCH = 64
"""Plates in one call of the reader; more than a batch of frames usually shows."""

CLASSIFIER_BATCH = 16
"""Vehicles in one call of a classifier; a batch of frames hardly ever has more to look at."""

AnyModel = DetectorManifest | ReaderManifest | AttributeManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What engines run on here."""

    tensorrt: TensorRT
    gpu: Gpu


def find_device() -> Device:
    """TensorRT and the GPU. Raises EngineError saying what is missing, EngineUnavailable."""
    return Device(tensorrt=import_tensorrt(), gpu=find_gpu())


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A model, and how its engine is to be built.

    Attributes:
        manifest: of the model.
        folder: where it lies.
        settings: of the build.
    """

    manifest: AnyModel
    folder: Path
    settings: BuildSettings

    @property
    def name(self) -> str:
        """The model's folder, which is how people name it."""
        return self.folder.name

    @property
    def served(self) -> AnyModel:
        """The manifest with the float32 input that every engine has, whatever the file takes."""
        spec = self.manifest.input.model_copy(update={"type": "float32"})
        return self.manifest.model_copy(update={"input": spec})

    def typing(self, tensorrt: TensorRT) -> Typing:
        """How TensorRT is asked for the precision. Raises EngineError naming the manifest."""
        try:
            return tensorrt.typing(self.settings.precision, self.manifest.variants)
        except EngineError as error:
            raise EngineError(f"{self.folder}: {error}") from None

    def identity(self, device: Device) -> EngineIdentity:
        """What its plan on this device depends on. Raises EngineError."""
        source = self.typing(device.tensorrt).source
        spec = self.manifest.input
        return EngineIdentity(
            onnx_sha256=(
                self.manifest.sha256 if source == "model" else self.manifest.variants[source].sha256
            ),
            tensorrt=device.tensorrt.version,
            gpu=device.gpu.name,
            compute_capability=device.gpu.compute_capability,
            multiprocessors=device.gpu.multiprocessors,
            input=f"{spec.name} {spec.type} {describe_shape(spec.shape)}",
            recipe=RECIPE,
            settings=self.settings,
        )

    def onnx(self, tensorrt: TensorRT) -> tuple[bytes, Path]:
        """The file that the plan is built from, and its path. Raises EngineError."""
        source = self.typing(tensorrt).source
        if source == "model":
            return load_onnx(self.manifest, self.folder), self.folder / self.manifest.file
        path = self.folder / self.manifest.variants[source].file
        return load_onnx(self.manifest, self.folder, source), path


def engine(name: str, settings: InferenceSettings) -> Engine:
    """The engine of a model by the configuration. Raises EngineError."""
    load = (
        load_attribute_manifest if is_attribute_model(name, settings.models_dir) else load_manifest
    )
    manifest, folder = load(name, settings.models_dir)
    batches = {"detect": settings.max_batch, "read": READER_BATCH, "attribute": CLASSIFIER_BATCH}
    return Engine(
        manifest=manifest,
        folder=folder,
        settings=BuildSettings(
            precision=settings.precision,
            max_batch=batches[manifest.task],
            workspace_mib=settings.workspace_mib,
        ),
    )


def configured_engines(settings: InferenceSettings) -> list[Engine]:
    """The detector's and the reader's. Raises EngineError."""
    return [engine(name, settings) for name in (settings.detector, settings.reader)]


def model_names(settings: InferenceSettings) -> list[str]:
    """Models that there are."""
    return available_models(settings.models_dir or builtin_models_dir())


def load_plan(wanted: Engine, device: Device, store: PlanStore) -> bytes:
    """The plan that `alprd engines build` made for this engine on this device.

    Raises:
        EngineError: none fits; the message says why, and the remedy.
    """
    return store.load(wanted.name, wanted.identity(device))
