"""Networks in the shapes that other projects export, with weights from a seed.

Each looks at the mean colours of a grid of cells and answers with boxes, scores or characters in
the form of a YOLO head, of end-to-end rows, of an SSD, of a slot or a CTC reader. They know nothing
of plates; what is tested is what becomes of their outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alprd.demo.plates import YELLOW_UK, render_plate
from support.onnx_graphs import Graph, Tensor, serialised, write_folder

KINDS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
}
TRAINED = Path(__file__).parents[1] / "data" / "models" / "lprnet" / "model.onnx"
_PICTURE = np.zeros((24, 32, 3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a network takes."""

    size: tuple[int, int]
    layout: str = "NCHW"
    colour: str = "RGB"
    type: str = "float32"
    scale: float = 1.0 / 255.0
    mean: float = 0.0
    std: float = 1.0
    batch: int | str = "N"

    @property
    def channels(self) -> int:
        return 1 if self.colour == "GRAY" else 3

    @property
    def tensor(self) -> Tensor:
        width, height = self.size
        if self.layout == "NCHW":
            return KINDS[self.type], [self.batch, self.channels, height, width]
        return KINDS[self.type], [self.batch, height, width, self.channels]

    @property
    def table(self) -> dict[str, Any]:
        return {
            "name": "images",
            "type": self.type,
            "layout": self.layout,
            "colour": self.colour,
            "width": self.size[0],
            "height": self.size[1],
            "resize": "letterbox",
            "scale": self.scale,
            "mean": [self.mean] * self.channels,
            "std": [self.std] * self.channels,
        }


def cells(graph: Graph, look: Look, values: int, cell: int, seed: int) -> str:
    """(N, values, A) of a picture: a linear layer on the mean colour of each cell's pixels."""
    x = "images"
    if look.type != "float32":
        x = graph.add("Cast", x, to=TensorProto.FLOAT)
    if look.type == "uint8":
        x = graph.add("Mul", x, graph.floats(1.0 / 255.0))
    if look.layout == "NHWC":
        x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.add("AveragePool", x, kernel_shape=[cell, cell], strides=[cell, cell])
    spread = 2.0 * look.std * (1.0 if look.type == "uint8" else 1.0 / (255.0 * look.scale))
    rng = np.random.default_rng(seed)
    weights = rng.normal(0.0, 2.0, (values, look.channels, 1, 1)) * spread
    bias = -weights.sum(axis=(1, 2, 3)) * (0.5 / spread * 2.0 - look.mean) / look.std
    if look.type == "uint8":
        bias = -0.5 * weights.sum(axis=(1, 2, 3))
    w = graph.constant(weights.astype(np.float32))
    b = graph.constant(bias.astype(np.float32))
    x = graph.add("Conv", x, w, b, kernel_shape=[1, 1])
    return graph.add("Reshape", x, graph.ints(0, values, -1))


def part(graph: Graph, x: str, start: int, end: int, axis: int = 1) -> str:
    """A slice along one axis."""
    return graph.add("Slice", x, graph.ints(start), graph.ints(end), graph.ints(axis))


def boxes(graph: Graph, x: str, size: tuple[int, int], cell: int) -> tuple[str, str]:
    """(N, 2, A) centres and (N, 2, A) sizes in input pixels, of the first four values."""
    columns, rows = size[0] // cell, size[1] // cell
    gx, gy = np.meshgrid(np.arange(columns), np.arange(rows))
    grid = (np.stack([gx.ravel(), gy.ravel()]) + 0.5) * cell
    moved = graph.add("Mul", graph.add("Tanh", part(graph, x, 0, 2)), graph.floats(0.7 * cell))
    centre = graph.add("Add", moved, graph.constant(grid[None].astype(np.float32)))
    grown = graph.add("Sigmoid", part(graph, x, 2, 4))
    span = graph.floats(3.0 * cell, 1.2 * cell, shape=(1, 2, 1))
    least = graph.floats(20.0, 8.0, shape=(1, 2, 1))
    return centre, graph.add("Add", graph.add("Mul", grown, span), least)


