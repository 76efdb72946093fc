"""What the GPU's detector and reader ask of an engine, and its outputs in host memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alprd.inference.cuda import Address, Device, Stream
from alprd.inference.gpu_memory import Memory
from alprd.inference.network import Network, Outputs, Shape, of_first


class DeviceNetwork(Network, Protocol):
    """A network whose input and outputs lie on the GPU."""

    @property
    def input(self) -> Address:
        """(max_batch, *input shape) in the network's own type; kernels write it."""

    def enqueue(self, count: int, stream: Stream) -> None:
        """Let the stream run the first `count` rows. Raises EngineError."""

    def output(self, name: str) -> Address:
        """Where an output lies; the same for every call."""

    def kind(self, name: str) -> np.dtype[Any]:
        """Type of an output's values."""

    def room(self, name: str) -> int:
        """Bytes that an output takes at most."""

    def size(self, name: str, count: int) -> int:
        """Bytes that an output of so many rows takes at most."""

    def shape(self, name: str, count: int) -> tuple[int, ...]:
        """Of an output of the last call, which had so many rows; known once it is enqueued."""


class HostOutputs:
    """Pinned memory for some outputs; one batch at a time.

    Args:
        network: whose outputs.
        wanted: which, with their shapes.
        device: the GPU.
        memory: where it is taken from.
    """

    def __init__(
        self, network: DeviceNetwork, wanted: Mapping[str, Shape], device: Device, memory: Memory
    ) -> None:
        self._network = network
        self._device = device
        self._wanted = wanted
        self._pinned = {name: memory.pinned(network.room(name)) for name in wanted}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def fetch(self, count: int, stream: Stream) -> None:
        """Let the stream copy the outputs of the call of `count` rows that was enqueued last."""
        network = self._network
        for name, memory in self._pinned.items():
            taken = memory[: network.size(name, count)]
            self._device.download(taken, network.output(name), stream)
        # Once the next batch is enqueued, the network knows of that one's rows only.
        self._shapes = {name: network.shape(name, count) for name in self._pinned}

    def arrays(self, count: int) -> Outputs:
        """What was fetched, of the first `count` rows."""
        found: dict[str, NDArray[Any]] = {}
        for name, memory in self._pinned.items():
            shape, kind = self._shapes[name], self._network.kind(name)
            values = memory[: prod(shape) * kind.itemsize].view(kind).reshape(shape)
            # A copy: the memory belongs to the next batch, and once closed to nobody.
            found[name] = of_first(values, self._wanted[name], count).copy()
        return found
