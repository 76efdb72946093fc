"""Two small, honest networks for tests, built node by node with their manifests.

`write_detector` finds rectangles whose rim has a marker colour; each marker colour is one cell of
its output, so a picture shows at most one object per colour. `write_reader` reads colour cells:
each character has a colour of its own. `draw_plate` and `draw_vehicle` paint what they look for.
Nothing is trained and nothing depends on trained weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from alprd.core.types import ALPHABET
from support.onnx_graphs import Graph

LABELS = ("plate", "car", "motorcycle", "bus", "truck")
# RGB. With red and blue swapped the first is no marker at all: the self-test sees the difference.
PLATE_MARKERS = ((255, 0, 128), (0, 255, 255), (255, 128, 0), (0, 255, 0))
VEHICLE_MARKERS = {"car": (255, 0, 0), "bus": (0, 0, 255)}  # RGB
REGIONS = ("XD", "XL", "unknown")  # a text that starts with a digit, a letter, nothing
BACKGROUND = (96, 96, 96)

SLOTS = 8
CROP = (160, 64)
MARGINS = (0.04, 0.08)
_FLAT = (304, 104)  # a plate before it is painted into a picture, pixels
_RIM = 16
_CELL = 34

_LEVELS = (52, 103, 154, 205)
PALETTE = np.array([(r, g, b) for r in _LEVELS for g in _LEVELS for b in _LEVELS], np.uint8)[
    np.linspace(0, 63, 37).round().astype(int)
]
"""(37, 3) RGB of every class; apart from each other and from the markers."""

SCALE = 1.0 / 255.0


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """How the input is laid out and normalised; the network undoes it first."""

    layout: str = "NCHW"
    colour: str = "RGB"
    scale: float = SCALE
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Flaws:
    """Ways in which a model can be wrong."""

    nan: bool = False
    logits: bool = False
    batch: int | None = None
    """A fixed batch size is no flaw; it is the third thing that exports differ in."""


def write_models(folder: Path, *, input_size: tuple[int, int] = (320, 192)) -> Path:
    """Both models in `folder`, under the names that the settings have by default."""
    write_detector(folder / "plate-detector", input_size=input_size)
    write_reader(folder / "plate-reader")
    return folder


def write_detector(
    folder: Path,
    *,
    input_size: tuple[int, int] = (320, 192),
    normalisation: Normalisation | None = None,
    flaws: Flaws | None = None,
    manifest: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A detector, its manifest and its self-test; `manifest` overrides keys by table."""
    flaws, look = flaws or Flaws(), normalisation or Normalisation()
    width, height = input_size
    graph = Graph()
    pixels = _undo(graph, "images", look)
    markers = [("plate", rgb) for rgb in PLATE_MARKERS] + list(VEHICLE_MARKERS.items())
    colours = graph.floats(
        *(value / 255.0 for _, rgb in markers for value in rgb), shape=(1, len(markers), 3, 1, 1)
    )
    spread = graph.add("Unsqueeze", pixels, graph.ints(1))
    distance = graph.add("Abs", graph.add("Sub", spread, colours))
    close = graph.add("Less", distance, graph.floats(0.15))
    close = graph.add("Cast", close, to=TensorProto.FLOAT)
    mask = graph.add("ReduceMin", close, axes=[2], keepdims=0)  # (N, A, H, W)
    flat = graph.add("Reshape", mask, graph.ints(0, 0, -1))
    graph.add("Concat", *_farthest(graph, flat, input_size), axis=2, output="corners")
    corners = graph.add("Reshape", "corners", graph.ints(0, 0, 4, 2))
    low = graph.add("ReduceMin", corners, axes=[2], keepdims=0)
    high = graph.add("ReduceMax", corners, axes=[2], keepdims=0)
    graph.add("Concat", low, high, axis=2, output="boxes")
    count = graph.add("ReduceSum", flat, graph.ints(2), keepdims=1)
    score = graph.add("Clip", graph.add("Mul", count, graph.floats(1 / 20)), "", graph.floats(0.9))
    classes = np.zeros((1, len(markers), len(LABELS)), np.float32)
    for cell, (label, _) in enumerate(markers):
        classes[0, cell, LABELS.index(label)] = 1.0
    _finish(graph, graph.add("Mul", score, graph.constant(classes)), "scores", flaws)

    quad = ((0.3 * width, 0.3 * height), (0.7 * width, 0.35 * height))
    quad += ((0.7 * width, 0.75 * height), (0.3 * width, 0.7 * height))
    picture = blank_picture(input_size)
    draw_plate(picture, "TEST1", quad)
    tables: dict[str, dict[str, Any]] = {
        "": {"task": "detect", "name": "plate-detector"},
        "input": _input_table("images", input_size, "letterbox", look),
        "decoder": {
            "type": "alprd-detector",
            "outputs": {"boxes": "boxes", "scores": "scores", "corners": "corners"},
            "labels": list(LABELS),
            "score_threshold": 0.4,
            "nms_iou": 0.5,
        },
        "selftest": {"image": "selftest.png", "quad": [list(p) for p in quad], "min_iou": 0.7},
    }
    outputs = {"boxes": ("A", 4), "scores": ("A", len(LABELS)), "corners": ("A", 8)}
    _write(
        folder,
        graph,
        inputs=("images", _shape(look, input_size)),
        outputs=outputs,
        flaws=flaws,
        picture=picture,
        tables=tables,
        overrides=manifest,
    )
    return folder


