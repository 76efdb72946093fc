"""What every backend offers: a network that turns a batch into named outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from alprd.ports import EngineError

BATCH = 0
"""In a shape: the axis of the batch, where it is not the first one."""

ROWS = -1
"""First in a shape: rows of all images together, as many as there happen to be; no batch axis."""

Shape = tuple[int | None, ...]
"""None where any size is right. The first axis is the batch, unless `BATCH` or `ROWS` is there."""

ANY: Shape = ()
"""The shape of an output that may have any; the first axis is the batch."""

Outputs = Mapping[str, NDArray[Any]]
"""What a network returns, in the types that it returns."""


class Network(Protocol):
    """A loaded model; used by one thread."""

    @property
    def max_batch(self) -> int:
        """Rows that one call takes at most."""

    def run(self, rows: NDArray[Any], count: int) -> Outputs:
        """Outputs of the first `count` rows (see `of_first`). Raises EngineError.

        Args:
            rows: (max_batch, *input shape) the whole input buffer.
            count: rows that hold something.
        """


def batch_axis(shape: Shape) -> int | None:
    """Which axis of an output is the batch; None if it has none."""
    if shape and shape[0] == ROWS:
        return None
    return shape.index(BATCH) if BATCH in shape else 0


def of_first(result: NDArray[Any], shape: Shape, count: int) -> NDArray[Any]:
    """The part of an output that belongs to the first `count` rows of the input."""
    axis = batch_axis(shape)
    if axis is None or result.ndim <= axis:
        return result
    return result[(slice(None),) * axis + (slice(count),)]


def shape_problem(wanted: Shape, found: tuple[Any, ...]) -> str | None:
    """How a declared or real shape contradicts the wanted one; None when it fits.

    Sizes that are not known (None, or a name in an ONNX file) fit.
    """
    fits = wanted == ANY or (
        len(wanted) == len(found)
        and all(
            size in (None, BATCH, ROWS) or not isinstance(other, int) or size == other
            for size, other in zip(wanted, found, strict=True)
        )
    )
    if fits:
        return None
    return f"has shape {describe_shape(found)} instead of {describe_shape(wanted)}"


def describe_shape(shape: tuple[Any, ...]) -> str:
    """(N, 3, 64, 160) style; "?" for what is not fixed."""
    return f"({', '.join('?' if size in (None, BATCH, ROWS) else str(size) for size in shape)})"


def check_outputs(outputs: Outputs, wanted: Mapping[str, Shape], count: int, origin: str) -> None:
    """Refuse real outputs whose shapes differ from what the manifest implies.

    Args:
        outputs: what a run returned.
        wanted: shape per output name, the batch first.
        count: rows that were run.
        origin: the model's file, for the message.

    Raises:
        EngineError: naming the output.
    """
    for name, shape in wanted.items():
        axis = batch_axis(shape)
        exact = [count if place == axis else size for place, size in enumerate(shape)]
        problem = shape_problem(tuple(exact), outputs[name].shape)
        if problem is not None:
            raise EngineError(
                f"{origin}: output {name!r} {problem}; correct [decoder] in the manifest, or "
                "export the model again"
            )
