"""TensorRT's runtime for tests without a GPU: a plan is a Python object, its run a function.

It insists on what TensorRT insists on: tensors by name, addresses set before the run, a batch
inside the profile, an allocator for an output whose size only the run shows; before 10 one context
per engine; a run of the same shape before one is captured, and a context that stays as it was
when its graph is launched.
"""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from math import prod
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakSet, ref

import numpy as np
from numpy.typing import NDArray

from alprd.inference.trt_api import TensorRT
from support.cuda_on_cpu import STREAMS
from support.tensorrt_releases import release

DataType = Enum("DataType", ["FLOAT", "HALF", "INT32", "INT8", "BOOL", "UINT8", "INT64"])
TensorIOMode = Enum("TensorIOMode", ["INPUT", "OUTPUT"])

NUMPY = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT32: np.int32,
    DataType.UINT8: np.uint8,
    DataType.INT64: np.int64,
}


SCRATCH = 512
COUNTED = -1
UNTOLD = -2


class IOutputAllocator:
    """As TensorRT's: a class to derive from."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Of a network: -1 where a size is not fixed. A value is the sum of the row's input, times
    `factor`, plus its index; with `rows` so many rows come out, whatever the batch; as many as the
    input's first value says with COUNTED, and none is told with UNTOLD.
    """

    shape: tuple[int, ...]
    kind: DataType = DataType.FLOAT
    factor: float = 1.0
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is serialised."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    most: int = 8
    no_memory: bool = False
    fails: bool = False
    uncapturable: bool = False

    def serialised(self) -> bytes:
        return pickle.dumps(self)


class Context:
    """IExecutionContext."""

    def __init__(
        self, plan: Plan, logger: Any, *, has_profile: bool = True, has_memory: bool = True
    ) -> None:
        self._plan = plan
        self._logger = logger
        self._has_profile = has_profile
        self._memory = 0 if has_memory else None
        self._ran: tuple[int, ...] = ()
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self._plan.inputs[name].shape
        fits = all(a in (-1, b) for a, b in zip(wanted, shape, strict=True))
        if not self._has_profile or not fits or not 1 <= shape[0] <= self._plan.most:
            return False
        self._shape = shape
        return True

    @property
    def device_memory(self) -> int:
        raise AttributeError("unreadable")

    @device_memory.setter
    def device_memory(self, memory: int) -> None:
        self._memory = memory

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        tensor = self._plan.outputs[name]
        if tensor.rows is not None:
            return tensor.shape
        return _filled(tensor.shape, self._shape[0])

    def get_max_output_size(self, name: str) -> int:
        tensor = self._plan.outputs[name]
        return 100 * prod(tensor.shape[1:]) * np.dtype(NUMPY[tensor.kind]).itemsize

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self._allocators[name] = allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._plan.fails:
            return False
        assert self._memory is not None, "it was given no memory"
        stream = STREAMS[stream_handle]
        if stream.captured is not None:
            if self._plan.uncapturable or self._allocators or self._ran != self._shape:
                text = "1: [x.cpp::y::1] operation not permitted when stream is capturing"
                self._logger.log("Severity.ERROR", text)
                return False
            stream.do(partial(_replay, ref(self), self._state()))
            return True
        self._ran = self._shape
        if self._allocators:
            stream.synchronize()  # for the shapes
            return self._run(self._shape)
        stream.do(partial(self._run, self._shape))
        return True

    def _state(self) -> object:
        return self._shape, dict(self._addresses), self._memory

    def _run(self, given: tuple[int, ...]) -> bool:
        ((name, tensor),) = self._plan.inputs.items()
        count = given[0]
        values = _at(self._addresses[name], given, NUMPY[tensor.kind])
        sums = values.reshape(count, -1).astype(np.float64).sum(axis=1)
        for name, tensor in self._plan.outputs.items():
            if tensor.rows is None:
                shape = _filled(tensor.shape, count)
                address = self._addresses[name]
            else:
                found = int(values.flat[0]) if tensor.rows == COUNTED else max(tensor.rows, 0)
                shape = (found, *tensor.shape[1:])
                size = prod(shape) * np.dtype(NUMPY[tensor.kind]).itemsize
                address = self._allocators[name].reallocate_output(name, 0, size, 256)
                if address is None:
                    return False
                if tensor.rows != UNTOLD:
                    self._allocators[name].notify_shape(name, shape)
            out = _at(address, shape, NUMPY[tensor.kind])
            index = np.arange(out.size).reshape(shape)
            rows = np.resize(sums, len(out)).reshape(-1, *(1,) * (len(shape) - 1))
            out[:] = (rows * tensor.factor + index).astype(out.dtype)
        return True


class Context10(Context):
    """IExecutionContext since TensorRT 10."""

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= SCRATCH
        self._memory = memory


class Engine:
    """ICudaEngine."""

    def __init__(self, plan: Plan, logger: Any, *, shares_profiles: bool) -> None:
        self._plan = plan
        self._logger = logger
        self._shares_profiles = shares_profiles
        self._contexts: WeakSet[Context] = WeakSet()
        self.device_memory_size = SCRATCH
        self._tensors = {**plan.inputs, **plan.outputs}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._plan.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name].kind

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0
        rest = self._tensors[name].shape[1:]
        return [(1, *rest), (1, *rest), (self._plan.most, *rest)]

    def create_execution_context(self, strategy: str = "STATIC") -> Context | None:
        return self._context(has_memory=strategy == "STATIC")

    def create_execution_context_without_device_memory(self) -> Context | None:
        return self._context(has_memory=False)

    def _context(self, *, has_memory: bool) -> Context | None:
        if self._plan.no_memory:
            return None
        alone = self._shares_profiles or not self._contexts
        made = (Context if not self._shares_profiles else Context10)(
            self._plan, self._logger, has_profile=alone, has_memory=has_memory
        )
        self._contexts.add(made)
        return made


@dataclass
class Runtime:
    """Runtime: what is no pickled plan is told to the logger and not loaded."""

    logger: Any
    seen: list[bytes] = field(default_factory=list)
    shares_profiles: bool = False

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        self.seen.append(data)
        try:
            plan = pickle.loads(data)  # noqa: S301 -- made by the test itself
        except pickle.UnpicklingError:
            self.logger.log("Severity.ERROR", "1: [x.cpp::y::1] Error Code 1: Magic tag mismatch")
            return None
        return Engine(plan, self.logger, shares_profiles=self.shares_profiles)


def tensorrt(version: str = "8.5.2.2") -> TensorRT:
    """TensorRT of this release, with the runtime of this module."""
    module: ModuleType = release(version)
    modern = int(version.split(".", maxsplit=1)[0]) >= 10
    if modern:
        module.ExecutionContextAllocationStrategy = SimpleNamespace(  # type: ignore[attr-defined]
            STATIC="STATIC", USER_MANAGED="USER_MANAGED"
        )
    vars(module).update(
        DataType=DataType,
        TensorIOMode=TensorIOMode,
        IOutputAllocator=IOutputAllocator,
        Runtime=partial(Runtime, shares_profiles=modern),
    )
    return TensorRT(module)


def _replay(context: ref[Context], state: object) -> None:
    """A run as it was captured."""
    found = context()
    assert found is not None, "its context was given back before the graph"
    assert found._state() == state, "the context of a graph was given another shape or memory"
    found._run(found._shape)


def _filled(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(count if size == -1 else size for size in shape)


def _at(address: int, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    size = prod(shape) * np.dtype(kind).itemsize
    memory = (ctypes.c_uint8 * size).from_address(address)
    found: NDArray[Any] = np.frombuffer(memory, kind).reshape(shape)
    return found
