"""Which backend runs the models, and why; loads neither a model nor a plan."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from alprd.config.models import InferenceSettings
from alprd.inference.engines import Device, configured_engines, find_device
from alprd.inference.plans import PlanStore
from alprd.ports import EngineError

Backend = Literal["onnxruntime", "tensorrt"]


def choose_backend(settings: InferenceSettings) -> tuple[Backend, str]:
    """The backend and the reason for it, for people.

    Raises:
        EngineError: TensorRT is asked for and cannot run here as this machine is.
        EngineUnavailable: it cannot run now; a driver, a GPU or a plan may come.
    """
    if settings.backend == "onnxruntime":
        return "onnxruntime", "inference.backend asks for it"
    if settings.backend == "tensorrt":
        device = ready_device(settings)
        return "tensorrt", f"inference.backend asks for it; {_words(device)}"
    if find_spec("tensorrt") is None:
        # The usual machine: no GPU is looked for, and nothing is wrong.
        return "onnxruntime", "it runs on every machine, and TensorRT is not installed"
    try:
        # Before anything of CUDA is loaded: it would stay in a daemon that makes no use of it.
        for name in (settings.detector, settings.reader):
            PlanStore(settings.engines_dir).need(name, settings.precision)
        device = ready_device(settings)
    except EngineError as error:
        return "onnxruntime", f"TensorRT cannot run: {error}"
    return "tensorrt", _words(device)


def ready_device(settings: InferenceSettings) -> Device:
    """The device on which both engines of the configuration can run, their plans being there.

    The plans themselves are read, and compared with their sums, by who loads them.

    Raises:
        EngineError: what is missing and the remedy.
        EngineUnavailable: as above, and it may pass.
    """
    device = find_device()
    store = PlanStore(settings.engines_dir)
    for each in configured_engines(settings):
        store.look(each.name, each.identity(device))
    return device


def _words(device: Device) -> str:
    return (
        f"TensorRT {device.tensorrt.version} on {device.gpu.name} "
        f"(compute capability {device.gpu.compute_capability}), plans that fit are there"
    )
