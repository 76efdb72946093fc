"""Turn trained weights into engines/NAME/: model.onnx, manifest.toml, a self-test picture.

python -m engines.training.detector_export --weights NAME.pt --out engines/NAME
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16

from engines.training.detector_eval import OnnxDetector
from engines.training.detector_labels import PLATE
from engines.training.detector_metrics import overlaps
from engines.training.detector_net import (
    HEIGHT_PX,
    LABELS,
    SIZES,
    WIDTH_PX,
    DecodedDetector,
    PlateDetector,
    cell_centres,
    giga_flops,
    load_weights,
    parameter_count,
)
from engines.training.plates import render_plate
from engines.training.scenes import render_scene

OPSET = 15
OUTPUTS = ("boxes", "scores", "corners")
ATTRIBUTIONS = (
    "RobertLucian/license-plate-dataset (MIT)",
    "conztantinee/thesis (CC BY 4.0, Open Images photographs)",
    "chirag-agrawal24/ANPR (MIT)",
    "Anuptechh/BCA-8th-sem-project (CC BY 4.0)",
    "yuskun/object_detected (CC BY 4.0)",
)


def load_net(weights: Path) -> tuple[PlateDetector, dict[str, Any]]:
    """The net with its averaged weights, and the training's notes."""
    content = torch.load(weights, map_location="cpu")
    net = PlateDetector(SIZES[content["size"]])
    load_weights(net, content.pop("ema"))
    return net.eval(), content


def input_size(text: str) -> tuple[int, int]:
    """From "1280x768": width and height, pixels."""
    width, _, height = text.partition("x")
    size = int(width), int(height)
    if min(size) < 32 or any(each % 32 for each in size):
        raise argparse.ArgumentTypeError(f"{text} is not made of multiples of 32")
    return size


