"""Banks: every picture the detector trains on, as flat RGBA words with four mip levels.

Built once per machine from the packed photographs, then mapped by both trainings:

    python -m engines.training.detector_bank --packs /tmp/kit/d0 /tmp/kit/d1 --out /tmp/bank

`street.*` holds photographs, the same photographs with their plates painted over (a natural place
for a rendered plate), and drawn scenes; `plates.*` flat rendered plates; `decoys.*` things that are
no plates. Each exists for `train` and `val`; a val photograph never reaches the train bank.
`vehicles-train` holds vehicles cut out of train photographs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.training.detector_cutout import cut_vehicles, decode_record
from engines.training.detector_decoys import render_decoy
from engines.training.detector_labels import (
    ANY_VEHICLE,
    BUS,
    CAR,
    CLASS_OF,
    IGNORE_VEHICLE,
    MOTORCYCLE,
    NOT_PLATE,
    PLATE,
    SET_RULES,
    TRUCK,
)
from engines.training.plates import render_plate
from engines.training.scenes import render_scene

LEVELS = 4
MAX_BOXES = 64
MAX_SLOTS = 8
PLATE_SCALE = 0.7
SMALLEST_CUTTING_PX = 16
ROAD_SETS = ("vehicles-street", "vehicles-highway")


@dataclass
class Picture:
    """RGBA pixels with annotations.

    Slots are (centre x, centre y, width, height, roll in radians).
    """

    image: NDArray[np.uint8]
    set_name: str
    squashed: bool
    boxes: list[tuple[int, float, float, float, float]]
    slots: list[tuple[float, float, float, float, float]]
    path: str = ""
    scale: float = 1.0  # stored / original pixels


def mip_words(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], list[tuple[int, int]]]:
    """All mip levels of RGBA (h.

    W, 4) as one flat run of words, with each level's (width, height).
    """
    runs, sizes = [], []
    level = image
    for _ in range(LEVELS):
        level = np.ascontiguousarray(level)
        runs.append(level.reshape(-1, 4).view(np.uint32)[:, 0])
        sizes.append((level.shape[1], level.shape[0]))
        half = (max(1, level.shape[1] // 2), max(1, level.shape[0] // 2))
        level = cv2.resize(level, half, interpolation=cv2.INTER_AREA)
    return np.concatenate(runs), sizes


def opaque(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])


def _photographs(job: tuple[dict[str, Any], bytes]) -> list[Picture]:
    """Decode one record; photographs with modest plates come back a second time.

    Plates painted over.
    """
    record, encoded = job
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    boxes = [(CLASS_OF[name], *box) for name, *box in record["boxes"]]
    name = record["set"]
    rules = SET_RULES[name]
    photo = Picture(opaque(image), name, rules.squashed, boxes, [], record["path"], record["scale"])
    pictures = [photo]
    plates = [box for box in boxes if box[0] == PLATE]
    area = sum((x2 - x1) * (y2 - y1) for _, x1, y1, x2, y2 in plates)
    if not plates or area > 0.12 * image.shape[0] * image.shape[1]:
        return pictures
    mask = np.zeros(image.shape[:2], np.uint8)
    slots = []
    for _, x1, y1, x2, y2 in plates:
        grow = 0.06 * (x2 - x1) + 1
        cv2.rectangle(
            mask, (int(x1 - grow), int(y1 - grow)), (int(x2 + grow), int(y2 + grow)), 255, -1
        )
        slots.append(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.0))
    clean = cv2.inpaint(np.ascontiguousarray(image), mask, 3, cv2.INPAINT_TELEA)
    others = [box for box in boxes if box[0] != PLATE]
    erased = "erased" if name.startswith("plates") else "erased-street"
    pictures.append(
        Picture(
            opaque(clean), erased, rules.squashed, others, slots, record["path"], record["scale"]
        )
    )
    return pictures


def _cuttings(job: tuple[dict[str, Any], bytes]) -> list[Picture]:
    """What looks like a plate in a photograph and is none, cut out with soft edges."""
    record, encoded = job
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    cut = []
    for name, x1, y1, x2, y2 in record["boxes"]:
        if CLASS_OF[name] != NOT_PLATE or x2 - x1 < SMALLEST_CUTTING_PX:
            continue
        rim = 0.2 * (y2 - y1) + 1
        left, top = max(0, int(x1 - rim)), max(0, int(y1 - rim))
        part = image[top : int(y2 + rim) + 1, left : int(x2 + rim) + 1]
        if min(part.shape[:2]) < 6:
            continue
        y = np.minimum(np.arange(part.shape[0]) + 1, part.shape[0] - np.arange(part.shape[0]))
        x = np.minimum(np.arange(part.shape[1]) + 1, part.shape[1] - np.arange(part.shape[1]))
        cover = np.clip(np.minimum(y[:, None], x[None, :]) / rim, 0, 1)
        soft = np.dstack([part, (cover * 255).astype(np.uint8)])
        cut.append(Picture(soft, "decoy", False, [], []))
    return cut


def _vehicles(job: tuple[dict[str, Any], bytes]) -> list[Picture]:
    """Vehicles cut out of a photograph; the first slot holds the colour of their surroundings.

    Vans stay where they are: some call them cars, some buses.
    """
    record = job[0]
    boxes = [
        (ANY_VEHICLE if name == "van" else CLASS_OF[name], *box) for name, *box in record["boxes"]
    ]
    riderless = record["set"] == "vehicles-street"
    cuttings = cut_vehicles(
        decode_record(job), boxes, range(CAR, TRUCK + 1), MOTORCYCLE if riderless else None
    )
    return [
        Picture(
            image,
            "vehicle",
            False,
            [(label, 0.0, 0.0, float(image.shape[1]), float(image.shape[0]))],
            [(float(light[0]), float(light[1]), float(light[2]), 0.0, 0.0)],
        )
        for label, image, light in cuttings
    ]


def _drawn(seed: int) -> list[Picture]:
    scene = render_scene(np.random.default_rng([seed, 77]), 800, 480)
    slots = []
    for slot in scene.slots:
        top = slot.quad[1] - slot.quad[0]
        wide, tall = np.linalg.norm(top), np.linalg.norm(slot.quad[3] - slot.quad[0])
        roll = float(np.arctan2(top[1], top[0]))
        slots.append((*(float(v) for v in slot.quad.mean(0)), float(wide), float(tall), roll))
    labels = {"car": CAR, "motorcycle": MOTORCYCLE, "bus": BUS, "truck": TRUCK}
    boxes = []
    for label, x1, y1, x2, y2 in scene.vehicles:
        clipped = (max(0.0, x1), max(0.0, y1), min(800.0, x2), min(480.0, y2))
        seen = (
            max(0.0, clipped[2] - clipped[0])
            * max(0.0, clipped[3] - clipped[1])
            / ((x2 - x1) * (y2 - y1))
        )
        if seen > 0.02:
            boxes.append((labels[label] if seen > 0.3 else IGNORE_VEHICLE, *clipped))
    return [Picture(opaque(scene.image), "drawn", False, boxes, slots)]


def _plate(seed: int) -> list[Picture]:
    plate = render_plate(np.random.default_rng([seed, 11]))
    image = plate.image
    # colours under alpha 0 must not bleed into the edge when a coarser mip is taken
    solid = image[..., 3] > 127
    fill = image[solid][:, :3].mean(0) if solid.any() else np.full(3, 128.0)
    image = image.copy()
    image[~solid, :3] = fill.astype(np.uint8)
    size = (
        max(8, round(image.shape[1] * PLATE_SCALE)),
        max(8, round(image.shape[0] * PLATE_SCALE)),
    )
    return [Picture(cv2.resize(image, size, interpolation=cv2.INTER_AREA), "plate", False, [], [])]


def _decoy(seed: int) -> list[Picture]:
    decoy = render_decoy(np.random.default_rng([seed, 13]))
    return [Picture(decoy.image, "overlay" if decoy.overlay else "decoy", False, [], [])]


def _with_words(
    job: tuple[Callable[[Any], list[Picture]], Any],
) -> list[tuple[Picture, NDArray[np.uint32], list[tuple[int, int]]]]:
    cv2.setNumThreads(1)
    make, argument = job
    out = []
    for picture in make(argument):
        words, sizes = mip_words(picture.image)
        picture.image = picture.image[:0]
        out.append((picture, words, sizes))
    return out


def write_bank(
    stem: Path, jobs: Iterable[tuple[Callable[[Any], list[Picture]], Any]], pool: Any
) -> int:
    """Run jobs in the pool and write `stem`.bin and `stem`.npz; returns the number of pictures."""
    offset = 0
    rows: list[Picture] = []
    offsets, widths, heights = [], [], []
    with stem.with_suffix(".bin").open("wb") as handle:
        for results in pool.imap(_with_words, jobs, chunksize=16):
            for picture, words, sizes in results:
                handle.write(words.tobytes())
                starts = offset + np.cumsum([0] + [w * h for w, h in sizes[:-1]])
                offset += len(words)
                rows.append(picture)
                offsets.append(starts)
                widths.append([w for w, _ in sizes])
                heights.append([h for _, h in sizes])
    count = len(rows)
    boxes = np.zeros((count, MAX_BOXES, 4), np.float32)
    classes = np.full((count, MAX_BOXES), -1, np.int64)
    slots = np.zeros((count, MAX_SLOTS, 5), np.float32)
    slot_ok = np.zeros((count, MAX_SLOTS), bool)
    for i, row in enumerate(rows):
        for j, (label, *box) in enumerate(row.boxes[:MAX_BOXES]):
            boxes[i, j] = box
            classes[i, j] = label
        for j, slot in enumerate(row.slots[:MAX_SLOTS]):
            slots[i, j] = slot
            slot_ok[i, j] = True
    np.savez(
        stem.with_suffix(".npz"),
        offset=np.array(offsets, np.int64).reshape(count, LEVELS),
        width=np.array(widths, np.int64).reshape(count, LEVELS),
        height=np.array(heights, np.int64).reshape(count, LEVELS),
        boxes=boxes,
        classes=classes,
        slots=slots,
        slot_ok=slot_ok,
        squashed=np.array([row.squashed for row in rows]),
        scale=np.array([row.scale for row in rows], np.float32),
        set_name=np.array([row.set_name for row in rows]),
        path=np.array([row.path for row in rows]),
    )
    return count


def read_pack(folders: list[Path], split: str) -> list[tuple[dict[str, Any], bytes]]:
    """All records of a split with their encoded bytes."""
    jobs = []
    for folder in folders:
        blob = (folder / "data.bin").read_bytes()
        for record in json.loads((folder / "index.json").read_text()):
            if record["split"] == split:
                jobs.append((record, blob[record["offset"] : record["offset"] + record["bytes"]]))
    return jobs


@dataclass
class Bank:
    """A bank on a device: flat words and per-picture tables."""

    words: Tensor  # (P,) int32, RGBA bytes
    offset: Tensor  # (N, LEVELS) int64
    width: Tensor  # (N, LEVELS) int64
    height: Tensor  # (N, LEVELS) int64
    tables: dict[str, Tensor]
    set_name: NDArray[np.str_]
    path: NDArray[np.str_]

    def __len__(self) -> int:
        return int(self.offset.shape[0])


def load_bank(stem: Path, device: torch.device) -> Bank:
    """Read a bank written by `write_bank` onto a device."""
    with np.load(stem.with_suffix(".npz")) as arrays:
        data = {key: arrays[key] for key in arrays.files}
    words = torch.from_numpy(np.fromfile(stem.with_suffix(".bin"), np.int32)).to(device)
    names = {"set_name", "path", "offset", "width", "height"}
    tables = {
        key: torch.from_numpy(value).to(device) for key, value in data.items() if key not in names
    }
    grid = [torch.from_numpy(data[key]).to(device) for key in ("offset", "width", "height")]
    return Bank(words, *grid, tables, data["set_name"], data["path"])


def build(
    packs: list[Path], out: Path, plates: int, scenes: int, decoys: int, limit: int, workers: int
) -> None:
    """Build every bank; `limit` keeps only that many photographs of a split (0: all)."""
    out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for split, share, first in (("train", 1.0, 0), ("val", 0.1, 10_000_000)):
            began = time.monotonic()
            records = read_pack(packs, split)
            if limit:
                records = records[:: max(1, len(records) // limit)][:limit]
            photographs: list[tuple[Callable[[Any], list[Picture]], Any]] = [
                (_photographs, r) for r in records
            ]
            refused = [r for r in records if any(box[0] == "notplate" for box in r[0]["boxes"])]
            cuttings: list[tuple[Callable[[Any], list[Picture]], Any]] = [
                (_cuttings, r) for r in refused
            ]
            drawn = [(_drawn, first + i) for i in range(int(scenes * share))]
            total = [write_bank(out / f"street-{split}", photographs + drawn, pool)]
            total.append(
                write_bank(
                    out / f"plates-{split}",
                    [(_plate, first + i) for i in range(int(plates * share))],
                    pool,
                )
            )
            total.append(
                write_bank(
                    out / f"decoys-{split}",
                    [(_decoy, first + i) for i in range(int(decoys * share))] + cuttings,
                    pool,
                )
            )
            if split == "train":
                roads = [r for r in records if r[0]["set"] in ROAD_SETS]
                total.append(
                    write_bank(out / "vehicles-train", [(_vehicles, r) for r in roads], pool)
                )
            print(
                f"bank {split}: {total} pictures, plates, decoys, vehicles"
                f" in {time.monotonic() - began:.0f} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plates", type=int, default=20000)
    parser.add_argument("--scenes", type=int, default=1600)
    parser.add_argument("--decoys", type=int, default=4000)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    build(args.packs, args.out, args.plates, args.scenes, args.decoys, args.limit, args.workers)


if __name__ == "__main__":
    main()
