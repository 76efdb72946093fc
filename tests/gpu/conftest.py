"""Tests that need an NVIDIA GPU with TensorRT; elsewhere they are skipped with the reason.

ALPRD_TEST_GPU=required         a missing GPU is a failure
ALPRD_TEST_ENGINES_DIR=FOLDER   where the engines are kept: building them takes minutes
ALPRD_TEST_INT8_MODELS=FOLDER   what `python -m engines.training.quantize --out` made
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alprd.inference.cuda import Cuda
from alprd.inference.engines import Device, find_device
from alprd.ports import EngineError


@pytest.fixture(scope="session", autouse=True)
def device() -> Device:
    """TensorRT and the GPU; nothing here runs without."""
    try:
        return find_device()
    except EngineError as error:
        if os.environ.get("ALPRD_TEST_GPU") == "required":
            raise
        pytest.skip(f"no GPU with TensorRT: {error}")


@pytest.fixture(scope="session")
def cuda(device: Device) -> Iterator[Cuda]:
    """The GPU; engines and other tests have contexts of their own to it."""
    made = Cuda()
    yield made
    made.close()


@pytest.fixture(scope="session")
def engines_dir(device: Device) -> Path:
    """A folder with the FP16 engines of the two default models, as `alprd engines build` does."""
    from alprd.cli import main  # noqa: PLC0415 -- after it is known that there is a GPU
    from support.gpu import settings  # noqa: PLC0415

    folder = settings().engines_dir
    assert main(["engines", "build", "--dir", str(folder), "plate-detector", "plate-reader"]) == 0
    return folder
