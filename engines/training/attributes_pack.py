"""Pack vehicle crops for the GPU host: `python -m engines.training.attributes_pack --out .gpu/a0`.

A crop is a square around the vehicle, half as large again as its longer side, so that jitter and
the light of the surroundings have room. Vehicles of other countries' photographs are packed for the
painters alone: nobody wrote down their types. `crops.bin` holds WebPs end to end, `crops.npz` the rest;
`trunk.pt` is the shipped detector's trunk, from which the training begins.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
import torch

from engines.training.attributes_labels import COLOURS, MAKES, TYPES, VIEWS, types_of
from engines.training.detector_pack import read_annotations

ROOM = 1.5
MAX_SIDE_PX = 208
SMALLEST_PX = 24.0
PAD = 114
WEBP_QUALITY = 80
PACKED = ("vehicles-street", "vehicles-highway")
PAINT_ONLY = "plates-openimages"
TRUNK = ("stem.", "down4.", "stage4.", "down8.", "stage8.", "down16.", "stage16.", "down32.",
         "stage32.", "pool.")  # fmt: skip


def read_labels(data: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Rows of vehicle_attributes.csv by image and the box's corner as written."""
    with (data / "vehicle_attributes.csv").open(newline="") as handle:
        return {(row["image"], row["x"], row["y"]): row for row in csv.DictReader(handle)}


def cut(
    image: np.ndarray, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, list[float], list[float]]:
    """The crop, the box in it, and the part of it that lies inside the photograph (x1 y1 x2 y2)."""
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1) * ROOM / 2
    left, top = (x1 + x2) / 2 - half, (y1 + y2) / 2 - half
    side = int(np.clip(round(2 * half), 32, MAX_SIDE_PX))
    scale = side / (2 * half)
    height, width = image.shape[:2]
    a, b = max(int(left), 0), max(int(top), 0)
    c, d = min(int(np.ceil(left + 2 * half)), width), min(int(np.ceil(top + 2 * half)), height)
    part = image[b:d, a:c]
    size = (max(round((c - a) * scale), 1), max(round((d - b) * scale), 1))
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    crop = np.full((side, side, 3), PAD, np.uint8)
    ox, oy = max(round((a - left) * scale), 0), max(round((b - top) * scale), 0)
    part = part[: side - oy, : side - ox]
    crop[oy : oy + part.shape[0], ox : ox + part.shape[1]] = part
    inside = [ox, oy, ox + part.shape[1], oy + part.shape[0]]
    return crop, [(v - o) * scale for v, o in zip(box, (left, top) * 2, strict=True)], inside


def pack(data: Path, out: Path) -> None:
    cv2.setNumThreads(1)
    labels = read_labels(data)
    used = 0
    blob = bytearray()
    rows: dict[str, list[object]] = {
        key: []
        for key in ("start", "side", "box", "inside", "types", "colour", "view", "make", "val",
                    "street", "px", "path", "paint_only")
    }  # fmt: skip
    for photo in read_annotations(data, judged=(), retyped=Path("none")):
        paint_only = photo.set_name == PAINT_ONLY and photo.split == "train"
        if photo.set_name not in PACKED and not paint_only:
            continue
        image = cv2.imread(str(data / photo.path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f"{data / photo.path} cannot be read")
        for name, *box in photo.boxes:
            px = max(box[2] - box[0], box[3] - box[1])
            row = labels.get((photo.path, f"{box[0]:g}", f"{box[1]:g}"))
            if row is None:
                row = labels.get((photo.path, f"{box[0]:.1f}", f"{box[1]:.1f}"))
            used += row is not None
            if px < SMALLEST_PX or (paint_only and name != "vehicle"):
                continue
            crop, inner, inside = cut(image, (box[0], box[1], box[2], box[3]))
            done, coded = cv2.imencode(".webp", crop, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
            if not done:
                raise RuntimeError("this OpenCV cannot write WebP")
            kinds = np.full(len(TYPES), paint_only)
            if not paint_only:
                kinds[list(types_of(photo.path, name))] = True
            made = (row or {}).get("make", "")
            rows["start"].append(len(blob))
            rows["side"].append(crop.shape[0])
            rows["box"].append(inner)
            rows["inside"].append(inside)
            rows["types"].append(kinds)
            rows["colour"].append(COLOURS.index(row["color"]) if row else -1)
            view = (row or {}).get("view", "")
            rows["view"].append(VIEWS.index(view) if view in VIEWS else -1)
            rows["make"].append(-1 if not made else MAKES.index(made if made in MAKES else "other"))
            rows["val"].append(photo.split != "train")
            rows["street"].append(photo.set_name == "vehicles-street")
            rows["px"].append(px)
            rows["path"].append(photo.path)
            rows["paint_only"].append(paint_only)
            blob.extend(coded.tobytes())
    if used != len(labels):
        raise SystemExit(f"{len(labels) - used} labelled vehicles match no annotated box")
    out.mkdir(parents=True, exist_ok=True)
    (out / "crops.bin").write_bytes(bytes(blob))
    rows["start"].append(len(blob))
    np.savez_compressed(out / "crops.npz", **{key: np.array(rows[key]) for key in rows})
    print(f"{len(rows['side'])} crops, {len(blob) / 2**20:.1f} MiB, {used} labelled")


def keep_trunk(weights: Path, out: Path) -> None:
    """The detector's trunk: it has seen vehicles of the train split already."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    tensors = state["ema"]
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in tensors.items()
                if k.startswith(TRUNK)}, out / "trunk.pt")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(".gpu/a0"))
    parser.add_argument("--trunk", type=Path, help="weights of a trained plate-detector")
    args = parser.parse_args()
    pack(args.data, args.out)
    if args.trunk:
        keep_trunk(args.trunk, args.out)


if __name__ == "__main__":
    main()
