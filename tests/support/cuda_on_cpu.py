"""A GPU for tests on a machine without one: kernels.cu compiled for the CPU.

`CpuDevice` does everything at once. `LateDevice` does nothing before somebody waits for it, as far
as the caller can tell, so that a wait that is missing shows in the results.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sysconfig
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from math import prod
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from weakref import WeakValueDictionary, ref

import numpy as np
from numpy.typing import NDArray

from alprd.inference import cuda
from alprd.inference.cuda_graphs import GraphError
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


STREAMS: WeakValueDictionary[int, CpuStream] = WeakValueDictionary()
"""By handle: what TensorRT's stand-in is given."""


class CpuEvent:
    """A place in a stream's work; none yet: over."""

    def __init__(self) -> None:
        self.place: tuple[LateStream, int] | None = None

    def synchronize(self) -> None:
        if self.place is not None:
            stream, count = self.place
            stream.run(count)


class CpuStream:
    """Does everything at once."""

    def __init__(self) -> None:
        self.handle = id(self)
        STREAMS[self.handle] = self

    captured: list[Callable[[], object]] | None = None
    """What it was given since it is captured."""

    def do(self, work: Callable[[], object]) -> None:
        if self.captured is None:
            self.act(work)
        else:
            self.captured.append(work)

    def act(self, work: Callable[[], object]) -> None:
        work()

    def record(self, event: CpuEvent) -> None:
        pass

    def wait(self, event: CpuEvent) -> None:
        pass

    def synchronize(self) -> None:
        pass


class LateStream(CpuStream):
    """Does its work when somebody waits for it, or, where it is `hasty`, as soon as it may.

    Both are what a GPU might do. Late work shows who reads too early, hasty work who writes too
    early.
    """

    def __init__(self, device: LateDevice, *, hasty: bool) -> None:
        super().__init__()
        self.hasty = hasty
        self._device = device
        self._work: deque[Callable[[], object] | tuple[LateStream, int]] = deque()
        self._given = 0
        self._done = 0

    def act(self, work: Callable[[], object]) -> None:
        self._add(work)

    def _add(self, work: Callable[[], object] | tuple[LateStream, int]) -> None:
        self._work.append(work)
        self._given += 1
        self._device.hurry()

    def record(self, event: CpuEvent) -> None:
        event.place = (self, self._given)

    def wait(self, event: CpuEvent) -> None:
        if event.place is not None:
            self._add(event.place)

    def synchronize(self) -> None:
        assert self.captured is None, "a stream that is captured cannot be waited for"
        self.run(self._given)

    def run(self, count: int) -> None:
        """So much of all that it was ever given, and what that waits for."""
        while self._done < count:
            work = self._work[0]
            if isinstance(work, tuple):
                work[0].run(work[1])
                if not self._work or self._work[0] is not work:
                    continue  # being hasty, it went on meanwhile
            self._work.popleft()
            if not isinstance(work, tuple):
                work()
            self._done += 1
            self._device.hurry()

    @property
    def idle(self) -> bool:
        """Whether all that it was given is done."""
        return not self._work

    def run_on(self) -> None:
        """What it may do without waiting."""
        while self._work:
            head = self._work[0]
            if isinstance(head, tuple) and head[0]._done < head[1]:
                return
            self.run(self._done + 1)


class CpuGraph:
    """Implements Graph; what was captured runs as it was then.

    `launches` counts, `refusal` is why it cannot be launched any more.
    """

    def __init__(self, device: CpuDevice, work: Sequence[Callable[[], object]]) -> None:
        self._device = device
        self._work = work
        self.launches = 0
        self.refusal: str | None = None

    def launch(self, stream_handle: int) -> None:
        assert self._device.depth
        assert self in self._device.graphs, "it was given back"
        if self.refusal is not None:
            raise GraphError(self.refusal)
        self.launches += 1
        for work in self._work:
            STREAMS[stream_handle].do(work)

    def close(self) -> None:
        assert self._device.depth
        for work in self._work:
            kept: Any = getattr(work, "args", ())
            assert all(each() is not None for each in kept if isinstance(each, ref)), (
                "what it works with went before it"
            )
        if self in self._device.graphs:
            self._device.graphs.remove(self)


