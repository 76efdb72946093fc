"""Which GPU is here, or why none can be used; creates no CUDA context."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

from alprd.ports import EngineError, EngineUnavailable

OLDEST_DRIVER = 11_040
"""CUDA that a driver must run at least: what JetPack 5 brings; older ones refuse our kernels."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What a plan depends on, and what people want to know.

    Attributes:
        name: as the driver gives it.
        compute_capability: "8.7".
        multiprocessors: how many; Jetsons of one generation share name and capability.
        memory_mib: all of it, MiB; on a Jetson the memory that CPU and GPU share.
        driver: the newest CUDA that the driver runs, "12.2".
    """

    name: str
    compute_capability: str
    multiprocessors: int
    memory_mib: int
    driver: str


def find_gpu() -> Gpu:
    """The first GPU.

    Raises:
        EngineError: PyCUDA is not installed, or the driver is too old.
        EngineUnavailable: there is no driver or no GPU, or the driver does not answer.
    """
    cuda = import_pycuda()
    try:
        cuda.init()
        if cuda.Device.count() == 0:
            raise EngineUnavailable("the NVIDIA driver shows no GPU; look at: nvidia-smi")
        device = cuda.Device(0)
        major, minor = device.compute_capability()
        version = int(cuda.get_driver_version())
        if version < OLDEST_DRIVER:
            raise EngineError(
                f"the NVIDIA driver runs CUDA {cuda_text(version)}, alprd needs one for CUDA "
                f"{cuda_text(OLDEST_DRIVER)} or later; update the driver (JetPack 5.1 or later)"
            )
        return Gpu(
            name=device.name(),
            compute_capability=f"{major}.{minor}",
            multiprocessors=int(device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)),
            memory_mib=device.total_memory() // _MIB,
            driver=cuda_text(version),
        )
    except cuda.Error as error:
        raise EngineUnavailable(
            f"the GPU cannot be used ({error}); look at nvidia-smi, and whether the driver is as "
            "new as the CUDA libraries ask for"
        ) from error


def import_pycuda() -> Any:  # noqa: ANN401 -- a module without types
    """`pycuda.driver`. Raises EngineError without PyCUDA, EngineUnavailable without a driver."""
    # Kernels are loaded when they are run first: TensorRT's own would take hundreds of MiB on the
    # GPU. The driver looks at it once, when it is initialised.
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    try:
        return importlib.import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise EngineError(
            "the Python module pycuda is not installed; install it (pip install pycuda), or set "
            'inference.backend = "onnxruntime"'
        ) from error
    except ImportError as error:
        raise EngineUnavailable(
            f"there is no NVIDIA driver that answers ({error}); install or load it, or set "
            'inference.backend = "onnxruntime"'
        ) from error


def cuda_text(version: int) -> str:
    """12020 -> "12.2"."""
    return f"{version // 1000}.{version % 1000 // 10}"
