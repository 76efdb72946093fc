"""CUDA graphs through the driver: what a stream was given once, launched again by a single call.

PyCUDA has none, and cuda-python is on no Jetson by default, so the driver's own library is asked;
its contexts and streams are those of PyCUDA.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, Final, Protocol

LIBRARY: Final = "libcuda.so.1"

_THREAD_LOCAL: Final = 1
"""While a stream is captured only the capturing thread must not allocate, or wait for a stream.

Waiting for the whole context is refused to every thread, in any mode: see `alprd.stillness`.
"""


class GraphError(Exception):
    """There can be no such graph here; the message says why. Nothing was given to any stream."""


class Graph(Protocol):
    """Work that was captured; whoever captured it keeps alive what it works with."""

    def launch(self, stream_handle: int) -> None:
        """Give it to a stream. Raises GraphError when that was not done."""

    def close(self) -> None:
        """Give it back, once no stream has it any more; callable more than once."""


class GraphDriver:
    """The driver's functions for graphs; call them where the context is current.

    Args:
        library: the driver's, if it is not to be looked for.
    """

    def __init__(self, library: Any = None) -> None:  # noqa: ANN401 -- ctypes' own type is vague
        try:
            self._library = ctypes.CDLL(LIBRARY) if library is None else library
            for name, arguments in _PROTOTYPES.items():
                function = getattr(self._library, name)
                function.argtypes, function.restype = arguments, c_int
        except (OSError, AttributeError) as error:
            raise GraphError(f"this NVIDIA driver has no CUDA graphs ({error})") from error

    def capture(self, stream_handle: int, work: Callable[[], None]) -> Graph:
        """Record what `work` gives to the stream, instead of doing it.

        Args:
            stream_handle: of a stream that nobody else uses.
            work: gives it, from this thread; what it raises is passed on.

        Raises:
            GraphError: something in it cannot be captured.
        """
        self.call("cuStreamBeginCapture_v2", stream_handle, _THREAD_LOCAL)
        graph = c_void_p()
        try:
            work()
        except BaseException:
            # Whatever happened, the stream must not stay as it is.
            with suppress(GraphError):
                self.call("cuStreamEndCapture", stream_handle, byref(graph))
            self._destroy(graph)
            raise
        try:
            self.call("cuStreamEndCapture", stream_handle, byref(graph))
            nodes = c_size_t()
            self.call("cuGraphGetNodes", graph, None, byref(nodes))
            if not nodes.value:
                raise GraphError("nothing was captured")
            executable = c_void_p()
            self.call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self._destroy(graph)
        return _DriverGraph(self, int(executable.value or 0))

    def _destroy(self, graph: c_void_p) -> None:
        if graph.value:
            with suppress(GraphError):
                self.call("cuGraphDestroy", graph)

    def call(self, name: str, *arguments: object) -> None:
        """One function. Raises GraphError."""
        code = getattr(self._library, name)(*arguments)
        if code == 0:
            return
        text = c_char_p()
        self._library.cuGetErrorString(code, byref(text))
        reason = text.value.decode(errors="replace") if text.value else f"error {code}"
        raise GraphError(f"{name.removesuffix('_v2')}: {reason}")


class _DriverGraph:
    """An executable graph of the driver."""

    def __init__(self, driver: GraphDriver, executable: int) -> None:
        self._driver = driver
        self._executable = executable

    def launch(self, stream_handle: int) -> None:
        self._driver.call("cuGraphLaunch", self._executable, stream_handle)

    def close(self) -> None:
        executable, self._executable = self._executable, 0
        if executable:
            # Of a GPU that failed nothing is left to be given back.
            with suppress(GraphError):
                self._driver.call("cuGraphExecDestroy", executable)


_PROTOTYPES: Final = {
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphGetNodes": (c_void_p, c_void_p, POINTER(c_size_t)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}
