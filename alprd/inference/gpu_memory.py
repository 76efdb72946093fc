"""Memory on the GPU and pinned memory beside it: owned together, given back together."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from alprd.inference.cuda import Address, Device
from alprd.ports import EngineError


class Memory:
    """What one user of the GPU has allocated; use it where the context is current.

    Args:
        device: the GPU.
        owner: for messages: what needs the memory.
    """

    def __init__(self, device: Device, owner: str) -> None:
        self._device = device
        self._owner = owner
        self._addresses: list[Address] = []
        self._pinned: list[NDArray[np.uint8]] = []

    def on_device(self, size: int) -> Address:
        """So many bytes on the GPU. Raises EngineUnavailable when they are not there."""
        address = self._device.allocate(max(size, 4), self._owner)
        self._addresses.append(address)
        return address

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """(size,) pinned bytes. Raises EngineUnavailable when they are not there."""
        memory = self._device.pinned(max(size, 4), self._owner)
        self._pinned.append(memory)
        return memory

    def free(self, address: Address) -> None:
        """Give one block back."""
        self._addresses.remove(address)
        self._device.free(address)

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        """Give one block of pinned memory back; nobody may look at it any more."""
        self._pinned = [each for each in self._pinned if each is not memory]
        self._device.free_pinned(memory)

    def close(self) -> None:
        """Give everything back; callable more than once, and where the GPU is gone already."""
        addresses, self._addresses = self._addresses, []
        blocks, self._pinned = self._pinned, []
        with suppress(EngineError), self._device.current():
            for address in addresses:
                self._device.free(address)
            for block in blocks:
                self._device.free_pinned(block)


class Block:
    """Device memory that grows when more is asked for, and never shrinks; its content is lost then.

    Args:
        memory: that it belongs to.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._size = 0
        self.address: Address = 0

    def reserve(self, size: int) -> Address:
        """At least so many bytes. Raises EngineUnavailable when they are not there."""
        if size > self._size:
            if self.address:
                self._memory.free(self.address)
                self.address, self._size = 0, 0
            self.address = self._memory.on_device(size)
            self._size = size
        return self.address


class PinnedBlock:
    """Pinned memory that grows as `Block` does.

    Args:
        memory: that it belongs to.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._bytes: NDArray[np.uint8] | None = None

    def reserve(self, size: int) -> NDArray[np.uint8]:
        """At least so many bytes. Raises EngineUnavailable when they are not there."""
        if self._bytes is None or size > len(self._bytes):
            if self._bytes is not None:
                outgrown, self._bytes = self._bytes, None
                self._memory.free_pinned(outgrown)
            self._bytes = self._memory.pinned(size)
        return self._bytes
