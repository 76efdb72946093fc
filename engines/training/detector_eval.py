"""Measure an exported detector on the val photographs with ONNX Runtime.

    python -m engines.training.detector_eval --model engines/plate-detector --data ../shared/data
    python -m engines.training.detector_eval --model engines/plate-detector --sweep

One threshold holds for all sets. `--draw FOLDER` writes every missed and every false plate for
looking at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import tomllib
from numpy.typing import NDArray

from engines.training.detector_labels import CLASS_OF, PLATE
from engines.training.detector_metrics import (
    Found,
    PlateTally,
    Truth,
    average_precision,
    select,
    tally_plates,
)
from engines.training.detector_pack import PLATE_SETS, VEHICLE_SETS, read_annotations

PAD_VALUE = 114
SWEEP = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


class OnnxDetector:
    """An exported detector: letterbox, run, decode back to frame pixels, NMS."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        _, _, self.height, self.width = self.session.get_inputs()[0].shape

    def prepare(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float, float, float]:
        """BGR (h, w, 3) -> input (1, 3, H, W), scale, left and top."""
        height, width = image.shape[:2]
        scale = min(self.width / width, self.height / height)
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        left, top = (self.width - size[0]) // 2, (self.height - size[1]) // 2
        canvas = np.full((self.height, self.width, 3), PAD_VALUE, np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = small
        tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        return tensor, scale, float(left), float(top)

    def __call__(self, image: NDArray[np.uint8], floor: float = 0.05) -> Found:
        """Detections in the picture's own pixels."""
        tensor, scale, left, top = self.prepare(image)
        boxes, scores, corners = (
            value[0]
            for value in self.session.run(["boxes", "scores", "corners"], {"images": tensor})
        )
        offset = np.array([left, top], np.float32)
        found = select(boxes, scores, corners, floor)
        found.boxes = ((found.boxes.reshape(-1, 2, 2) - offset) / scale).reshape(-1, 4)
        found.corners = ((found.corners.reshape(-1, 4, 2) - offset) / scale).reshape(-1, 8)
        return found


def collect(
    detector: OnnxDetector, data: Path, split: str, limit: int = 0
) -> list[tuple[Truth, Found]]:
    """Run the detector over a split of the photographs."""
    photos = [p for p in read_annotations(data) if p.split == split]
    if limit:
        photos = photos[:: max(1, len(photos) // limit)]
    pairs = []
    for photo in photos:
        image = cv2.imread(str(data / photo.path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(
                f"{data / photo.path} cannot be read; pass --data with the shared data folder"
            )
        classes = np.array([CLASS_OF[name] for name, *_ in photo.boxes], np.int64)
        boxes = np.array([box for _, *box in photo.boxes], np.float32).reshape(-1, 4)
        pairs.append((Truth(photo.set_name, classes, boxes, 1.0, photo.path), detector(image)))
    return pairs


def frames(video: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(video))
    out = []
    while True:
        done, frame = capture.read()
        if not done:
            return out
        out.append(frame)


def figures(pairs: list[tuple[Truth, Found]], threshold: float) -> dict[str, float]:
    """The figures of the accuracy table that concern the detector."""
    out: dict[str, float] = {}
    for name, tally in tally_plates(pairs, threshold).items():
        if name in PLATE_SETS:
            out[f"recall {name}"] = tally.recall
        out[f"false plates a picture {name}"] = tally.false_rate
    for name in VEHICLE_SETS:
        mine = [p for p in pairs if p[0].set_name == name]
        by_label = {
            label: average_precision(mine, number + 1)
            for number, label in enumerate(("car", "motorcycle", "bus", "truck"))
        }
        out[f"AP50 {name}"] = float(np.nanmean(list(by_label.values())))
        out |= {f"AP50 {name} {label}": value for label, value in by_label.items()}
    return out


def sweep(pairs: list[tuple[Truth, Found]]) -> None:
    """Recall and false plates of every set at a row of thresholds."""
    for threshold in SWEEP:
        tallies = tally_plates(pairs, threshold)
        cells = [
            f"{name.split('-')[1]} {t.recall:.3f}/{t.false_rate:.3f}"
            for name, t in sorted(tallies.items())
        ]
        print(f"{threshold:.2f}  " + "  ".join(cells))


def draw(tallies: dict[str, PlateTally], data: Path, folder: Path) -> None:
    """Cut out every missed plate (green) and false plate (red) with its surroundings."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tally in tallies.items():
        cases: list[tuple[str, Any, str]] = [(path, box, "missed") for path, box in tally.missed]
        cases += [(path, box, f"false{score:.2f}") for path, box, score in tally.wrong]
        for number, (path, box, kind) in enumerate(cases):
            image = cv2.imread(str(data / path))
            x1, y1, x2, y2 = (int(v) for v in box)
            colour = (0, 255, 0) if kind == "missed" else (0, 0, 255)
            cv2.rectangle(image, (x1, y1), (x2, y2), colour, 1)
            reach = int(max(x2 - x1, y2 - y1) * 1.5) + 10
            cut = image[max(0, y1 - reach) : y2 + reach, max(0, x1 - reach) : x2 + reach]
            zoom = 240 / max(cut.shape[:2])
            cut = cv2.resize(cut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
            cv2.imwrite(str(folder / f"{kind}-{name}-{number:03d}.png"), cut)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="folder with model.onnx and manifest.toml"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", default="val", choices=("train", "val"))
    parser.add_argument("--threshold", type=float, help="default: the manifest's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    manifest = tomllib.loads((args.model / "manifest.toml").read_text())
    threshold = args.threshold or float(manifest["decoder"]["scores"]["plate"])
    detector = OnnxDetector(args.model / manifest["file"], args.threads)
    pairs = collect(detector, args.data, args.split, args.limit)
    if args.sweep:
        sweep(pairs)
    values = figures(pairs, threshold)
    for name, value in values.items():
        print(f"{name:45s} {value:.4f}")
    video = args.data / "video" / "overhead.mp4"
    if video.exists() and not args.limit:
        seen = frames(video)
        false = sum(
            int(((f.labels == PLATE) & (f.scores >= threshold)).sum())
            for f in (detector(image) for image in seen)
        )
        values["plates a frame overhead.mp4"] = false / len(seen)
        print(f"{'plates a frame overhead.mp4':45s} {false / len(seen):.4f}")
    if args.draw:
        draw(tally_plates(pairs, threshold), args.data, args.draw)
    if args.json:
        args.json.write_text(json.dumps({"threshold": threshold, **values}, indent=1) + "\n")


if __name__ == "__main__":
    main()
