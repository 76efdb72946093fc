"""TensorRT's allocator for an output whose size only the run shows (NMS inside)."""

from __future__ import annotations

from typing import Any

from alprd.inference.cuda import Address


def output_allocator(trt: Any, address: Address, room: int) -> Any:  # noqa: ANN401
    """Hands out one block of memory, and remembers the shape that came into it."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.shape: tuple[int, ...] = ()

        def reallocate_output(
            self,
            tensor_name: str,  # noqa: ARG002
            memory: int,  # noqa: ARG002
            size: int,
            alignment: int,  # noqa: ARG002
        ) -> int | None:
            return address if size <= room else None

        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int | None:
            del stream
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:  # noqa: ANN401, ARG002
            self.shape = tuple(int(size) for size in shape)

    return Allocator()
