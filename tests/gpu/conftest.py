"""Tests that need an NVIDIA GPU with TensorRT; elsewhere they are skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alprd.inference.cuda import Cuda
from support.gpu import reason_without_gpu


@pytest.fixture(scope="session", autouse=True)
def _gpu() -> None:
    reason = reason_without_gpu()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cuda(_gpu: None) -> Iterator[Cuda]:
    """The GPU; engines and other tests have contexts of their own to it."""
    made = Cuda()
    yield made
    made.close()
