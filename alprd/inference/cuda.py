"""The GPU through PyCUDA: one context, memory, streams, events and our kernels.

PyCUDA binds a context to the thread that made it and ends the process when one is left current at
exit. So the primary context, which TensorRT uses too, is retained once, and every public call of
what works on it pushes and pops it: any thread may call, none has the context left.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alprd.inference.cuda_graphs import Graph, GraphDriver
from alprd.inference.gpu import find_gpu, import_pycuda
from alprd.ports import EngineError, EngineUnavailable
from alprd.stillness import STILLNESS

_MIB = 1 << 20

Address = int
"""Of device memory."""

Extent = tuple[int, int, int]
"""How many blocks, or threads of a block, in x, y and z."""


class Event(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None:
        """Wait until the work before it is done, without using the CPU."""


class Stream(Protocol):
    """Work that the GPU does in order."""

    @property
    def handle(self) -> int:
        """CUDA's own."""

    def record(self, event: Event) -> None:
        """Let the event stand for all work given to the stream so far."""

    def wait(self, event: Event) -> None:
        """Let later work wait for the event; the caller goes on."""

    def synchronize(self) -> None:
        """Wait until all its work is done."""


class Device(Protocol):
    """What the classes of the GPU backend ask of CUDA; `Cuda` is it."""

    @property
    def integrated(self) -> bool:
        """Whether CPU and GPU share the memory, so that nothing need be copied."""

    def current(self) -> AbstractContextManager[None]:
        """The context, current to this thread for a while; CUDA's errors become EngineError."""

    def stream(self) -> Stream:
        """A new stream."""

    def event(self) -> Event:
        """A new event, already over."""

    def allocate(self, size: int, what: str) -> Address:
        """Device memory, bytes. Raises EngineUnavailable when there is not enough."""

    def free(self, address: Address) -> None:
        """Give it back; waits for the GPU."""

    def pinned(self, size: int, what: str) -> NDArray[np.uint8]:
        """(size,) host memory that the GPU can reach. Raises EngineUnavailable as above."""

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        """Give it back; nobody may look at it any more."""

    def mapped(self, memory: NDArray[np.uint8]) -> Address:
        """Where the GPU sees pinned memory."""

    def upload(self, to: Address, memory: NDArray[Any], stream: Stream) -> None:
        """Copy contiguous host memory; pinned memory is copied while the caller goes on."""

    def download(self, memory: NDArray[Any], from_: Address, stream: Stream) -> None:
        """Copy into contiguous pinned memory while the caller goes on."""

    def zero(self, address: Address, size: int, stream: Stream) -> None:
        """Fill with zeros, bytes; a multiple of four."""

    def launch(
        self, kernel: str, grid: Extent, block: Extent, stream: Stream, arguments: Sequence[int]
    ) -> None:
        """Start a kernel of kernels.cu."""

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what `work` gives to a stream that nobody else uses. Raises GraphError."""

    def free_bytes(self) -> int:
        """Device memory that nobody uses."""

    def synchronize(self) -> None:
        """Wait for everything."""


class Cuda:
    """The first GPU; from making it until `close`. Implements Device."""

    def __init__(self) -> None:
        """Retain the primary context and load the kernels.

        Raises:
            EngineError: PyCUDA is missing, or the driver is too old for the kernels.
            EngineUnavailable: there is no GPU or no driver, or no memory is left.
        """
        self.name = find_gpu().name
        self._driver: Any = import_pycuda()
        driver = self._driver
        self._memory: dict[Address, Any] = {}
        self._pinned: dict[int, tuple[NDArray[np.uint8], Any]] = {}
        self._kernels: dict[str, Any] = {}
        self._ordering: list[_Stream | _Event] = []
        self._graphs: GraphDriver | None = None
        self._context: Any = None
        try:
            device = driver.Device(0)
            self.integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            self._context = device.retain_primary_context()
            # Left to the interpreter's end PyCUDA would release it as if it were its own.
            atexit.register(self._let_go)
        except driver.Error as error:
            raise EngineUnavailable(
                f"no NVIDIA GPU can be used ({error}); look at nvidia-smi, or set "
                'inference.backend = "onnxruntime"'
            ) from error
        try:
            with self.current():
                self._load_kernels()
        except BaseException:
            self.close()
            raise

    def _load_kernels(self) -> None:
        ptx = (files("alprd.inference") / "kernels.ptx").read_bytes()
        driver = self._driver
        try:
            self._module: Any = driver.module_from_buffer(ptx + b"\0")
        except driver.MemoryError:
            raise
        except driver.Error as error:
            raise EngineError(
                f"alprd's kernels are refused by the driver of {self.name} ({error}); bring the "
                'driver up to date, or set inference.backend = "onnxruntime"'
            ) from error
        for name, signature in KERNELS.items():
            function = self._module.get_function(name)
            function.prepare(list(signature))
            self._kernels[name] = function

    @contextmanager
    def current(self) -> Iterator[None]:
        """The context, current to this thread for a while; CUDA's errors become EngineError."""
        if self._context is None:
            raise EngineError("the GPU was given back already; restart alprd")
        driver = self._driver
        try:
            self._context.push()
            try:
                yield
            finally:
                driver.Context.pop()
        except driver.MemoryError as error:
            raise EngineUnavailable(
                f"{self.name} is out of memory ({error}); lower max_batch in [inference], or stop "
                "what else uses the GPU"
            ) from error
        except driver.Error as error:
            raise EngineUnavailable(
                f"{self.name} failed ({error}); restart alprd, and look for NVRM or Xid in the "
                "kernel's log if it comes again"
            ) from error

    def close(self) -> None:
        """Give back all memory and the context; callable more than once, from any thread."""
        if self._context is None:
            return
        # After an error that stays there is nothing to wait for, and each call fails with it anew;
        # the context must go all the same, for the next one is good again.
        with suppress(EngineError), self.current():
            self.synchronize()
        for address in list(self._memory):
            with suppress(EngineError), self.current():
                self.free(address)
        for memory, _ in list(self._pinned.values()):
            with suppress(EngineError), self.current():
                self.free_pinned(memory)
        with suppress(EngineError), self.current():
            # Here, for PyCUDA leaves them to the driver when they go after their context, or in a
            # thread that it is not current to.
            for each in self._ordering:
                each.native = None
            self._kernels.clear()
            self._module = None
        # What PyCUDA releases stays on the thread's own stack of the driver: on a thread that ends.
        ending = threading.Thread(target=self._let_go, name="cuda-release")
        ending.start()
        ending.join()

    def _let_go(self) -> None:
        """Release the context, and nothing else: what hangs on the GPU is not waited for."""
        atexit.unregister(self._let_go)
        context, self._context = self._context, None
        if context is None:
            return
        with suppress(self._driver.Error):  # of a GPU that failed nothing is left to be released
            # Released while it is current PyCUDA's stack of contexts stays in order.
            context.push()
            context.detach()

    def stream(self) -> Stream:
        """A new stream; it is given back with the GPU."""
        stream = _Stream(self._driver)
        self._ordering.append(stream)
        return stream

    def event(self) -> Event:
        """A new event, already over; it is given back with the GPU."""
        event = _Event(self._driver)
        self._ordering.append(event)
        return event

    def allocate(self, size: int, what: str) -> Address:
        """Device memory, bytes. Raises EngineUnavailable when there is not enough."""
        try:
            memory = self._driver.mem_alloc(size)
        except self._driver.MemoryError as error:
            raise self._out_of_memory(size, what) from error
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: Address) -> None:
        """Give it back; waits for the GPU."""
        self._memory.pop(address).free()

    def pinned(self, size: int, what: str) -> NDArray[np.uint8]:
        """(size,) host memory that the GPU can reach. Raises EngineUnavailable as above."""
        driver = self._driver
        flags = driver.host_alloc_flags.DEVICEMAP | driver.host_alloc_flags.PORTABLE
        try:
            memory: NDArray[np.uint8] = driver.pagelocked_empty(size, np.uint8, mem_flags=flags)
        except driver.MemoryError as error:
            raise self._out_of_memory(size, what) from error
        self._pinned[memory.ctypes.data] = (memory, memory.base)
        return memory

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        """Give it back; nobody may look at it any more."""
        self._pinned.pop(memory.ctypes.data)[1].free()

    def mapped(self, memory: NDArray[np.uint8]) -> Address:
        """Where the GPU sees pinned memory."""
        return int(self._pinned[memory.ctypes.data][1].get_device_pointer())

    def upload(self, to: Address, memory: NDArray[Any], stream: Stream) -> None:
        """Copy contiguous host memory; pinned memory is copied while the caller goes on."""
        self._driver.memcpy_htod_async(to, memory, _native(stream))

    def download(self, memory: NDArray[Any], from_: Address, stream: Stream) -> None:
        """Copy into contiguous pinned memory while the caller goes on."""
        self._driver.memcpy_dtoh_async(memory, from_, _native(stream))

    def zero(self, address: Address, size: int, stream: Stream) -> None:
        """Fill with zeros, bytes; a multiple of four."""
        self._driver.memset_d32_async(address, 0, size // 4, _native(stream))

    def launch(
        self, kernel: str, grid: Extent, block: Extent, stream: Stream, arguments: Sequence[int]
    ) -> None:
        """Start a kernel of kernels.cu."""
        self._kernels[kernel].prepared_async_call(grid, block, _native(stream), *arguments)

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what `work` gives to a stream that nobody else uses. Raises GraphError."""
        if self._graphs is None:
            self._graphs = GraphDriver()
        return self._graphs.capture(stream.handle, work)

    def synchronize(self) -> None:
        """Wait for everything."""
        with STILLNESS.disturbed():
            self._driver.Context.synchronize()

    def free_bytes(self) -> int:
        """Device memory that nobody uses."""
        return int(self._driver.mem_get_info()[0])

    def _out_of_memory(self, size: int, what: str) -> EngineUnavailable:
        free, total = self._driver.mem_get_info()
        return EngineUnavailable(
            f"{self.name} is out of memory: {size / _MIB:.1f} MiB are wanted for {what}, "
            f"{free // _MIB} of {total // _MIB} MiB are free; lower max_batch in [inference], or "
            "stop what else uses the GPU"
        )


KERNELS = {
    "halve": "Pi",
    "fit": "PPP",
    "rectify": "PPPP",
    "laplacian": "PiiP",
    "gather": "PPPPiiiPP",
}
"""The kernels' parameters: P an address, i a whole number of 32 bits."""


class _Stream:
    """A PyCUDA stream."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 -- a module without types
        # Beside the legacy default stream, on which everything would wait for everything.
        self.native = driver.Stream(_NON_BLOCKING)
        self.handle = int(self.native.handle)

    def record(self, event: Event) -> None:
        _native(event).record(self.native)

    def wait(self, event: Event) -> None:
        self.native.wait_for_event(_native(event))

    def synchronize(self) -> None:
        self.native.synchronize()


class _Event:
    """A PyCUDA event."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 -- a module without types
        flags = driver.event_flags
        # Who waits for it sleeps: a spinning thread would take a core of a small board.
        self.native = driver.Event(flags.DISABLE_TIMING | flags.BLOCKING_SYNC)

    def synchronize(self) -> None:
        self.native.synchronize()


_NON_BLOCKING = 1


def _native(made: Stream | Event) -> Any:  # noqa: ANN401 -- a class without types
    return made.native  # type: ignore[union-attr]
