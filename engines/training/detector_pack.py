"""Pack the real photographs into folders small enough to travel to the GPU host, one a call.

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

RETYPED = Path(__file__).with_name("retyped_vehicles.csv")

MAX_SIDE_PX = 960
WEBP_QUALITY = 78
FOLDER_BYTES = 38 * 1024 * 1024
SAME_PLACE_IOU = 0.3
MOSTLY_WITHIN = 0.5
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


def read_annotations(
    data: Path, judged: Sequence[Path] | None = None, retyped: Path = RETYPED
) -> list[Photograph]:
    """Read boxes.csv into photographs, in a stable order, and the judged places into them."""
    found: dict[str, Photograph] = {}
    with (data / "boxes.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            photo = found.setdefault(row["image"], Photograph(row["image"], row["split"]))
            x, y, w, h = (float(row[key]) for key in ("x", "y", "w", "h"))
            photo.boxes.append((row["class"], x, y, x + w, y + h))
    for table in sorted(Path(__file__).parent.glob("judged_*.csv")) if judged is None else judged:
        add_judged(found, table)
    if retyped.exists():
        retype(found, retyped)
    return [found[key] for key in sorted(found)]


def add_judged(photos: dict[str, Photograph], judged: Path) -> None:
    """Places where somebody looked at a detection off the annotations.

    For training they are plates, refusals ("notplate") or places to leave alone ("unsure"), unless
    an annotation or an earlier place says something there already. For validation a plate that is
    not annotated is neutral, neither wanted nor false: the figures stay those of the annotations.
    """
    with judged.open(newline="") as handle:
        for row in csv.DictReader(handle):
            photo = photos.get(row["image"])
            if photo is None or "verdict" not in row:  # people judged paint, too
                continue
            verdict = row["verdict"]
            x1, y1, x2, y2 = (float(row[key]) for key in ("x1", "y1", "x2", "y2"))
            if photo.split != "train":
                if verdict != "notplate":
                    photo.boxes.append(("unsure", x1, y1, x2, y2))
                continue
            said = [box for box in photo.boxes if box[0] in ("plate", "notplate", "unsure")]
            if not any(same_place((x1, y1, x2, y2), box[1:]) for box in said):
                photo.boxes.append((verdict, x1, y1, x2, y2))


def retype(photos: dict[str, Photograph], retyped: Path) -> None:
    """Train vehicles whose written type is plainly another one, by their exact boxes.

    "vehicle" where people would not agree: vans and motor homes.
    """
    with retyped.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    right = {
        (row["image"], *(float(row[key]) for key in ("x1", "y1", "x2", "y2"))): row["class"]
        for row in rows
    }
    for photo in photos.values():
        if photo.split == "train":
            photo.boxes = [
                (right.get((photo.path, *box), name), *box) for name, *box in photo.boxes
            ]


def same_place(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes overlap well, or one lies mostly within the other."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return False
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    inter = wide * tall
    return inter > SAME_PLACE_IOU * (sum(sizes) - inter) or inter > MOSTLY_WITHIN * min(sizes)


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
