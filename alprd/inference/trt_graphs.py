"""An engine's runs as CUDA graphs: one call instead of a launch per layer.

A graph belongs to the state of the execution context that it was captured of: its shapes, its
addresses, its scratch memory. So every number of rows has a context of its own, which never gets
another shape, and all of them work in the same scratch memory, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from alprd.inference.cuda import Device, Stream
from alprd.inference.cuda_graphs import Graph, GraphError
from alprd.stillness import STILLNESS

log = structlog.get_logger(__name__)

_EXACT = 8
_PARTS = 4
"""Sizes of batches from one power of two to the next, above the exact ones."""

_ATTEMPTS = 3
"""A library that waits for the whole GPU on another thread, as a decoder may, ends a capture."""


def rounded_rows(count: int, most: int) -> int:
    """So many rows are run for `count` of them, lest every count have a graph of its own.

    Small batches are exact: frames are dear, and few plates come at a time. Larger ones run less
    than a quarter more rows than they have (9 as 10, 17 as 20, 33 as 40), for those cost a small
    GPU as much time as the others; finer sizes would take more of its memory, as TensorRT before 10
    keeps the weights once more for each. With graphs they are rounded whether there is a graph yet
    or not, for a result must not depend on that.
    """
    if count <= _EXACT:
        return count
    step = (1 << (count - 1).bit_length()) // 2 // _PARTS
    return min(most, -(-count // step) * step)


@dataclass(slots=True)
class Prepared:
    """An execution context of a number of rows, with its shape and addresses.

    Attributes:
        engine: kept as long as the context.
        context: TensorRT's.
        graph: of its run, once there is one.
    """

    engine: Any
    context: Any
    graph: Graph | None = None


class EngineGraphs:
    """The graphs of one engine, made as they are asked for; used where the context is current.

    Args:
        prepare: makes what a number of rows needs. Raises GraphError.
        device: the GPU.
        name: of the engine, for the log.
        errors: what TensorRT says went wrong; it grows.
    """

    def __init__(
        self,
        prepare: Callable[[int], Prepared],
        device: Device,
        name: str,
        errors: Sequence[str],
    ) -> None:
        self._prepare = prepare
        self._errors = errors
        self._device = device
        self._name = name
        # A stream of its own: should a capture fail, the others have not heard of it.
        self._stream = device.stream()
        self._seen: set[int] = set()
        self._prepared: dict[int, Prepared] = {}
        self._attempts = _ATTEMPTS

    @property
    def captured(self) -> tuple[int, ...]:
        """The numbers of rows that there are graphs of."""
        return tuple(sorted(rows for rows, each in self._prepared.items() if each.graph))

    def run(self, rows: int, stream: Stream) -> bool:
        """Let the stream run so many rows, if this is a way to do it.

        Returns:
            False where it was not done, so that it must be done without a graph.
        """
        prepared = self._prepared.get(rows)
        if prepared is not None and prepared.graph is not None:
            try:
                prepared.graph.launch(stream.handle)
            except GraphError as error:
                self._give_up(error)
                return False
            return True
        if not self._attempts:
            return False
        if rows not in self._seen:  # it may have been the only time
            self._seen.add(rows)
            return False
        return self._begin(rows, stream)

    def _begin(self, rows: int, stream: Stream) -> bool:
        """Run the rows in a context of their own, and then capture that."""
        done = False
        try:
            prepared = self._prepared.get(rows)
            if prepared is None:
                prepared = self._prepared[rows] = self._prepare(rows)
            context = prepared.context
            # What the stream has yet to do uses the same memory, and writes the input.
            stream.synchronize()
            # The first run with a shape allocates and loads, which no capture bears.
            self._execute(context)
            self._stream.synchronize()
            done = True
            with STILLNESS.captured() as still:
                if still:
                    prepared.graph = self._device.capture(
                        self._stream, lambda: self._execute(context)
                    )
                    log.debug("inference.graph_captured", engine=self._name, rows=rows)
                    self._attempts = _ATTEMPTS
        except GraphError as error:
            self._attempts = self._attempts - 1 if done else 0
            # The next time with a context that has seen no such thing. Other graphs are none the
            # worse for it.
            self._prepared.pop(rows, None)
            if self._attempts:
                log.debug("inference.graph_not_captured", engine=self._name, error=str(error))
            else:
                self._tell(error)
        return done

    def _execute(self, context: Any) -> None:  # noqa: ANN401 -- a library without types
        known = len(self._errors)
        if not context.execute_async_v3(self._stream.handle):
            raise GraphError(f"TensorRT refuses: {'; '.join(self._errors[known:]) or 'no reason'}")

    def _tell(self, error: Exception) -> None:
        log.warning(
            "inference.graphs_given_up",
            engine=self._name,
            error=str(error),
            rows=list(self.captured),
            effect="the CPU launches batches of other numbers of rows layer by layer",
        )

    def _give_up(self, error: Exception) -> None:
        """Do without graphs from now on; what was given to a stream is done first."""
        self._attempts = 0
        self._device.synchronize()
        self.close()
        self._tell(error)

    def close(self) -> None:
        """Give all graphs back, each before its context; no stream has one any more."""
        for prepared in self._prepared.values():
            if prepared.graph is not None:
                prepared.graph.close()
        self._prepared.clear()