def write_reader(
    folder: Path,
    *,
    normalisation: Normalisation | None = None,
    flaws: Flaws | None = None,
    blank: int = len(ALPHABET),
    alphabet: str = ALPHABET,
    sees_corners: bool = False,
    manifest: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A reader, its manifest and its self-test; `manifest` overrides keys by table."""
    flaws, look = flaws or Flaws(), normalisation or Normalisation()
    graph = Graph()
    pixels = _undo(graph, "crops", look)
    flat = graph.add("Reshape", pixels, graph.ints(0, 0, -1))  # (N, 3, H * W)
    colours = graph.add("MatMul", flat, graph.constant(_cell_weights()))  # (N, 3, S)
    spread = graph.add("Unsqueeze", graph.add("Transpose", colours, perm=[0, 2, 1]), graph.ints(2))
    classes = [*alphabet[:blank], None, *alphabet[blank:]]
    own = np.array([len(ALPHABET) if c is None else ALPHABET.index(c) for c in classes])
    palette = graph.constant((PALETTE[own] / 255.0).astype(np.float32)[None, None])
    distance = graph.add("Sub", spread, palette)
    nearness = graph.add(
        "Mul",
        graph.add("ReduceSum", graph.add("Mul", distance, distance), graph.ints(3), keepdims=0),
        graph.floats(-300.0),
    )
    chars = graph.add("Softmax", nearness, axis=2)
    _finish(graph, nearness if flaws.logits else chars, "chars", Flaws(nan=flaws.nan))
    first = graph.add(
        "Squeeze", graph.add("Slice", chars, *map(graph.ints, (0, 1, 1))), graph.ints(1)
    )
    groups = np.zeros((len(classes), 3), np.float32)
    for index, char in enumerate(classes):
        groups[index, 2 if char is None else 0 if char.isdigit() else 1] = 1.0
    graph.add("MatMul", first, graph.constant(groups), output="region")
    best = graph.add("ReduceMax", chars, axes=[2], keepdims=0)
    graph.add("ReduceMin", best, axes=[1], keepdims=1, output="quality")
    outputs = {"chars": (SLOTS, len(classes)), "region": (3,), "quality": (1,)}
    if sees_corners:
        _seen_corners(graph, flat)
        outputs["corners"] = (8,)

    picture = crop_picture("TEST1")
    tables: dict[str, dict[str, Any]] = {
        "": {"task": "read", "name": "plate-reader"},
        "input": _input_table("crops", CROP, "stretch", look),
        "decoder": {
            "type": "slots",
            "outputs": {name: name for name in outputs},
            "alphabet": alphabet,
            "blank": blank,
            "margin_x": MARGINS[0],
            "margin_y": MARGINS[1],
            "regions": list(REGIONS),
        },
        "selftest": {"image": "selftest.png", "plate": "TEST1"},
    }
    _write(
        folder,
        graph,
        inputs=("crops", _shape(look, CROP)),
        outputs=outputs,
        flaws=flaws,
        picture=picture,
        tables=tables,
        overrides=manifest,
    )
    return folder


def _farthest(graph: Graph, flat: str, size: tuple[int, int]) -> list[str]:
    """Four (N, A, 2) corners in pixels, clockwise from the top left, of a mask (N, A, H * W)."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    points = []
    # The corner towards (sx, sy) is the marker pixel farthest in that direction.
    for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        rank = (sx * x + sy * y).astype(np.float32).ravel()
        rank -= rank.min() - 1.0
        far = graph.add("ArgMax", graph.add("Mul", flat, graph.constant(rank)), axis=2, keepdims=1)
        px = graph.add("Mod", far, graph.ints(width))
        py = graph.add("Div", far, graph.ints(width))
        both = graph.add("Concat", px, py, axis=2)
        outer = graph.ints(int(sx > 0), int(sy > 0))  # pixels are squares: their outer corner
        points.append(graph.add("Cast", graph.add("Add", both, outer), to=TensorProto.FLOAT))
    return points


def _seen_corners(graph: Graph, flat: str) -> None:
    """Output `corners` (N, 8) of a crop (N, 3, H * W): of what has the first plate's rim colour."""
    marker = graph.floats(*(value / 255.0 for value in PLATE_MARKERS[0]), shape=(1, 3, 1))
    distance = graph.add("Abs", graph.add("Sub", flat, marker))
    close = graph.add("Cast", graph.add("Less", distance, graph.floats(0.15)), to=TensorProto.FLOAT)
    rim = graph.add("ReduceMin", close, axes=[1], keepdims=1)  # (N, 1, H * W)
    pixels = graph.add("Concat", *_farthest(graph, rim, CROP), axis=2)
    parts = graph.add("Div", pixels, graph.floats(*(CROP * 4), shape=(1, 1, 8)))
    graph.add("Reshape", parts, graph.ints(-1, 8), output="corners")


def blank_picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """An empty street, (H, W, 3) BGR."""
    return np.full((size[1], size[0], 3), BACKGROUND, np.uint8)


def flat_plate(text: str, marker: int = 0) -> NDArray[np.uint8]:
    """A plate seen from the front, BGR."""
    rgb = np.empty((_FLAT[1], _FLAT[0], 3), np.uint8)
    rgb[:] = PLATE_MARKERS[marker]
    for slot in range(SLOTS):
        code = ALPHABET.index(text[slot]) if slot < len(text) else len(ALPHABET)
        left = _RIM + slot * _CELL
        rgb[_RIM:-_RIM, left : left + _CELL] = PALETTE[code]
    return np.ascontiguousarray(rgb[:, :, ::-1])


def draw_plate(
    image: NDArray[np.uint8],
    text: str,
    quad: Sequence[Sequence[float]],
    marker: int = 0,
) -> None:
    """Paint a plate into a BGR picture, its corners at `quad`."""
    width, height = _FLAT
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    target = np.array(quad, np.float32) - np.float32(0.5)
    transform = cv2.getPerspectiveTransform(source.astype(np.float32), target)
    size = (image.shape[1], image.shape[0])
    warped = cv2.warpPerspective(flat_plate(text, marker), transform, size, flags=cv2.INTER_AREA)
    inside = cv2.warpPerspective(
        np.full((height, width), 255, np.uint8), transform, size, flags=cv2.INTER_NEAREST
    )
    image[inside > 0] = warped[inside > 0]


def box_quad(x1: float, y1: float, x2: float, y2: float) -> tuple[tuple[float, float], ...]:
    """The corners of a box, clockwise from the top left."""
    return ((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def draw_vehicle(image: NDArray[np.uint8], label: str, box: Sequence[int]) -> None:
    """Paint a vehicle (a rim in its marker colour) into a BGR picture."""
    x1, y1, x2, y2 = box
    rgb = VEHICLE_MARKERS[label]
    rim = max(4, (x2 - x1) // 24)
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), rgb[::-1], -1)
    cv2.rectangle(image, (x1 + rim, y1 + rim), (x2 - 1 - rim, y2 - 1 - rim), BACKGROUND, -1)


def crop_picture(text: str) -> NDArray[np.uint8]:
    """A rectified crop with its margins, BGR."""
    width, height = CROP
    picture = blank_picture(CROP)
    dx, dy = MARGINS[0] * width, MARGINS[1] * height
    draw_plate(picture, text, box_quad(dx, dy, width - dx, height - dy))
    return picture


def _cell_weights() -> NDArray[np.float32]:
    """(H * W, S) averages the middle of each character's cell."""
    width, height = CROP
    weights = np.zeros((height, width, SLOTS), np.float32)
    scale = (1.0 - 2.0 * MARGINS[0]) * width / _FLAT[0]
    for slot in range(SLOTS):
        centre = MARGINS[0] * width + (_RIM + (slot + 0.5) * _CELL) * scale
        left, right = round(centre - 3.0), round(centre + 3.0)
        weights[26:38, left:right, slot] = 1.0 / (12 * (right - left))
    return weights.reshape(-1, SLOTS)


def _undo(graph: Graph, name: str, look: Normalisation) -> str:
    """(N, 3, H, W) RGB 0..1 of whatever the input is."""
    pixels = name
    if look.layout == "NHWC":
        pixels = graph.add("Transpose", pixels, perm=[0, 3, 1, 2])
    shape = (1, len(look.mean), 1, 1)
    pixels = graph.add("Mul", pixels, graph.floats(*look.std, shape=shape))
    pixels = graph.add("Add", pixels, graph.floats(*look.mean, shape=shape))
    pixels = graph.add("Mul", pixels, graph.floats(SCALE / look.scale))
    if look.colour == "BGR":
        pixels = graph.add("Gather", pixels, graph.ints(2, 1, 0), axis=1)
    return pixels


def _finish(graph: Graph, values: str, output: str, flaws: Flaws) -> None:
    if flaws.nan:
        values = graph.add("Mul", values, graph.floats(float("nan")))
    if flaws.logits:
        values = graph.add("Mul", values, graph.floats(20.0))
    graph.add("Identity", values, output=output)


def _shape(look: Normalisation, size: tuple[int, int]) -> tuple[int, int, int]:
    channels = len(look.mean)
    if look.layout == "NCHW":
        return (channels, size[1], size[0])
    return (size[1], size[0], channels)


def _input_table(
    name: str, size: tuple[int, int], resize: str, look: Normalisation
) -> dict[str, Any]:
    return {
        "name": name,
        "layout": look.layout,
        "colour": look.colour,
        "width": size[0],
        "height": size[1],
        "resize": resize,
        "scale": look.scale,
        "mean": list(look.mean),
        "std": list(look.std),
    }


def _write(
    folder: Path,
    graph: Graph,
    *,
    inputs: tuple[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int | str]],
    flaws: Flaws,
    picture: NDArray[np.uint8],
    tables: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batch = flaws.batch or "N"
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "tiny",
            [helper.make_tensor_value_info(inputs[0], TensorProto.FLOAT, [batch, *inputs[1]])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
                for name, shape in outputs.items()
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    cv2.imwrite(str(folder / "selftest.png"), picture)
    common = {
        "schema": "alprd.model/1",
        "version": "1",
        "file": "model.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "Apache-2.0",
    }
    write_manifest(folder, {**tables, "": {**common, **tables[""]}}, overrides or {})


def write_manifest(
    folder: Path,
    tables: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Mapping[str, Any]],
) -> None:
    """manifest.toml from tables ("" is the top level); a key overridden with None is left out."""
    lines: list[str] = []
    for table in {**tables, **overrides}:
        keys = {**tables.get(table, {}), **overrides.get(table, {})}
        if table:
            lines.append(f"[{table}]")
        lines += [f"{key} = {_toml(value)}" for key, value in keys.items() if value is not None]
    (folder / "manifest.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value)  # strings, numbers and booleans are written alike
