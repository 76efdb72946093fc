"""The same network in half precision, for TensorRT that takes the precision from the file.

    python -m engines.training.halve engines/plate-detector        # model.fp16.onnx, and the manifest

TensorRT 10.12 and later build FP16 from such a file; earlier ones have a switch for it. Inputs and
outputs stay float32, and so does everything behind the last convolution or matrix product: a
pixel position of 600 has steps of half a pixel in FP16.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engines.training.variants import model_file, set_variant

FILE = "model.fp16.onnx"
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Inputs that the operator wants in float32, whatever the rest is.
ALWAYS_FLOAT = {"Resize": (1, 2), "Upsample": (1,)}


def decoding_nodes(graph: onnx.GraphProto) -> set[str]:
    """First outputs of the nodes behind which nothing heavy comes."""
    feeds_heavy: set[str] = set()
    last = set()
    for node in reversed(graph.node):
        if node.op_type in HEAVY or feeds_heavy.intersection(node.output):
            feeds_heavy.update(node.input)
        else:
            last.add(node.output[0])
    return last


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of everything that is float32 in the network."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {each.name for each in inferred.initializer if each.data_type == TensorProto.FLOAT}
    for each in (*inferred.value_info, *inferred.input, *inferred.output):
        if each.type.tensor_type.elem_type == TensorProto.FLOAT:
            found.add(each.name)
    return found


def constants_as_weights(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initializers, so that there is one kind of constant."""
    nodes = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            value.name = node.output[0]
            graph.initializer.append(value)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


class Halver:
    """Rewrites a graph node by node, in its order, so that it stays sorted."""

    def __init__(self, model: onnx.ModelProto) -> None:
        constants_as_weights(model.graph)
        self.graph = model.graph
        self.floats = float_tensors(model)
        self.decoding = decoding_nodes(self.graph)
        self.weights = {each.name: each for each in self.graph.initializer}
        self.made: dict[tuple[str, int], str] = {}
        self.half: set[str] = set()
        self.kept: dict[str, TensorProto] = {}

    def as_type(self, name: str, half: bool) -> Iterator[NodeProto]:
        """Nodes that make the tensor there in this type; `self.made` then says its name."""
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        if (name, kind) in self.made:
            return
        if name in self.weights:
            new = f"{name}_half" if half else name
            if half:
                values = numpy_helper.to_array(self.weights[name])
                limit = np.finfo(np.float16).max
                self.kept[new] = numpy_helper.from_array(
                    np.clip(values, -limit, limit).astype(np.float16), new
                )
            else:
                self.kept[new] = self.weights[name]
            self.made[name, kind] = new
        elif (name in self.half) == half:
            self.made[name, kind] = name
        else:
            new = f"{name}_{'half' if half else 'float'}"
            self.made[name, kind] = new
            yield helper.make_node("Cast", [name], [new], f"{new}_cast", to=kind)

    def node(self, node: NodeProto) -> Iterator[NodeProto]:
        """The node in its own precision, behind the casts that it needs."""
        half = node.output[0] not in self.decoding
        for index, name in enumerate(node.input):
            if name not in self.floats:
                if name in self.weights:
                    self.kept[name] = self.weights[name]
                continue
            here = half and index not in ALWAYS_FLOAT.get(node.op_type, ())
            yield from self.as_type(name, here)
            node.input[index] = self.made[name, TensorProto.FLOAT16 if here else TensorProto.FLOAT]
        if half and node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16
        if half:
            self.half.update(name for name in node.output if name in self.floats)
        yield node

    def rewrite(self) -> None:
        nodes = [new for node in list(self.graph.node) for new in self.node(node)]
        for output in self.graph.output:
            if output.name in self.half:  # float32 at the border: the half one gets another name
                inner = f"{output.name}_half_inside"
                for node in nodes:
                    for names in (node.input, node.output):
                        for index, name in enumerate(names):
                            if name == output.name:
                                names[index] = inner
                nodes.append(helper.make_node("Cast", [inner], [output.name], to=TensorProto.FLOAT))
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(self.kept.values())


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with FP16 weights; its border and its decoding stay float32."""
    Halver(model).rewrite()
    return model


def largest_differences(one: Path, other: Path) -> dict[str, float]:
    """Per output; where the two networks see the same noise."""
    results = []
    for path in (one, other):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        taken = session.get_inputs()[0]
        shape = [2 if isinstance(size, str) else size for size in taken.shape]
        rows = np.random.default_rng(1).random(shape, np.float32)
        if "uint8" in taken.type:
            rows = (rows * 255).astype(np.uint8)
        names = [each.name for each in session.get_outputs()]
        results.append(session.run(names, {taken.name: rows}))
    if not all(np.isfinite(value).all() for value in results[1]):
        raise SystemExit("half precision overflows: look for large weights or activations")
    return {name: float(np.abs(a - b).max()) for name, a, b in zip(names, *results, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="+", help="a model's folder")
    for folder in parser.parse_args().folder:
        model, file = model_file(folder), folder / FILE
        half = halve(onnx.load(model))
        onnx.checker.check_model(half, full_check=True)
        onnx.save(half, file)
        set_variant(folder, "fp16", FILE)
        print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB; on noise it differs by at most")
        for name, value in largest_differences(model, file).items():
            print(f"  {name:<10} {value:.5f}")


if __name__ == "__main__":
    main()
