"""ONNX graphs, node by node, and the model folders that they end up in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Tables = Mapping[str, Mapping[str, Any]]
Tensor = tuple[int, Sequence[int | str]]
"""ONNX type and shape."""


@dataclass
class Graph:
    """Nodes and constants; names are given in order."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: NDArray[Any]) -> str:
        """A tensor of its own type."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        """A node with one output; the name of that."""
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def floats(self, *values: float, shape: Sequence[int] = ()) -> str:
        """A float32 constant."""
        return self.constant(np.array(values, np.float32).reshape(shape))

    def ints(self, *values: int) -> str:
        """An int64 constant with one axis."""
        return self.constant(np.array(values, np.int64))


def serialised(
    graph: Graph, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], opset: int
) -> bytes:
    """A checked model."""
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "test",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_folder(folder: Path, model: bytes, picture: NDArray[np.uint8], tables: Tables) -> None:
    """model.onnx, selftest.png and manifest.toml; `tables` by name, "" is the top level."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    cv2.imwrite(str(folder / "selftest.png"), picture)
    common = {
        "schema": "alprd.model/1",
        "name": folder.name,
        "version": "1",
        "file": "model.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "licence": "Apache-2.0",
    }
    from support.tiny_models import write_manifest  # noqa: PLC0415 -- that module draws, too

    write_manifest(folder, {**tables, "": {**common, **tables.get("", {})}}, {})
