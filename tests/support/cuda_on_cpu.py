"""A GPU for tests on a machine without one: kernels.cu compiled for the CPU, everything at once."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from math import prod
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alprd.inference import cuda
from alprd.inference.network import Network
from alprd.ports import EngineUnavailable


def compiler() -> str | None:
    """A C++ compiler, if there is one."""
    return shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")


def kernels_folder() -> Path:
    return Path(cuda.__file__).parent


def compiled_kernels() -> ctypes.CDLL:
    """The library, compiled anew only when a source changed."""
    glue = Path(__file__).parent / "kernels_on_cpu.cpp"
    sources = [kernels_folder() / "kernels.cu", glue]
    name = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    target = Path(gettempdir()) / f"alprd-kernels-{name}{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    if not target.exists():
        unfinished = target.with_suffix(f".{id(target)}.unfinished")
        subprocess.run(
            [
                compiler() or "c++",
                *("-O2", "-std=c++14", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"),
                *("-shared", "-fPIC", "-I", str(kernels_folder()), "-o", str(unfinished)),
                str(glue),
            ],
            check=True,
        )
        unfinished.replace(target)
    return ctypes.CDLL(str(target))


class CpuEvent:
    def synchronize(self) -> None:
        pass


class CpuStream:
    handle = 0

    def record(self, event: CpuEvent) -> None:
        pass

    def wait(self, event: CpuEvent) -> None:
        pass

    def synchronize(self) -> None:
        pass


class CpuDevice:
    """Implements inference.cuda.Device; counts what is allocated and uploaded.

    `left` is the memory that can still be allocated, bytes; None for no end.
    """

    def __init__(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.left: int | None = None
        self.allocations = 0
        self.uploaded: list[int] = []
        self.depth = 0
        self.blocks: dict[int, NDArray[np.uint8]] = {}
        self._library = compiled_kernels()

    @contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def stream(self) -> CpuStream:
        assert self.depth
        return CpuStream()

    def event(self) -> CpuEvent:
        assert self.depth
        return CpuEvent()

    def _block(self, size: int, what: str) -> NDArray[np.uint8]:
        assert self.depth
        if self.left is not None:
            if size > self.left:
                raise EngineUnavailable(f"out of memory: {what} needs {size} bytes")
            self.left -= size
        self.allocations += 1
        block = np.full(size, 0xA5, np.uint8)
        self.blocks[block.ctypes.data] = block
        return block

    def allocate(self, size: int, what: str) -> int:
        return int(self._block(size, what).ctypes.data)

    def free(self, address: int) -> None:
        assert self.depth
        block = self.blocks.pop(address)
        if self.left is not None:
            self.left += len(block)

    def pinned(self, size: int, what: str) -> NDArray[np.uint8]:
        return self._block(size, what)

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        self.free(memory.ctypes.data)

    def mapped(self, memory: NDArray[np.uint8]) -> int:
        return self.blocks[memory.ctypes.data].ctypes.data

    def upload(self, to: int, memory: NDArray[Any], stream: CpuStream) -> None:
        assert self.depth
        assert memory.flags.c_contiguous
        self.uploaded.append(memory.nbytes)
        ctypes.memmove(to, memory.ctypes.data, memory.nbytes)

    def download(self, memory: NDArray[Any], from_: int, stream: CpuStream) -> None:
        assert self.depth
        ctypes.memmove(memory.ctypes.data, from_, memory.nbytes)

    def zero(self, address: int, size: int, stream: CpuStream) -> None:
        ctypes.memset(address, 0, size)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        stream: CpuStream,
        arguments: Sequence[int],
    ) -> None:
        assert self.depth
        kinds = {"P": ctypes.c_void_p, "i": ctypes.c_int}
        signature = cuda.KERNELS[kernel]
        assert len(signature) == len(arguments)
        getattr(self._library, f"cpu_{kernel}")(
            (ctypes.c_int * 3)(*grid),
            (ctypes.c_int * 3)(*block),
            *(kinds[kind](each) for kind, each in zip(signature, arguments, strict=True)),
        )

    def free_bytes(self) -> int:
        return 1 << 40 if self.left is None else self.left

    def synchronize(self) -> None:
        assert self.depth


class CpuNetwork:
    """Implements DeviceNetwork over any network whose outputs have the batch first."""

    def __init__(self, network: Network, spec: Any, device: CpuDevice) -> None:
        self._network = network
        self._device = device
        self.max_batch = network.max_batch
        self._rows: NDArray[Any] = np.zeros((self.max_batch, *spec.shape), spec.type)
        self.input = int(self._rows.ctypes.data)
        self.counts: list[int] = []
        self._found: Mapping[str, NDArray[Any]] = {}
        whole = network.run(self._rows, self.max_batch)
        self._outputs = {name: np.ascontiguousarray(values) for name, values in whole.items()}

    def run(self, rows: NDArray[Any], count: int) -> Mapping[str, NDArray[Any]]:
        return self._network.run(rows, count)

    def enqueue(self, count: int, stream: CpuStream) -> None:
        self.counts.append(count)
        for name, values in self._network.run(self._rows, count).items():
            self._outputs[name][:count] = values

    def output(self, name: str) -> int:
        return int(self._outputs[name].ctypes.data)

    def kind(self, name: str) -> np.dtype[Any]:
        return self._outputs[name].dtype

    def room(self, name: str) -> int:
        return self._outputs[name].nbytes

    def size(self, name: str, count: int) -> int:
        return prod(self.shape(name, count)) * self.kind(name).itemsize

    def shape(self, name: str, count: int) -> tuple[int, ...]:
        return (count, *self._outputs[name].shape[1:])