class CpuDevice:
    """Implements inference.cuda.Device; counts what is allocated and uploaded.

    `left` is the memory that can still be allocated, bytes; None for no end. `graphs` are those
    that were not given back, `refusal` is why there can be none, `captures` counts the attempts.
    """

    def __init__(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.left: int | None = None
        self.graphs: list[CpuGraph] = []
        self.refusal: str | None = None
        self.captures = 0
        self.allocations = 0
        self.uploaded: list[int] = []
        self.depth = 0
        self.blocks: dict[int, NDArray[np.uint8]] = {}
        self._pinned: set[int] = set()
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
        block = self._block(size, what)
        self._pinned.add(block.ctypes.data)
        return block

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        self._pinned.remove(memory.ctypes.data)
        self.free(memory.ctypes.data)

    def mapped(self, memory: NDArray[np.uint8]) -> int:
        return self.blocks[memory.ctypes.data].ctypes.data

    def upload(self, to: int, memory: NDArray[Any], stream: CpuStream) -> None:
        assert self.depth
        assert memory.flags.c_contiguous
        self.uploaded.append(memory.nbytes)
        # Of memory that is not pinned the driver takes a copy before it returns.
        source = memory if self._is_pinned(memory) else memory.copy()
        stream.do(lambda: _copy(to, source.ctypes.data, memory.nbytes))

    def download(self, memory: NDArray[Any], from_: int, stream: CpuStream) -> None:
        assert self.depth
        assert self._is_pinned(memory)
        stream.do(lambda: _copy(memory.ctypes.data, from_, memory.nbytes))

    def zero(self, address: int, size: int, stream: CpuStream) -> None:
        stream.do(partial(_fill, address, 0, size))

    def _is_pinned(self, memory: NDArray[Any]) -> bool:
        start, end = memory.ctypes.data, memory.ctypes.data + memory.nbytes
        return any(
            address <= start and end <= address + len(self.blocks[address])
            for address in self._pinned
        )

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
        given = [kinds[kind](each) for kind, each in zip(signature, arguments, strict=True)]
        run = getattr(self._library, f"cpu_{kernel}")
        stream.do(partial(run, (ctypes.c_int * 3)(*grid), (ctypes.c_int * 3)(*block), *given))

    def capture(self, stream: CpuStream, work: Callable[[], None]) -> CpuGraph:
        assert self.depth
        self.captures += 1
        if self.refusal is not None:
            raise GraphError(self.refusal)
        stream.captured = []
        try:
            work()
            made = CpuGraph(self, stream.captured)
        finally:
            stream.captured = None
        self.graphs.append(made)
        return made

    def free_bytes(self) -> int:
        return 1 << 40 if self.left is None else self.left

    def synchronize(self) -> None:
        assert self.depth


class LateDevice(CpuDevice):
    """Nothing is done before somebody waits for it, but for the work of one hasty stream.

    Args:
        hasty: which of the streams does its work as soon as it may, in the order in which they were
            made; None: none.
    """

    def __init__(self, *, integrated: bool = False, hasty: int | None = None) -> None:
        super().__init__(integrated=integrated)
        self._hasty = hasty
        self.streams: list[LateStream] = []
        self._hurrying = False
        self._graves: list[NDArray[np.uint8]] = []

    def stream(self) -> LateStream:
        assert self.depth
        self.streams.append(LateStream(self, hasty=len(self.streams) == self._hasty))
        return self.streams[-1]

    def hurry(self) -> None:
        """Let the hasty stream go on."""
        if self._hurrying:
            return
        self._hurrying = True
        try:
            for stream in self.streams:
                if stream.hasty:
                    stream.run_on()
        finally:
            self._hurrying = False

    def synchronize(self) -> None:
        super().synchronize()
        for stream in self.streams:
            stream.synchronize()

    def upload(self, to: int, memory: NDArray[Any], stream: CpuStream) -> None:
        if self._is_pinned(memory):
            stream.do(partial(_check_unchanged, memory, memory.copy()))
        super().upload(to, memory, stream)

    def free(self, address: int) -> None:
        self.synchronize()  # as the driver does it
        super().free(address)

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        block = self.blocks[memory.ctypes.data]
        self._pinned.remove(memory.ctypes.data)
        super().free(memory.ctypes.data)
        # Who still copies from or to it gets noise; kept, so that it is nobody else's memory.
        block[:] = 0x5A
        self._graves.append(block)


class CpuNetwork:
    """Implements DeviceNetwork over any network whose outputs have the batch first.

    `counts` tells which batches were enqueued, `done` which of them have been computed.
    """

    def __init__(self, network: Network, spec: Any, device: CpuDevice) -> None:
        self._network = network
        self._device = device
        self.max_batch = network.max_batch
        self._rows: NDArray[Any] = np.zeros((self.max_batch, *spec.shape), spec.type)
        self.input = int(self._rows.ctypes.data)
        self.counts: list[int] = []
        self.done: list[int] = []
        self._found: Mapping[str, NDArray[Any]] = {}
        whole = network.run(self._rows, self.max_batch)
        self._outputs = {name: np.ascontiguousarray(values) for name, values in whole.items()}

    def run(self, rows: NDArray[Any], count: int) -> Mapping[str, NDArray[Any]]:
        return self._network.run(rows, count)

    def enqueue(self, count: int, stream: CpuStream) -> None:
        self.counts.append(count)
        stream.do(partial(self._compute, count))

    def _compute(self, count: int) -> None:
        for name, values in self._network.run(self._rows, count).items():
            self._outputs[name][:count] = values
        self.done.append(count)

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


def _check_unchanged(memory: NDArray[Any], before: NDArray[Any]) -> None:
    if not np.array_equal(memory, before):
        raise AssertionError("pinned memory was written to before it had been copied")


def _copy(to: int, from_: int, size: int) -> None:
    ctypes.memmove(to, from_, size)


def _fill(address: int, value: int, size: int) -> None:
    ctypes.memset(address, value, size)
