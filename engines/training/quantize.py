"""The same network with Q/DQ nodes for INT8, calibrated on pictures; model.int8.onnx in its folder.

    python -m engines.training.quantize engines/plate-detector --out /tmp/int8
    alprd engines build --models-dir /tmp/int8 --precision int8

Weights per channel, activations per tensor, both symmetric, as TensorRT wants them; weights stay
float32 in the file, behind a Q/DQ pair, because TensorRT 8.5 takes no others. The last layers of
every output stay float: corners are worth more than their microseconds. Calibrated on drawn scenes
and plates and on photographs of the train split (--data), never on what accuracy is measured on.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from alprd.core.types import Detection
from alprd.inference.manifest import DetectorManifest, ReaderManifest, load_manifest
from alprd.inference.preprocess import InputBatch, rectify
from engines.training.accuracy_data import load
from engines.training.accuracy_render import crop, scenes
from engines.training.variants import model_file, set_variant

FILE = "model.int8.onnx"
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SEED = 77
"""Of the drawn pictures; the accuracy test's have others."""


def last_heavy_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the convolutions and matrix products behind which no other one comes."""
    feeds_heavy: set[str] = set()
    last = set()
    for node in reversed(graph.node):
        onwards = bool(feeds_heavy.intersection(node.output))
        if node.op_type in HEAVY and not onwards:
            last.add(node.name)
        if node.op_type in HEAVY or onwards:
            feeds_heavy.update(node.input)
    return last


def products_without_weights(graph: onnx.GraphProto) -> set[str]:
    """Names of the matrix products of two activations (attention), which stay float."""
    weights = {each.name for each in graph.initializer}
    weights |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return {
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm") and not weights.intersection(node.input)
    }


def train_photographs(data: Path, count: int) -> Iterator[tuple[str, list[tuple[float, ...]]]]:
    """Names of photographs of the train split, spread over all sets, with their plates' boxes."""
    found: dict[str, list[tuple[float, ...]]] = {}
    with (data / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                boxes = found.setdefault(row["image"], [])
                if row["class"] == "plate":
                    x, y, w, h = (float(row[key]) for key in "xywh")
                    boxes.append((x, y, x + w, y + h))
    names = sorted(found)
    for index in np.random.default_rng(SEED).permutation(len(names))[:count]:
        yield names[index], found[names[index]]


def detector_rows(manifest: DetectorManifest, data: Path, count: int) -> Iterator[np.ndarray]:
    batch = InputBatch(manifest.input, 1)
    for image, _ in scenes(count // 3, SEED):
        batch.fill_fitted(0, image)
        yield batch.rows.copy()
    for name, _ in train_photographs(data, count - count // 3):
        batch.fill_fitted(0, load(data, name))
        yield batch.rows.copy()


def reader_rows(manifest: ReaderManifest, data: Path, count: int) -> Iterator[np.ndarray]:
    batch = InputBatch(manifest.input, 1)
    size = (manifest.input.width, manifest.input.height)
    margins = (manifest.decoder.margin_x, manifest.decoder.margin_y)

    def row(image: np.ndarray, place: Detection | tuple[float, ...]) -> np.ndarray:
        if isinstance(place, Detection):
            quad = np.asarray(place.quad, np.float32)
        else:
            x1, y1, x2, y2 = place
            quad = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
        batch.fill(0, rectify(image, quad, size, margins))
        return batch.rows.copy()

    for number in range(count // 2):
        drawn = crop(np.random.default_rng((SEED, number)), None)
        yield row(drawn.image, drawn.place)
    real = 0
    for name, boxes in train_photographs(data, 10**9):
        wide = [box for box in boxes if box[2] - box[0] >= 30]
        if wide:
            image = load(data, name)
            for box in wide:
                yield row(image, box)
                real += 1
        if real >= count - count // 2:
            return


class Rows(CalibrationDataReader):
    """Hands the calibration its rows."""

    def __init__(self, name: str, rows: Iterator[np.ndarray]) -> None:
        self.name, self.rows = name, rows

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return None if row is None else {self.name: row}


def quantize(model: Path, out: Path, rows: Rows, percentile: float | None) -> None:
    """Write the Q/DQ file."""
    graph = onnx.load(model)
    for index, node in enumerate(graph.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    options: dict[str, object] = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": False,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(HEAVY),
        "MinimumRealRange": 1e-4,
    }
    method = CalibrationMethod.MinMax
    if percentile is not None:
        method = CalibrationMethod.Percentile
        options["CalibPercentile"] = percentile
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "named.onnx"
        onnx.save(graph, named)
        quantize_static(
            named,
            out,
            rows,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=sorted(
                last_heavy_nodes(graph.graph) | products_without_weights(graph.graph)
            ),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
            extra_options=options,
        )
    done = onnx.load(out)
    del done.graph.value_info[:]
    onnx.checker.check_model(done, full_check=True)
    onnx.save(done, out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="+", help="a model's folder")
    parser.add_argument("--out", type=Path, help="put a copy of the folder there and work in it")
    parser.add_argument("--data", type=Path, default=DATA, help="photographs with boxes.csv")
    parser.add_argument("--pictures", type=int, default=150)
    parser.add_argument("--percentile", type=float, help="cut off outliers; slower (99.99)")
    args = parser.parse_args()
    for source in args.folder:
        folder = source
        if args.out is not None:
            folder = args.out / source.resolve().name
            shutil.copytree(source, folder, dirs_exist_ok=True)
        manifest_file = folder / "manifest.toml"
        text = manifest_file.read_text(encoding="utf-8")
        # One of an older model would be refused.
        manifest_file.write_text(
            re.sub(r"^\[variants\.int8\]\n(?:[^\[\n].*\n|\n)*", "", text, flags=re.MULTILINE),
            encoding="utf-8",
        )
        manifest, _ = load_manifest(folder.resolve().name, folder.resolve().parent)
        if isinstance(manifest, DetectorManifest):
            rows = detector_rows(manifest, args.data, args.pictures)
        else:
            rows = reader_rows(manifest, args.data, args.pictures)
        out = folder / FILE
        quantize(model_file(folder), out, Rows(manifest.input.name, rows), args.percentile)
        set_variant(folder, "int8", FILE)
        print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
