"""Pack the real photographs into folders small enough to travel to the GPU host.

Every folder holds `data.bin` (WebP images end to end) and `index.json` (one record per image: where
its bytes lie, its set and split, and its annotations in stored pixels). Photographs wider than 960
px are shrunk to 960; everything else keeps its pixels.

    python -m engines.training.detector_pack --data ../shared/data --out .gpu
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import cv2

MAX_SIDE_PX = 960
WEBP_QUALITY = 78
FOLDER_BYTES = 53 * 1024 * 1024
PLATE_SETS = ("plates-ro", "plates-openimages", "plates-mixed")
VEHICLE_SETS = ("vehicles-street", "vehicles-highway")


@dataclass
class Photograph:
    """One annotated photograph: boxes are (class name, x1, y1, x2, y2) in its own pixels."""

    path: str
    split: str
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)

    @property
    def set_name(self) -> str:
        return self.path.split("/")[0]


def read_annotations(data: Path) -> list[Photograph]:
    """Read boxes.csv into photographs, in a stable order."""
    found: dict[str, Photograph] = {}
    with (data / "boxes.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            photo = found.setdefault(row["image"], Photograph(row["image"], row["split"]))
            x, y, w, h = (float(row[key]) for key in ("x", "y", "w", "h"))
            photo.boxes.append((row["class"], x, y, x + w, y + h))
    return [found[key] for key in sorted(found)]


def pack(data: Path, out: Path) -> list[Path]:
    """Write the folders `out`/d0, d1, ... and return them; train images come first."""
    cv2.setNumThreads(1)
    photos = read_annotations(data)
    photos.sort(key=lambda photo: (photo.split != "train", photo.path))
    folders: list[Path] = []
    records: list[dict[str, object]] = []
    blob = bytearray()

    def flush() -> None:
        folder = out / f"d{len(folders)}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data.bin").write_bytes(bytes(blob))
        (folder / "index.json").write_text(json.dumps(records))
        folders.append(folder)
        blob.clear()
        records.clear()

    for photo in photos:
        image = cv2.imread(str(data / photo.path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(
                f"{data / photo.path} cannot be read; is --data the shared data folder?"
            )
        height, width = image.shape[:2]
        scale = min(1.0, MAX_SIDE_PX / max(width, height))
        if scale < 1.0:
            size = (round(width * scale), round(height * scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        done, encoded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
        if not done:
            raise RuntimeError("this OpenCV cannot write WebP; install opencv-python-headless")
        if len(blob) + len(encoded) > FOLDER_BYTES:
            flush()
        records.append(
            {
                "path": photo.path,
                "set": photo.set_name,
                "split": photo.split,
                "offset": len(blob),
                "bytes": len(encoded),
                "width": image.shape[1],
                "height": image.shape[0],
                "scale": scale,
                "boxes": [
                    [name, *(round(v * scale, 2) for v in box)] for name, *box in photo.boxes
                ],
            }
        )
        blob.extend(encoded.tobytes())
    flush()
    return folders


def counts(photos: list[Photograph]) -> dict[tuple[str, str], int]:
    """Images per (set, split)."""
    total: dict[tuple[str, str], int] = defaultdict(int)
    for photo in photos:
        total[photo.set_name, photo.split] += 1
    return dict(total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(".gpu"))
    args = parser.parse_args()
    for folder in pack(args.data, args.out):
        size_mib = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        print(f"{folder}: {size_mib:.1f} MiB")


if __name__ == "__main__":
    main()
