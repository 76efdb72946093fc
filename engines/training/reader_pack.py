"""Pack real crops, background patches and fonts for the GPU host: `python -m
engines.training.reader_pack --out DIR`.

DIR gets crops.npz (JPEGs of every annotated plate with a text, box widened by CONTEXT on each
side, train and val marked, and the quad that our own detector finds there; what it took for a
plate and a person judged to be none; patches of background) and fonts/. Real photographs stay
out of the repository: DIR must be an ignored folder.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import tomllib

from engines.training import fonts
from engines.training.detector_eval import OnnxDetector
from engines.training.detector_judge import JUDGED
from engines.training.detector_labels import PLATE
from engines.training.detector_metrics import overlaps
from engines.training.reader_geometry import CONTEXT
from engines.training.render_flat import SLOTS

MAX_WIDTH_PX = 360
PATCHES = 3000
NEGATIVE_WIDTH_PX = 200
SMALLEST_NEGATIVE_PX = (12, 4)
SCORE, IOU = 0.25, 0.5
NO_QUAD = np.full(8, np.nan, np.float32)
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def widened(
    image: np.ndarray, x: float, y: float, w: float, h: float, limit_px: int = MAX_WIDTH_PX
) -> np.ndarray:
    """The box with CONTEXT around it; beyond the photograph its edge is repeated."""
    x0, y0, x1, y1 = x - CONTEXT * w, y - CONTEXT * h, x + (1 + CONTEXT) * w, y + (1 + CONTEXT) * h
    scale = min(1.0, limit_px / (x1 - x0))
    width, height = max(round((x1 - x0) * scale), 8), max(round((y1 - y0) * scale), 8)
    height = min(height, 220)
    matrix = np.array([[width / (x1 - x0), 0, 0], [0, height / (y1 - y0), 0]])
    matrix[0, 2], matrix[1, 2] = -x0 * matrix[0, 0], -y0 * matrix[1, 1]
    if scale < 0.67:  # warpAffine does not average: soften first
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel()


class Quads:
    """The quads that our own detector finds in a photograph, kept while rows name the same one."""

    def __init__(self, detector: OnnxDetector) -> None:
        self.detector = detector
        self.name, self.boxes, self.corners = "", np.zeros((0, 4)), np.zeros((0, 8))

    def of(
        self, name: str, image: np.ndarray, box: tuple[float, float, float, float]
    ) -> np.ndarray:
        """(8,) corners in parts of the widened box, or NaN where none overlaps the box enough."""
        if name != self.name:
            found = self.detector(image, SCORE)
            plates = found.labels == PLATE
            self.name, self.boxes, self.corners = name, found.boxes[plates], found.corners[plates]
        x, y, w, h = box
        if not len(self.boxes):
            return NO_QUAD
        shared = overlaps(np.array([[x, y, x + w, y + h]], np.float32), self.boxes)[0]
        best = int(shared.argmax())
        if shared[best] < IOU:
            return NO_QUAD
        corners = self.corners[best].reshape(4, 2)
        low, size = np.array([x - CONTEXT * w, y - CONTEXT * h]), np.array([w, h])
        return ((corners - low) / (size * (1 + 2 * CONTEXT))).astype(np.float32).ravel()


def judged_negatives(judged: Path) -> list[tuple[str, list[float]]]:
    """Detections of train photographs that people judged to be no plate: (image, x y w h).

    `judged` is what detector_judge writes: image, split, x1, y1, x2, y2, verdict.
    """
    out = []
    with judged.open(newline="", encoding="utf-8") as file:
        for r in csv.DictReader(file):
            if r["split"] == "train" and r["verdict"] == "notplate":
                x1, y1, x2, y2 = (float(r[key]) for key in ("x1", "y1", "x2", "y2"))
                if x2 - x1 >= SMALLEST_NEGATIVE_PX[0] and y2 - y1 >= SMALLEST_NEGATIVE_PX[1]:
                    out.append((r["image"], [x1, y1, x2 - x1, y2 - y1]))
    return out


def pack_crops(
    data: Path, out: Path, detector: OnnxDetector, negatives: list[tuple[str, list[float]]]
) -> None:
    with (data / "boxes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = [
        r
        for r in rows
        if (r["class"] == "plate" and r["text"] and len(r["text"]) <= SLOTS)
        or (r["class"] == "notplate" and r["split"] == "train")
    ]
    wanted.sort(key=lambda r: r["image"])
    blobs, table, quads = [], [], []
    finder = Quads(detector)
    for r in wanted:
        image = cv2.imread(str(data / r["image"]))
        x, y, w, h = (float(r[key]) for key in "xywh")
        quads.append(finder.of(r["image"], image, (x, y, w, h)))
        blobs.append(_jpeg(widened(image, x, y, w, h), 95))
        text = r["text"] if r["class"] == "plate" else ""
        table.append(
            [
                r["split"],
                r["image"].split("/")[0],
                text,
                r["quality"],
                r["region"],
                r["script"],
                r["lines"],
                f"{w:.1f}",
                r["image"],
            ]
        )
    for name, (x, y, w, h) in negatives:
        image = cv2.imread(str(data / name))
        blobs.append(_jpeg(widened(image, x, y, w, h, NEGATIVE_WIDTH_PX), 88))
        table.append(["train", name.split("/")[0], "", "notplate", "", "", "", f"{w:.1f}", name])
        quads.append(NO_QUAD)
    rng = np.random.default_rng(5)
    streets = sorted(
        {
            r["image"]
            for r in rows
            if r["split"] == "train" and r["image"].startswith(("vehicles-", "plates-ro"))
        }
    )
    plates = {r["image"]: [] for r in rows}  # type: dict[str, list[tuple[float, float, float, float]]]
    for r in rows:
        if r["class"] == "plate":
            plates[r["image"]].append(tuple(float(r[key]) for key in "xywh"))  # type: ignore[arg-type]
    patches = []
    while len(patches) < PATCHES:
        name = streets[int(rng.integers(len(streets)))]
        image = cv2.imread(str(data / name))
        ih, iw = image.shape[:2]
        w = int(rng.uniform(0.1, 0.4) * iw)
        h = min(int(w * rng.uniform(0.25, 0.6)), ih - 1)
        x, y = int(rng.integers(0, iw - w)), int(rng.integers(0, ih - h))
        if any(
            x < px + pw and px < x + w and y < py + ph and py < y + h
            for px, py, pw, ph in plates[name]
        ):
            continue
        patches.append(
            _jpeg(
                cv2.resize(image[y : y + h, x : x + w], (160, 64), interpolation=cv2.INTER_AREA), 88
            )
        )
    columns = np.array(table)
    names = ["split", "folder", "text", "quality", "region", "script", "lines", "width_px", "image"]
    np.savez(
        out / "crops.npz",
        jpegs=np.concatenate(blobs),
        ends=np.cumsum([b.size for b in blobs]),
        patches=np.concatenate(patches),
        patch_ends=np.cumsum([b.size for b in patches]),
        quads=np.stack(quads),
        **{name: columns[:, i] for i, name in enumerate(names)},
    )
    print(
        f"{len(wanted)} crops, {int(np.isfinite(np.stack(quads)[:, 0]).sum())} with a quad, "
        f"{len(negatives)} judged no plate, {len(patches)} patches, "
        f"{(out / 'crops.npz').stat().st_size / 2**20:.1f} MiB"
    )


def pack_fonts(out: Path) -> None:
    data = tomllib.loads((fonts.DESIGNS / "fonts.toml").read_text(encoding="utf-8"))["family"]
    names = sorted(
        {e["file"] for entries in data.values() for e in entries} | {"DroidSansFallbackFull.ttf"}
    )
    (out / "fonts").mkdir(exist_ok=True)
    for name in names:
        path = fonts.find_font(name)
        if path is not None:
            shutil.copy(path, out / "fonts" / name)
        elif name != fonts.FALLBACK:
            print(f"font {name} is missing here: plates will use other faces instead")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument(
        "--detector", type=Path, default=fonts.DESIGNS.parents[1] / "plate-detector"
    )
    parser.add_argument("--judged", type=Path, default=JUDGED, help="places judged by eye (CSV)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pack_fonts(args.out)
    negatives = judged_negatives(args.judged)
    pack_crops(args.data, args.out, OnnxDetector(args.detector / "model.onnx", 2), negatives)


if __name__ == "__main__":
    main()
