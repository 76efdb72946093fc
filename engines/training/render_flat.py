"""Pre-render flat plates for the reader's training: `python -m engines.training.render_flat
--out DIR --count N`.

Writes plates.npy (N, 96, 240, 4) uint8, colour multiplied by alpha, and plates.npz (slots,
region, aspect, lines, regions, designs). Sharded over processes; plate k comes from seed (seed, k // CHUNK), so the result does
not depend on the number of processes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap

from engines.training.plates import load_designs, render_plate

HEIGHT_PX, WIDTH_PX = 96, 240
SLOTS, BLANK, MASKED = 12, 36, -100
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHUNK = 250


def regions() -> list[str]:
    """Region labels of the reader, in order; "unknown" is one of them."""
    return sorted({design.region for design in load_designs()})


def slots_of(text: str) -> np.ndarray:
    """Text -> (12,) class indices, left aligned, blanks behind; "?" becomes MASKED."""
    if len(text) > SLOTS:
        raise ValueError(f"text {text!r} is longer than {SLOTS} slots")
    row = np.full(SLOTS, BLANK, np.int16)
    row[: len(text)] = [MASKED if char == "?" else ALPHABET.index(char) for char in text]
    return row


def _chunk(job: tuple[str, int, int, int]) -> tuple[int, np.ndarray]:
    path, seed, chunk, count = job
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, chunk])
    images = open_memmap(path, mode="r+")
    labels = regions()
    design_ids = [design.id for design in load_designs()]
    rows = np.zeros((count, SLOTS + 4), np.float32)
    for k in range(count):
        plate = render_plate(rng)
        while not 1 <= len(plate.text) <= SLOTS:
            plate = render_plate(rng)
        h, w = plate.image.shape[:2]
        alpha = plate.image[..., 3:].astype(np.float32) / 255
        # What shows beside round corners is the scene's: it must not tell where the corners are.
        colour = (plate.image[..., :3] * alpha + 0.5).astype(np.uint8)
        images[chunk * CHUNK + k] = cv2.resize(
            np.dstack((colour, plate.image[..., 3])),
            (WIDTH_PX, HEIGHT_PX),
            interpolation=cv2.INTER_AREA,
        )
        rows[k] = [
            *slots_of(plate.text),
            labels.index(plate.region),
            w / h,
            plate.lines,
            design_ids.index(plate.design),
        ]
    return chunk, rows


def render(out: Path, count: int, processes: int, seed: int) -> None:
    """Render `count` plates into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "plates.npy"
    count = max(count // CHUNK, 1) * CHUNK
    open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, HEIGHT_PX, WIDTH_PX, 4)).flush()
    jobs = [(str(path), seed, chunk, CHUNK) for chunk in range(count // CHUNK)]
    table = np.zeros((count, SLOTS + 4), np.float32)
    start_s = last_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, (chunk, rows) in enumerate(pool.imap_unordered(_chunk, jobs), start=1):
            table[chunk * CHUNK : (chunk + 1) * CHUNK] = rows
            if time.monotonic() - last_s > 10 or done == len(jobs):
                last_s = time.monotonic()
                rate = done * CHUNK / (last_s - start_s)
                print(f"rendered {done * CHUNK}/{count} at {rate:.0f} plates/s", flush=True)
    np.savez(
        out / "plates.npz",
        slots=table[:, :SLOTS].astype(np.int16),
        region=table[:, SLOTS].astype(np.int16),
        aspect=table[:, SLOTS + 1],
        lines=table[:, SLOTS + 2].astype(np.int8),
        design=table[:, SLOTS + 3].astype(np.int16),
        regions=np.array(regions()),
        designs=np.array([design.id for design in load_designs()]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    render(args.out, args.count, args.processes, args.seed)


if __name__ == "__main__":
    main()
