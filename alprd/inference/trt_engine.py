"""TensorRT: a plan on the GPU; named tensors only, so that 8.5 and 11 are driven alike."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alprd.inference.cuda import Address, Device, Stream
from alprd.inference.cuda_graphs import GraphError
from alprd.inference.gpu_memory import Memory
from alprd.inference.gpu_network import HostOutputs
from alprd.inference.manifest import InputSpec
from alprd.inference.network import Outputs, Shape, batch_axis, describe_shape, shape_problem
from alprd.inference.trt_allocator import output_allocator
from alprd.inference.trt_api import TensorRT
from alprd.inference.trt_graphs import EngineGraphs, Prepared, rounded_rows
from alprd.ports import EngineError, EngineUnavailable
from alprd.stillness import STILLNESS

_UNKNOWN = -1
_INPUT = np.dtype(np.float32)
"""Plans are built with such an input, whatever the file takes: its first step is a cast."""
_SPARE = 64 << 20
"""With less than this left on the GPU, bytes, it is the memory that a plan fails at."""
_ROOM_MAX = 64 << 20
"""An output whose size only the run shows gets no more memory than this."""


class TensorRTNetwork:
    """One plan; implements Network and DeviceNetwork; used by one thread at a time."""

    def __init__(
        self,
        plan: bytes,
        *,
        path: Path,
        spec: InputSpec,
        outputs: Mapping[str, Shape],
        max_batch: int,
        tensorrt: TensorRT,
        cuda: Device,
        graphs: bool = False,
    ) -> None:
        """Load the plan and check it against the manifest.

        Args:
            plan: serialised, already known to fit this device.
            path: where it came from, for messages.
            spec: the input that the manifest promises.
            outputs: shape of every output that the decoder needs.
            max_batch: rows in one call, unless the plan's own batch is fixed or smaller.
            tensorrt: the library.
            cuda: the GPU.
            graphs: launch what was run before as CUDA graphs, where that can be done.

        Raises:
            EngineError: the plan cannot be used or contradicts its manifest.
            EngineUnavailable: the GPU has not enough memory.
        """
        self._path = path
        self._size = len(plan)
        self._tensorrt = tensorrt
        self._trt = tensorrt.module
        self._device = cuda
        self._memory = Memory(cuda, path.name)
        self._host: HostOutputs | None = None
        self._shapes: dict[int, dict[str, tuple[int, ...]]] = {}
        self._logger = tensorrt.logger()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._allocators: dict[str, Any] = {}
        self._rows = 0
        self._lent = False
        self._addresses: dict[str, Address] = {}
        self._scratch: Address = 0
        self._graphs: EngineGraphs | None = None
        # Where every context needs an engine of its own, it is made of this.
        self._plan = plan if graphs and not tensorrt.shares_profiles else b""
        try:
            with cuda.current(), STILLNESS.disturbed():
                self._load(plan, shared=graphs)
                self._fixed = self._check_input(spec, max_batch)
                self._input_name, self._row_shape = spec.name, spec.shape
                self._check_outputs(outputs)
                self._wanted = dict(outputs)
                self._allocate()
                self._stream = cuda.stream()
                self._done = cuda.event()
                self._prepare_graphs()
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes, *, shared: bool) -> None:
        """The engine and a context; other contexts share its scratch memory, if they can."""
        self._runtime = self._tensorrt.runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._failure("cannot be loaded", "rebuild it: alprd engines build")
        if shared and self._tensorrt.lends_scratch:
            self._scratch = self._memory.on_device(self._tensorrt.scratch_size(self._engine))
            self._context = self._tensorrt.context_in(self._engine, self._scratch)
        else:
            self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._failure(
                "got no memory on the GPU for its work",
                "lower max_batch or workspace_mib in [inference] and run: alprd engines build",
            )

    def _failure(self, what: str, remedy: str) -> EngineError:
        """Why TensorRT did not do it; what memory fails at may pass."""
        reasons = "; ".join(self._logger.errors[-3:])
        # TensorRT tells its reasons to the first logger of the process, which may be another one.
        scarce = self._device.free_bytes() < self._size + _SPARE
        short = scarce or "memory" in reasons.lower() or "memory" in what
        kind = EngineUnavailable if short else EngineError
        if short and "memory" not in what:
            what += " (the GPU is short of memory)"
            remedy = "lower max_batch in [inference], or stop what else uses the GPU"
        return kind(
            f"{self._path} {what} with TensorRT {self._tensorrt.version}"
            f"{f' ({reasons})' if reasons else ''}; {remedy}"
        )

    def _check_input(self, spec: InputSpec, max_batch: int) -> bool:
        """Set `max_batch`; whether every call must have so many rows."""
        engine, trt = self._engine, self._trt
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._modes = {name: engine.get_tensor_mode(name) for name in names}
        inputs = [name for name in names if self._modes[name] == trt.TensorIOMode.INPUT]
        if inputs != [spec.name]:
            raise EngineError(
                f"{self._path} has the inputs {inputs}, the manifest names {spec.name!r}; "
                "correct input.name, and rebuild the plan: alprd engines build"
            )
        shape = tuple(engine.get_tensor_shape(spec.name))
        problem = shape_problem((None, *spec.shape), _named(shape))
        if problem is not None:
            raise EngineError(
                f"{self._path}: input {spec.name!r} {problem}; correct layout, width, height or "
                "colour in [input] of the manifest, and rebuild the plan: alprd engines build"
            )
        found = engine.get_tensor_dtype(spec.name)
        if found != trt.DataType.FLOAT:
            raise EngineError(
                f"{self._path}: input {spec.name!r} takes {found} instead of float32; rebuild the "
                "plan: alprd engines build"
            )
        self._row_bytes = prod(spec.shape) * _INPUT.itemsize
        if shape[0] != _UNKNOWN:
            self.max_batch = int(shape[0])
            return True
        _, _, largest = engine.get_tensor_profile_shape(spec.name, 0)
        self.max_batch = min(max_batch, int(next(iter(largest))))
        return False

    def _check_outputs(self, wanted: Mapping[str, Shape]) -> None:
        engine, trt = self._engine, self._trt
        found = {
            name: _named(tuple(engine.get_tensor_shape(name)))
            for name, mode in self._modes.items()
            if mode == trt.TensorIOMode.OUTPUT
        }
        for name, shape in wanted.items():
            if name not in found:
                raise EngineError(
                    f"{self._path} has no output {name!r}; it has "
                    + ", ".join(f"{each!r} {describe_shape(found[each])}" for each in found)
                    + "; correct decoder.outputs in the manifest"
                )
            problem = shape_problem(shape, found[name])
            if problem is not None:
                raise EngineError(
                    f"{self._path}: output {name!r} {problem}; correct [decoder] in the manifest"
                )

    def _allocate(self) -> None:
        """Memory for the input and every output, at the largest batch."""
        engine, trt = self._engine, self._trt
        kinds = {
            trt.DataType.FLOAT: np.float32,
            trt.DataType.HALF: np.float16,
            trt.DataType.INT32: np.int32,
            trt.DataType.INT8: np.int8,
            trt.DataType.BOOL: np.bool_,
        }
        if hasattr(trt.DataType, "INT64"):
            kinds[trt.DataType.INT64] = np.int64
        self.input: Address = self._memory.on_device(self.max_batch * self._row_bytes)
        self._addresses[self._input_name] = self.input
        self._set_address(self._input_name, self.input)
        self._set_rows(self.max_batch)
        self._rooms: dict[str, int] = {}
        self._kinds: dict[str, np.dtype[Any]] = {}
        self._outputs: dict[str, Address] = {}
        for name, mode in self._modes.items():
            if mode != trt.TensorIOMode.OUTPUT:
                continue
            type_ = engine.get_tensor_dtype(name)
            if type_ not in kinds:
                raise EngineError(
                    f"{self._path}: output {name!r} is {type_}; export the model with float32 "
                    "outputs"
                )
            self._kinds[name] = np.dtype(kinds[type_])
            shape = self._shapes[self.max_batch][name]
            if _UNKNOWN in shape:
                room = self._data_dependent(name)
            else:
                room = prod(shape) * self._kinds[name].itemsize
                self._outputs[name] = self._addresses[name] = self._memory.on_device(room)
                self._set_address(name, self._outputs[name])
            self._rooms[name] = room

    def _data_dependent(self, name: str) -> int:
        """Memory for an output of which only the run shows how large it is (NMS inside)."""
        room = int(self._context.get_max_output_size(name))
        if not 0 <= room <= _ROOM_MAX:
            raise EngineError(
                f"{self._path}: output {name!r} may take {room} bytes; export the model with an "
                "output of a fixed number of rows"
            )
        self._outputs[name] = self._memory.on_device(room)
        self._allocators[name] = output_allocator(self._trt, self._outputs[name], max(room, 4))
        if not self._context.set_output_allocator(name, self._allocators[name]):
            raise self._failure(f"takes no allocator for {name!r}", "export the model again")
        return room

    def _prepare_graphs(self) -> None:
        """Begin to make graphs, where the rows of a batch do not depend on each other."""
        if not self._scratch or self._allocators:
            return
        axes = {name: batch_axis(shape) for name, shape in self._wanted.items()}
        whole = self._shapes[self.max_batch]
        apart = all(
            axis is not None and whole[name][axis : axis + 1] == (self.max_batch,)
            for name, axis in axes.items()
        )
        if apart or self._fixed:
            self._graphs = EngineGraphs(
                self._prepared, self._device, self._path.name, self._logger.errors
            )

    def _prepared(self, rows: int) -> Prepared:
        """A context for so many rows alone. Raises GraphError."""
        engine = self._engine
        with STILLNESS.disturbed():
            if not self._tensorrt.shares_profiles:
                if self._device.free_bytes() < self._size + _SPARE:
                    raise GraphError("the GPU is short of memory")
                engine = self._runtime.deserialize_cuda_engine(self._plan)
            context = None
            if engine is not None:
                context = self._tensorrt.context_in(engine, self._scratch)
            if (
                context is None
                or not all(context.set_tensor_address(*each) for each in self._addresses.items())
                or not context.set_input_shape(self._input_name, (rows, *self._row_shape))
            ):
                reasons = "; ".join(self._logger.errors[-3:])
                raise GraphError(f"no second context for {rows} rows ({reasons or 'no reason'})")
        return Prepared(engine, context)

    def _set_address(self, name: str, address: Address) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._failure(f"takes no memory for {name!r}", "rebuild it: alprd engines build")

    def _set_rows(self, count: int) -> None:
        if count == self._rows:
            return
        context = self._context
        self._rows = 0
        if not context.set_input_shape(self._input_name, (count, *self._row_shape)):
            raise self._failure(f"takes no batch of {count}", "run: alprd engines build")
        self._rows = count
        if count not in self._shapes:
            self._shapes[count] = {
                name: tuple(int(size) for size in context.get_tensor_shape(name))
                for name, mode in self._modes.items()
                if mode == self._trt.TensorIOMode.OUTPUT
            }

    def _run_rows(self, count: int) -> int:
        """So many rows are run for `count` of them; what the others give nobody looks at."""
        if self._fixed:
            return self.max_batch
        return count if self._graphs is None else rounded_rows(count, self.max_batch)

    def enqueue(self, count: int, stream: Stream) -> None:
        """Let the stream run the first `count` rows. Raises EngineError."""
        self._lent = self._lent or stream is not self._stream
        rows = self._run_rows(count)
        if self._graphs is not None and self._graphs.run(rows, stream):
            return
        self._set_rows(rows)
        for allocator in self._allocators.values():
            allocator.shape = ()
        if not self._context.execute_async_v3(stream.handle):
            raise self._failure("failed", "rebuild it: alprd engines build")
        # TensorRT tells it before that call returns. An older shape would give this batch the rows
        # of another one.
        untold = [name for name, allocator in self._allocators.items() if not allocator.shape]
        if untold:
            raise self._failure(
                f"did not tell how many rows {untold} have",
                "export the model with a fixed number of rows, or set inference.backend = "
                '"onnxruntime"',
            )

    @property
    def makes_graphs(self) -> bool:
        """Whether it becomes graphs as it is used: asked for, and possible with this network."""
        return self._graphs is not None

    @property
    def graphed(self) -> tuple[int, ...]:
        """The numbers of rows that are launched as graphs by now."""
        return () if self._graphs is None else self._graphs.captured

    def output(self, name: str) -> Address:
        """Where an output lies; the same for every call."""
        return self._outputs[name]

    def kind(self, name: str) -> np.dtype[Any]:
        """Type of an output's values."""
        return self._kinds[name]

    def room(self, name: str) -> int:
        """Bytes that an output takes at most."""
        return self._rooms[name]

    def size(self, name: str, count: int) -> int:
        """Bytes that an output of so many rows takes at most."""
        if name in self._allocators:
            return self._rooms[name]
        return prod(self.shape(name, count)) * self._kinds[name].itemsize

    def shape(self, name: str, count: int) -> tuple[int, ...]:
        """Of an output of the last call, which had so many rows; known once it is enqueued."""
        if name in self._allocators:
            return tuple(self._allocators[name].shape)
        rows = self._run_rows(count)
        if rows not in self._shapes:
            self._set_rows(rows)
        return self._shapes[rows][name]

    def run(self, rows: NDArray[Any], count: int) -> Outputs:
        """Outputs of the first `count` rows, from and to host memory. Raises EngineError."""
        with self._device.current():
            if self._lent:  # what others have on their way uses the same input and outputs
                self._device.synchronize()
                self._lent = False
            if self._host is None:
                self._host = HostOutputs(self, self._wanted, self._device, self._memory)
            used = rows if self._fixed else rows[:count]
            self._device.upload(self.input, np.ascontiguousarray(used, _INPUT), self._stream)
            self.enqueue(count, self._stream)
            self._host.fetch(count, self._stream)
            self._stream.record(self._done)
            self._done.synchronize()  # asleep, as the stream itself would not wait
            return self._host.arrays(count)

    def close(self) -> None:
        """Give everything on the GPU back; callable more than once."""
        if self._runtime is not None:
            # After an error of the GPU there is nothing to wait for; the rest must go all the same.
            with suppress(EngineError), self._device.current():
                self._device.synchronize()
            with suppress(EngineError), self._device.current():
                if self._graphs is not None:
                    self._graphs.close()
                self._let_go()
            self._let_go()
        self._memory.close()

    def _let_go(self) -> None:
        """In this order: each keeps what the former needs."""
        self._graphs = None
        self._context = None
        self._engine = None
        self._runtime = None


def _named(shape: tuple[int, ...]) -> tuple[int | None, ...]:
    """None where only the run shows the size, as the checks want it."""
    return tuple(None if size == _UNKNOWN else int(size) for size in shape)