def export_onnx(
    net: PlateDetector, path: Path, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX
) -> None:
    """Write the decoded net with a dynamic batch."""
    axes = {name: {0: "batch"} for name in ("images", *OUTPUTS)}
    torch.onnx.export(
        DecodedDetector(net, width_px, height_px).eval(),
        (torch.zeros(1, 3, height_px, width_px),),
        str(path),
        opset_version=OPSET,
        dynamo=False,
        input_names=["images"],
        output_names=list(OUTPUTS),
        dynamic_axes=axes,
    )
    graph = onnx.load(path)
    cells = cell_centres(width_px, height_px)[0].shape[0]
    for output, last in zip(graph.graph.output, (4, len(LABELS), 8), strict=True):
        for dim, value in zip(output.type.tensor_type.shape.dim[1:], (cells, last), strict=True):
            dim.dim_value = value
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def run(model: bytes, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    kind = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    return [
        value.astype(np.float32)
        for value in session.run(list(OUTPUTS), {"images": images.astype(kind)})
    ]


def compare(net: PlateDetector, path: Path, images: NDArray[np.float32]) -> dict[str, float]:
    """Largest differences: ONNX against torch.

    And the FP16 cast against ONNX where a score passes 0.3.
    """
    height_px, width_px = images.shape[-2:]
    decoded = DecodedDetector(net, width_px, height_px).eval()
    with torch.no_grad():
        wanted = [value.numpy() for value in decoded(torch.from_numpy(images))]
    got = run(path.read_bytes(), images)
    half_model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    half = run(half_model.SerializeToString(), images)
    strong = got[1].max(-1) > 0.3
    if not all(np.isfinite(value).all() for value in half):
        raise ValueError(
            "the FP16 cast overflows: look for large weights or activations before shipping this"
        )
    return {
        "onnx_box_px": float(np.abs(wanted[0] - got[0])[strong].max(initial=0)),
        "onnx_score": float(np.abs(wanted[1] - got[1]).max()),
        "fp16_box_px": float(np.abs(half[0] - got[0])[strong].max(initial=0)),
        "fp16_corner_px": float(
            np.abs(half[2] - got[2])[strong & (got[1][..., 0] > 0.3)].max(initial=0)
        ),
        "fp16_score": float(np.abs(half[1] - got[1]).max()),
    }


def paste_plate(
    image: NDArray[np.uint8], flat: NDArray[np.uint8], quad: NDArray[np.float32]
) -> None:
    """Warp a flat RGBA plate onto an RGB picture, in place."""
    height, width = flat.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, quad.astype(np.float32))
    shrink = min(1.0, 1.6 * float(np.linalg.norm(quad[1] - quad[0])) / width)
    if shrink < 1.0:
        flat = cv2.resize(flat, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([width / flat.shape[1], height / flat.shape[0], 1.0])
    warped = cv2.warpPerspective(
        flat, matrix, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR
    )
    cover = warped[..., 3:].astype(np.float32) / 255
    image[:] = (image * (1 - cover) + warped[..., :3] * cover).astype(np.uint8)


def selftest(model: Path, picture: Path) -> NDArray[np.float32]:
    """Draw scenes until one holds a single plate that the model finds well.

    Write it and give its quad.
    """
    detector = OnnxDetector(model)
    for seed in range(400):
        rng = np.random.default_rng([seed, 4])
        scene = render_scene(rng, 640, 384)
        wide = [
            s
            for s in scene.slots
            if s.quad[:, 0].min() > 20 and s.quad[:, 0].max() < 620 and s.quad[:, 1].max() < 370
        ]
        if len(scene.slots) != 1 or len(wide) != 1:
            continue
        quad = wide[0].quad.copy()
        plate = render_plate(rng)
        across = quad[1] - quad[0]
        if plate.lines != 1 or np.linalg.norm(across) < 70:
            continue
        down = np.array([-across[1], across[0]]) * plate.image.shape[0] / plate.image.shape[1]
        quad[3], quad[2] = quad[0] + down, quad[1] + down
        paste_plate(scene.image, plate.image, quad)
        found = detector(np.ascontiguousarray(scene.image[:, :, ::-1]))
        use = (found.labels == PLATE) & (found.scores > 0.3)
        box = np.concatenate([quad.min(0), quad.max(0)])[None].astype(np.float32)
        if (
            use.sum() == 1
            and found.scores[use][0] > 0.75
            and overlaps(found.boxes[use], box)[0, 0] > 0.85
        ):
            cv2.imwrite(str(picture), scene.image[:, :, ::-1])
            return quad
    raise RuntimeError("no drawn scene gave one sure plate: is this model trained?")


def toml_value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def manifest_text(tables: dict[str, dict[str, object]]) -> str:
    lines = []
    for table, values in tables.items():
        lines += (
            ([f"[{table}]"] if table else [])
            + [f"{key} = {toml_value(value)}" for key, value in values.items()]
            + [""]
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--version", default=datetime.datetime.now(datetime.timezone.utc).strftime("%Y.%-m.1")
    )
    parser.add_argument(
        "--input-size",
        type=input_size,
        default=(WIDTH_PX, HEIGHT_PX),
        metavar="WxH",
        help="multiples of 32; larger ones see smaller plates and take longer",
    )
    parser.add_argument("--plate-threshold", type=float, default=0.4)
    parser.add_argument("--vehicle-threshold", type=float, default=0.4)
    parser.add_argument("--accuracy", type=Path, help="figures written by detector_eval --json")
    args = parser.parse_args()
    net, notes = load_net(args.weights)
    args.out.mkdir(parents=True, exist_ok=True)
    model = args.out / "model.onnx"
    width_px, height_px = args.input_size
    export_onnx(net, model, width_px, height_px)
    quad = selftest(model, args.out / "selftest.png")
    picture = cv2.imread(str(args.out / "selftest.png"))
    differences = compare(net, model, OnnxDetector(model).prepare(picture)[0])
    print({k: round(v, 5) for k, v in differences.items()})
    scores: dict[str, object] = dict.fromkeys(LABELS, args.vehicle_threshold) | {
        "plate": args.plate_threshold
    }
    name = notes["size"]
    training: dict[str, object] = {
        "command": f"python -m engines.training.detector_train --size {name} --minutes {notes['minutes']:g} --batch {notes['batch']}",
        "seconds": round(notes["spent_s"]),
        "steps": notes["step"],
        "seed": notes["seed"],
        "data": "rendered plates and scenes from engines/training, and photographs:",
        "attributions": list(ATTRIBUTIONS),
    }
    accuracy: dict[str, object] = {
        "parameters": parameter_count(net),
        "giga_flops": round(giga_flops(net, width_px, height_px), 3),
        "command": f"python -m engines.training.detector_eval --model engines/{name}",
    }
    accuracy |= {
        f"rendered_{k.replace('-', '_')}": round(v, 4)
        for k, v in notes["figures"].items()
        if k.startswith("corner")
    }
    accuracy |= {k: round(v, 4) for k, v in differences.items()}
    if args.accuracy:
        measured = json.loads(args.accuracy.read_text())
        accuracy |= {
            k.replace(" ", "_").replace(".", "_").replace("-", "_").lower(): round(v, 4)
            for k, v in measured.items()
        }
    tables: dict[str, dict[str, object]] = {
        "": {
            "schema": "alprd.model/1", "name": name, "task": "detect", "version": args.version, "file": "model.onnx",
            "sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "licence": "Apache-2.0",
        },
        "input": {
            "name": "images", "layout": "NCHW", "colour": "RGB", "width": width_px, "height": height_px, "resize": "letterbox",
            "pad_value": 114, "scale": 1 / 255, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        },
        "decoder": {
            "type": "alprd-detector", "outputs": {name: name for name in OUTPUTS}, "labels": list(LABELS),
            "score_threshold": args.plate_threshold, "scores": scores, "nms_iou": 0.5,
        },
        "selftest": {"image": "selftest.png", "quad": [[round(float(v), 1) for v in point] for point in quad], "min_iou": 0.6},
        "training": training,
        "accuracy": accuracy,
    }  # fmt: skip
    (args.out / "manifest.toml").write_text(manifest_text(tables))
    print(f"{args.out}: {model.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
