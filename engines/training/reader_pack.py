"""Pack real crops, background patches and fonts for the GPU host: `python -m
engines.training.reader_pack --out DIR`.

DIR gets crops.npz (JPEGs of every annotated plate with a text, box widened by CONTEXT on each
side, train and val marked) and fonts/. Real photographs stay out of the repository: DIR must be
an ignored folder.
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
from engines.training.render_flat import SLOTS

CONTEXT = 0.4
MAX_WIDTH_PX = 360
PATCHES = 3000
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def widened(image: np.ndarray, x: float, y: float, w: float, h: float) -> np.ndarray:
    """The box with CONTEXT around it; beyond the photograph its edge is repeated."""
    x0, y0, x1, y1 = x - CONTEXT * w, y - CONTEXT * h, x + (1 + CONTEXT) * w, y + (1 + CONTEXT) * h
    scale = min(1.0, MAX_WIDTH_PX / (x1 - x0))
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


def pack_crops(data: Path, out: Path) -> None:
    with (data / "boxes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = [
        r
        for r in rows
        if (r["class"] == "plate" and r["text"] and len(r["text"]) <= SLOTS)
        or (r["class"] == "notplate" and r["split"] == "train")
    ]
    blobs, table = [], []
    for r in wanted:
        image = cv2.imread(str(data / r["image"]))
        x, y, w, h = (float(r[key]) for key in "xywh")
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
        **{name: columns[:, i] for i, name in enumerate(names)},
    )
    print(
        f"{len(blobs)} crops, {len(patches)} patches, "
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
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pack_fonts(args.out)
    pack_crops(args.data, args.out)


if __name__ == "__main__":
    main()
