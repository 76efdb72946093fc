"""What `--details` writes: false plates for looking at, and every plate read wrongly.

These are pieces of real photographs; they never belong into the repository.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from engines.training.accuracy_data import Box, Image, load
from engines.training.accuracy_detect import FOUND_IOU, FalsePlate, Sighting, false_plates
from engines.training.accuracy_detect import MIN_WIDTH_PX as RECALL_WIDTH_PX
from engines.training.accuracy_read import Reading, kind_of_error

TILE_PX = 150
TILES_ACROSS, TILES_DOWN = 8, 8
"""As `detector_judge` counts them: its label files have a line a sheet and a letter a tile."""

_CAPTION_PX = 30
_WHITE, _GREEN = (255, 255, 255), (0, 255, 0)


def write_details(
    folder: Path, data: Path, sightings: Sequence[Sighting], readings: Sequence[Reading]
) -> None:
    """Sheets of tiles and the lists that belong to them."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = list(false_plates(sightings))
    unseen = [each for each in wrong if not each.looked_at]
    _write_places(folder / "not-looked-at.csv", unseen)
    _sheets(folder, data, "not-looked-at", [_false_tile(k, f) for k, f in enumerate(unseen)])
    said = [each for each in wrong if each.looked_at]
    _sheets(folder, data, "false", [_false_tile(k, f) for k, f in enumerate(said)])
    missed = [
        (s.picture.path, plate.box, plate.text or plate.quality or "?")
        for s in sightings
        for plate in s.picture.plates
        if plate.width_px >= RECALL_WIDTH_PX and s.match(plate, FOUND_IOU) is None
    ]
    _sheets(folder, data, "missed", missed)
    errors = [(kind_of_error(r), r) for r in readings if kind_of_error(r)]
    with (folder / "errors.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(
            (
                "kind",
                "image",
                "width_px",
                "quality",
                "truth",
                "read",
                "confidence",
                "given the place",
            )
        )
        for kind, r in sorted(errors, key=lambda each: (each[0], each[1].path)):
            text, sure = ("", 0.0) if r.seen is None else (r.seen.text, r.seen.confidence)
            rows.writerow(
                (
                    kind,
                    r.path,
                    f"{r.plate.width_px:.0f}",
                    r.plate.quality,
                    r.plate.text,
                    text,
                    f"{sure:.2f}",
                    r.crop.text,
                )
            )
    tiles = [
        (r.path, r.plate.box, f"{r.plate.text} > {'-' if r.seen is None else r.seen.text or '-'}")
        for _, r in errors
    ]
    _sheets(folder, data, "errors", tiles)


def _write_places(path: Path, places: Sequence[FalsePlate]) -> None:
    """The tiles for `detector_judge`, which joins them with what a person says of the sheets."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "split", "set", "image", "x1", "y1", "x2", "y2", "score"))
        for number, place in enumerate(places):
            box = (f"{v:.1f}" for v in place.detection.box)
            named = (number, "val", place.picture.set_name, place.picture.path)
            rows.writerow((*named, *box, f"{place.detection.score:.3f}"))


def _false_tile(number: int, place: FalsePlate) -> tuple[str, Box, str]:
    text = place.said.text or "-"
    return (
        place.picture.path,
        place.detection.box,
        f"{number} {place.detection.score:.2f} {text} {place.said.confidence:.2f}",
    )


def _sheets(folder: Path, data: Path, name: str, tiles: Sequence[tuple[str, Box, str]]) -> None:
    """Pictures of `TILES_ACROSS` x `TILES_DOWN` places with their surroundings and captions."""
    a_sheet = TILES_ACROSS * TILES_DOWN
    for start in range(0, len(tiles), a_sheet):
        sheet = np.full(
            (TILES_DOWN * (TILE_PX + _CAPTION_PX), TILES_ACROSS * TILE_PX, 3), 40, np.uint8
        )
        for k, (path, box, caption) in enumerate(tiles[start : start + a_sheet]):
            top, left = (k // TILES_ACROSS) * (TILE_PX + _CAPTION_PX), (k % TILES_ACROSS) * TILE_PX
            sheet[top : top + TILE_PX, left : left + TILE_PX] = _surroundings(load(data, path), box)
            for line, text in enumerate(
                (caption, path.split("/")[0] + " " + path.split("/")[-1][:14])
            ):
                where = (left + 2, top + TILE_PX + 12 + 13 * line)
                cv2.putText(
                    sheet, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.33, _WHITE, 1, cv2.LINE_AA
                )
        cv2.imwrite(str(folder / f"{name}-{start // a_sheet:03d}.png"), sheet)


def _surroundings(image: Image, box: Box) -> Image:
    """The place in a square twice as wide as it, its box drawn."""
    x1, y1, x2, y2 = box
    side = 2.0 * max(x2 - x1, y2 - y1, 16.0)
    scale = TILE_PX / side
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.warpAffine(image, matrix, (TILE_PX, TILE_PX), flags=flags)
    corners = [
        round(v)
        for v in ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale)
    ]
    cv2.rectangle(tile, (corners[0], corners[1]), (corners[2], corners[3]), _GREEN, 1)
    return np.asarray(tile, np.uint8)