def corner_boxes(graph: Graph, centre: str, size: str) -> str:
    """(N, 4, A) x1 y1 x2 y2."""
    half = graph.add("Mul", size, graph.floats(0.5))
    low, high = graph.add("Sub", centre, half), graph.add("Add", centre, half)
    return graph.add("Concat", low, high, axis=1)


def write_detector(
    folder: Path,
    graph: Graph,
    *,
    look: Look,
    outputs: Mapping[str, Tensor],
    opset: int,
    decoder: Mapping[str, Any],
) -> Path:
    """The folder of a detector."""
    model = serialised(graph, {"images": look.tensor}, outputs, opset)
    quad = [[1, 1], [20, 1], [20, 9], [1, 9]]
    tables = {
        "": {"task": "detect"},
        "input": look.table,
        "decoder": decoder,
        "selftest": {"image": "selftest.png", "quad": quad},
    }
    write_folder(folder, model, _PICTURE, tables)
    return folder


def head(
    folder: Path,
    *,
    look: Look,
    opset: int,
    decoder: Mapping[str, Any],
    classes: int,
    cell: int = 32,
    extra: int = 0,
) -> Path:
    """A raw YOLO head: [box, (objectness), classes, extra values] per cell."""
    graph = Graph()
    objectness = int(decoder.get("objectness", False))
    values = 4 + objectness + classes + extra
    x = cells(graph, look, values, cell, seed=values)
    centre, size = boxes(graph, x, look.size, cell)
    scores = part(graph, x, 4, 4 + objectness + classes)
    if decoder.get("activation", "none") == "none":
        scores = graph.add("Sigmoid", scores)
    parts = [centre, size, scores]
    last = part(graph, x, 4 + objectness + classes, values) if extra else None
    if extra == 1 and last is not None:
        parts.append(last)  # an angle
    elif last is not None:
        # Corners about the centre: four pairs, the box's own corners moved a little.
        signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        each = extra // 4
        for k, sign in enumerate(signs):
            at = graph.add("Mul", size, graph.floats(*(0.45 * s for s in sign), shape=(1, 2, 1)))
            shift = graph.add("Tanh", part(graph, last, k * each, k * each + 2))
            parts.append(graph.add("Add", graph.add("Add", centre, at), shift))
            if each == 3:
                parts.append(graph.add("Sigmoid", part(graph, last, k * 3 + 2, k * 3 + 3)))
    found = graph.add("Concat", *parts, axis=1)
    number = (look.size[0] // cell) * (look.size[1] // cell)
    shape: list[int | str] = [look.batch, values, number]
    if decoder.get("layout", "NCA") == "NAC":
        found = graph.add("Transpose", found, perm=[0, 2, 1])
        shape = [look.batch, number, values]
    kind = TensorProto.FLOAT
    if look.type == "float16":
        kind = TensorProto.FLOAT16
        graph.add("Cast", found, to=kind, output="output0")
    else:
        graph.add("Identity", found, output="output0")
    return write_detector(
        folder, graph, look=look, outputs={"output0": (kind, shape)}, opset=opset, decoder=decoder
    )


def suppressed(
    folder: Path, *, look: Look, opset: int, decoder: Mapping[str, Any], classes: int
) -> Path:
    """YOLO v9 end to end: rows of batch x1 y1 x2 y2 class score, out of NonMaxSuppression."""
    graph, cell = Graph(), 32
    x = cells(graph, look, 4 + classes, cell, seed=9)
    corners = corner_boxes(graph, *boxes(graph, x, look.size, cell))
    scores = graph.add("Sigmoid", part(graph, x, 4, 4 + classes))  # (N, C, A)
    by_cell = graph.add("Transpose", corners, perm=[0, 2, 1])  # (N, A, 4)
    _rows(graph, by_cell, scores)
    outputs = {"output": (TensorProto.FLOAT, ["R", 7])}
    return write_detector(folder, graph, look=look, outputs=outputs, opset=opset, decoder=decoder)


def _rows(graph: Graph, by_cell: str, scores: str) -> None:
    """Output (R, 7) of boxes (N, A, 4) and scores (N, C, A)."""
    chosen = graph.add(
        "NonMaxSuppression",
        by_cell,
        scores,
        graph.ints(100),
        graph.floats(0.45, shape=(1,)),
        graph.floats(0.3, shape=(1,)),
    )  # (R, 3) batch, class, cell
    column = [part(graph, chosen, k, k + 1, axis=1) for k in range(3)]
    place = graph.add("Concat", column[0], column[2], axis=1)
    box = graph.add("GatherND", by_cell, place)
    score = graph.add("GatherND", scores, chosen)
    numbers = [graph.add("Cast", each, to=TensorProto.FLOAT) for each in column[:2]]
    deep = graph.add("Reshape", score, graph.ints(-1, 1))
    graph.add("Concat", numbers[0], box, numbers[1], deep, axis=1, output="output")


def best_rows(
    folder: Path, *, look: Look, opset: int, decoder: Mapping[str, Any], classes: int, rows: int
) -> Path:
    """YOLO v10: (N, rows, 6) x1 y1 x2 y2 score class of the best cells, nothing suppressed."""
    graph, cell = Graph(), 32
    x = cells(graph, look, 4 + classes, cell, seed=19)
    corners = corner_boxes(graph, *boxes(graph, x, look.size, cell))
    by_cell = graph.add("Transpose", corners, perm=[0, 2, 1])
    scores = graph.add("Sigmoid", part(graph, x, 4, 4 + classes))
    best = graph.add("ReduceMax", scores, axes=[1], keepdims=0)  # (N, A)
    told = graph.add("ArgMax", scores, axis=1, keepdims=0)
    graph.nodes.append(_top(best, graph.ints(rows)))
    told = graph.add("GatherElements", told, "top_i", axis=1)
    told = graph.add("Cast", told, to=TensorProto.FLOAT)
    index = graph.add("Reshape", "top_i", graph.ints(-1, rows, 1))
    wide = graph.add("Tile", index, graph.ints(1, 1, 4))
    box = graph.add("GatherElements", by_cell, wide, axis=1)
    deep = [graph.add("Reshape", each, graph.ints(-1, rows, 1)) for each in ("top_v", told)]
    graph.add("Concat", box, *deep, axis=2, output="output0")
    outputs = {"output0": (TensorProto.FLOAT, [look.batch, rows, 6])}
    return write_detector(folder, graph, look=look, outputs=outputs, opset=opset, decoder=decoder)


def _top(values: str, count: str) -> Any:
    from onnx import helper  # noqa: PLC0415 -- the one node here with two outputs

    return helper.make_node("TopK", [values, count], ["top_v", "top_i"], axis=1)


def ssd(
    folder: Path,
    *,
    look: Look,
    opset: int,
    decoder: Mapping[str, Any],
    classes: int,
    cell: int = 32,
    deep: bool = False,
) -> Path:
    """SSD: boxes (N, A, 4) and scores (N, A, classes), or boxes, best class, score and count."""
    graph = Graph()
    x = cells(graph, look, 4 + classes, cell, seed=11)
    found = corner_boxes(graph, *boxes(graph, x, look.size, cell))
    if decoder.get("units") == "fraction":
        whole = graph.floats(*look.size, *look.size, shape=(1, 4, 1))
        found = graph.add("Div", found, whole)
    if decoder.get("boxes") == "yxyx":
        found = graph.add("Gather", found, graph.ints(1, 0, 3, 2), axis=1)
    by_cell = graph.add("Transpose", found, perm=[0, 2, 1])
    logits = graph.add("Transpose", part(graph, x, 4, 4 + classes), perm=[0, 2, 1])
    number = (look.size[0] // cell) * (look.size[1] // cell)
    names: Mapping[str, str] = decoder["outputs"]
    if "classes" not in names:
        one = [0, number, 1, 4] if deep else [0, number, 4]  # of all classes together, in Darknet
        graph.add("Reshape", by_cell, graph.ints(*one), output=names["boxes"])
        kind = "Identity" if decoder.get("activation") == "softmax" else "Softmax"
        graph.add(
            kind, logits, output=names["scores"], **({"axis": 2} if kind == "Softmax" else {})
        )
        outputs: dict[str, Tensor] = {
            names["boxes"]: (TensorProto.FLOAT, [look.batch, *one[1:]]),
            names["scores"]: (TensorProto.FLOAT, [look.batch, number, classes]),
        }
        return write_detector(
            folder, graph, look=look, outputs=outputs, opset=opset, decoder=decoder
        )
    sure = graph.add("Softmax", logits, axis=2)
    foreground = part(graph, sure, 1, classes, axis=2)
    score = graph.add("ReduceMax", foreground, axes=[2], keepdims=0)
    told = graph.add("Add", graph.add("ArgMax", foreground, axis=2, keepdims=0), graph.ints(1))
    batched = decoder.get("batched", True)
    lead: list[int | str] = [look.batch, number] if batched else [number]
    told_kind = TensorProto.FLOAT if batched else TensorProto.INT64  # TensorFlow's are floats
    told = graph.add("Cast", told, to=told_kind)
    shapes = {"boxes": graph.ints(-1, number, 4), "one": graph.ints(-1, number)}
    if not batched:
        shapes = {"boxes": graph.ints(-1, 4), "one": graph.ints(-1)}
    graph.add("Reshape", by_cell, shapes["boxes"], output=names["boxes"])
    graph.add("Reshape", score, shapes["one"], output=names["scores"])
    graph.add("Reshape", told, shapes["one"], output=names["classes"])
    outputs = {
        names["boxes"]: (TensorProto.FLOAT, [*lead, 4]),
        names["scores"]: (TensorProto.FLOAT, lead),
        names["classes"]: (told_kind, lead),
    }
    if "count" in names:
        # The first two thirds of the cells are said to count.
        some = graph.add("ReduceMax", score, axes=[1], keepdims=0)
        none = graph.add("Mul", some, graph.floats(0.0))
        graph.add("Add", none, graph.floats(float(number * 2 // 3)), output=names["count"])
        outputs[names["count"]] = (TensorProto.FLOAT, [look.batch])
    return write_detector(folder, graph, look=look, outputs=outputs, opset=opset, decoder=decoder)


def write_reader(
    folder: Path,
    model: bytes,
    look: Look,
    decoder: Mapping[str, Any],
    *,
    picture: NDArray[np.uint8] = _PICTURE,
    plate: str = "TEST1",
) -> Path:
    """The folder of a reader."""
    tables = {
        "": {"task": "read"},
        "input": {**look.table, "resize": "stretch"},
        "decoder": decoder,
        "selftest": {"image": "selftest.png", "plate": plate},
    }
    write_folder(folder, model, picture, tables)
    return folder


def slots(
    folder: Path,
    *,
    look: Look,
    opset: int,
    decoder: Mapping[str, Any],
    number: int,
    classes: int,
) -> Path:
    """A slot reader: tokens, one layer of MobileViT v2's separable attention, a linear head."""
    graph, depth = Graph(), 12
    rng = np.random.default_rng(classes)
    x = cells(graph, look, depth, 10, seed=12)  # (N, depth, A)
    tokens = graph.add("Transpose", x, perm=[0, 2, 1])  # (N, A, depth)
    number_of = (look.size[0] // 10) * (look.size[1] // 10)

    def dense(value: str, rows: int, columns: int, spread: float) -> str:
        weights = rng.normal(0.0, spread, (rows, columns)).astype(np.float32)
        return graph.add("MatMul", value, graph.constant(weights))

    weight = graph.add("Transpose", dense(tokens, depth, 1, 0.5), perm=[0, 2, 1])
    weight = graph.add("Softmax", weight, axis=2)  # (N, 1, A)
    context = graph.add("MatMul", weight, dense(tokens, depth, depth, 0.5))  # (N, 1, depth)
    values = graph.add("Relu", dense(tokens, depth, depth, 0.5))
    mixed = graph.add("Add", graph.add("Mul", values, context), tokens)
    flat = graph.add("Reshape", mixed, graph.ints(0, number_of * depth))
    logits = dense(flat, number_of * depth, number * classes, 0.2)
    shaped = graph.add("Reshape", logits, graph.ints(0, number, classes))
    if decoder.get("activation", "none") == "none":
        shaped = graph.add("Softmax", shaped, axis=2)
    shape: list[int | str] = [look.batch, number, classes]
    if "slots" in decoder:
        shaped = graph.add("Reshape", shaped, graph.ints(0, number * classes))
        shape = [look.batch, number * classes]
    graph.add("Identity", shaped, output="plate")
    outputs = {"plate": (TensorProto.FLOAT, shape)}
    model = serialised(graph, {"images": look.tensor}, outputs, opset)
    return write_reader(folder, model, look, decoder)


def columns(
    folder: Path, *, look: Look, opset: int, decoder: Mapping[str, Any], classes: int
) -> Path:
    """A CTC reader in the manner of CRNN: (T, N, classes) log-probabilities."""
    graph = Graph()
    x = "images"
    weights = np.random.default_rng(13).normal(0.0, 3.0, (classes, look.channels, 1, 1))
    x = graph.add(
        "AveragePool", x, kernel_shape=[look.size[1], 4], strides=[look.size[1], 4]
    )  # (N, C, 1, T)
    x = graph.add("Conv", x, graph.constant(weights.astype(np.float32)), kernel_shape=[1, 1])
    x = graph.add("Reshape", x, graph.ints(0, classes, -1))
    x = graph.add("Transpose", x, perm=[2, 0, 1])
    graph.add("LogSoftmax", x, axis=2, output="log_probs")
    outputs = {"log_probs": (TensorProto.FLOAT, [look.size[0] // 4, look.batch, classes])}
    model = serialised(graph, {"images": look.tensor}, outputs, opset)
    return write_reader(folder, model, look, decoder)


def frame(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """(H, W, 3) BGR blocks of colour."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return np.ascontiguousarray(small.repeat(8, axis=0).repeat(8, axis=1))


def names(count: int) -> Sequence[str]:
    """Labels of a model with so many classes."""
    return [f"class{k}" for k in range(count)]


YELLOW_FORMS = ("yolo-v9-t", "yolo-head", "ssd-tf")


def write_yellow_detector(
    folder: Path, picture: NDArray[np.uint8], quad: Sequence[Sequence[float]], form: str
) -> Path:
    """A detector at 384x384 that finds what is as yellow as `YELLOW_UK`, in one of the forms."""
    graph, side = Graph(), 384
    look = Look(size=(side, side))
    pixels = "images"
    if form == "ssd-tf":
        look = Look(size=(side, side), type="uint8", layout="NHWC", scale=1.0)
        pixels = graph.add("Cast", pixels, to=TensorProto.FLOAT)
        pixels = graph.add("Mul", pixels, graph.floats(1.0 / 255.0))
        pixels = graph.add("Transpose", pixels, perm=[0, 3, 1, 2])
    box, score = _yellow(graph, pixels, side)
    decoder: dict[str, Any] = {
        "labels": ["License Plate"],
        "rename": {"License Plate": "plate"},
    }
    outputs: dict[str, Tensor]
    if form == "yolo-v9-t":
        _rows(graph, box, score)
        outputs = {"output": (TensorProto.FLOAT, ["R", 7])}
        columns = ["batch", "x1", "y1", "x2", "y2", "class", "score"]
        decoder.update(
            {"type": "yolo-end-to-end", "outputs": {"rows": "output"}, "columns": columns}
        )
    elif form == "yolo-head":
        half = graph.floats(0.5)
        low, high = part(graph, box, 0, 2, axis=2), part(graph, box, 2, 4, axis=2)
        centre = graph.add("Mul", graph.add("Add", low, high), half)
        size = graph.add("Sub", high, low)
        cell = graph.add("Concat", centre, size, score, axis=2)  # (N, 1, 5)
        graph.add("Transpose", cell, perm=[0, 2, 1], output="output0")
        outputs = {"output0": (TensorProto.FLOAT, ["N", 5, 1])}
        decoder.update({"type": "yolo", "outputs": {"predictions": "output0"}})
    else:
        turned = graph.add("Gather", box, graph.ints(1, 0, 3, 2), axis=2)
        graph.add("Mul", turned, graph.floats(1.0 / side), output="detection_boxes")
        graph.add("Reshape", score, graph.ints(-1, 1), output="detection_scores")
        nothing = graph.add("Mul", "detection_scores", graph.floats(0.0))
        graph.add("Add", nothing, graph.floats(1.0), output="detection_classes")
        names = {key: f"detection_{key}" for key in ("boxes", "scores", "classes")}
        outputs = {name: (TensorProto.FLOAT, ["N", 1]) for name in names.values()}
        outputs["detection_boxes"] = (TensorProto.FLOAT, ["N", 1, 4])
        decoder.update(
            {"type": "ssd", "outputs": names, "boxes": "yxyx", "units": "fraction"},
            labels=["background", "License Plate"],
        )
    model = serialised(graph, {"images": look.tensor}, outputs, 12)
    tables = {
        "": {"task": "detect"},
        "input": look.table,
        "decoder": decoder,
        "selftest": {"image": "selftest.png", "quad": quad, "min_iou": 0.7},
    }
    write_folder(folder, model, picture, tables)
    return folder


def _yellow(graph: Graph, pixels: str, side: int) -> tuple[str, str]:
    """(N, 1, 4) x1 y1 x2 y2 around what is yellow, and (N, 1, 1) a score."""
    colour = graph.floats(*(value / 255.0 for value in YELLOW_UK.ground[::-1]), shape=(1, 3, 1, 1))
    distance = graph.add("Abs", graph.add("Sub", pixels, colour))
    near = graph.add("Cast", graph.add("Less", distance, graph.floats(0.2)), to=TensorProto.FLOAT)
    mask = graph.add("ReduceMin", near, axes=[1], keepdims=1)  # (N, 1, H, W)
    edges = []
    for axis, other in ((3, 2), (2, 3)):
        line = graph.add("ReduceMax", mask, axes=[other], keepdims=1)
        back = graph.add("Gather", line, graph.ints(*range(side - 1, -1, -1)), axis=axis)
        ends = []
        for each in (line, back):
            index = graph.add("ArgMax", each, axis=axis, keepdims=1)
            ends.append(graph.add("Cast", index, to=TensorProto.FLOAT))
        edges.append((ends[0], graph.add("Sub", graph.floats(float(side)), ends[1])))
    (x1, x2), (y1, y2) = edges
    box = graph.add("Concat", x1, y1, x2, y2, axis=3)  # (N, 1, 1, 4)
    share = graph.add("ReduceMean", mask, axes=[1, 2, 3], keepdims=0)
    sure = graph.add("Clip", graph.add("Mul", share, graph.floats(500.0)), "", graph.floats(0.95))
    return graph.add("Reshape", box, graph.ints(0, 1, 4)), graph.add(
        "Reshape", sure, graph.ints(-1, 1, 1)
    )


def yellow_street(text: str, x: int, y: int) -> NDArray[np.uint8]:
    """(480, 640, 3) BGR with a yellow plate of 170 x 36 pixels, read-only."""
    image = np.full((480, 640, 3), 90, np.uint8)
    plate = cv2.resize(render_plate(text, YELLOW_UK), (170, 36), interpolation=cv2.INTER_AREA)
    image[y : y + 36, x : x + 170] = plate
    image.setflags(write=False)
    return image


KNOWN_QUAD = ((200, 220), (370, 220), (370, 256), (200, 256))


def write_yellow_models(folder: Path) -> Path:
    """Detectors of every form, and the trained reader."""
    known = yellow_street("LS15EBC", 200, 220)
    for form in YELLOW_FORMS:
        write_yellow_detector(folder / form, known, KNOWN_QUAD, form)
    write_lprnet(folder / "lprnet", known[220:256, 200:370], "LS15EBC")
    return folder


def write_lprnet(folder: Path, crop: NDArray[np.uint8], plate: str) -> Path:
    """The trained CTC reader; `crop` is its known plate, of any size."""
    look = Look(size=(94, 24), colour="BGR", scale=1.0, mean=127.5, std=128.0)
    decoder = {
        "type": "ctc",
        "outputs": {"chars": "logits"},
        "layout": "NCT",
        "alphabet": "0123456789ABCDEFGHJKLMNPQRSTUVWXYZIO-",
        "blank": "-",
        "activation": "softmax",
    }
    return write_reader(folder, TRAINED.read_bytes(), look, decoder, picture=crop, plate=plate)


if __name__ == "__main__":
    # PYTHONPATH=tests python -m support.foreign_models: writes what the tests on a GPU run.
    write_yellow_models(TRAINED.parents[1])
