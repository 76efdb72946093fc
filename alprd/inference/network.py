"""What every backend offers: a network that turns a batch into named outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alprd.ports import EngineError

Shape = tuple[int | None, ...]
"""None where any size is right."""

Outputs = Mapping[str, NDArray[np.float32]]


class Network(Protocol):
    """A loaded model; used by one thread."""

    @property
    def max_batch(self) -> int:
        """Rows that one call takes at most."""

    def run(self, rows: NDArray[np.float32], count: int) -> Outputs:
        """Outputs of the first `count` rows. Raises EngineError.

        Args:
            rows: (max_batch, *input shape) the whole input buffer.
            count: rows that hold something.
        """


def shape_problem(wanted: Shape, found: tuple[Any, ...]) -> str | None:
    """How a declared or real shape contradicts the wanted one; None when it fits.

    Sizes that are not known (None, or a name in an ONNX file) fit.
    """
    fits = len(wanted) == len(found) and all(
        size is None or not isinstance(other, int) or size == other
        for size, other in zip(wanted, found, strict=True)
    )
    if fits:
        return None
    return f"has shape {describe_shape(found)} instead of {describe_shape(wanted)}"


def describe_shape(shape: tuple[Any, ...]) -> str:
    """(N, 3, 64, 160) style; "?" for what is not fixed."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


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
        problem = shape_problem((count, *shape[1:]), outputs[name].shape)
        if problem is not None:
            raise EngineError(
                f"{origin}: output {name!r} {problem}; correct [decoder] in the manifest, or "
                "export the model again"
            )
