"""What accuracy is measured on: val photographs with their annotations and judged places.

Numpy, OpenCV and the standard library only, like the daemon.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in the stored picture's pixels."""

PLATE_SETS = ("plates-ro", "plates-openimages", "plates-mixed")
VEHICLE_SETS = ("vehicles-street", "vehicles-highway")
VIDEO_SET = "overhead.mp4"
ALL_SETS = (*PLATE_SETS, *VEHICLE_SETS, VIDEO_SET)
VIDEO = Path("video") / VIDEO_SET


class DataMissingError(Exception):
    """The photographs are not there, or are not what they should be; names the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """An annotated plate; `text` is empty where nobody could read it or nobody looked."""

    box: Box
    text: str = ""
    quality: str = ""
    script: str = ""
    region: str = ""

    @property
    def width_px(self) -> float:
        """Of the annotated box, in the original picture."""
        return self.box[2] - self.box[0]

    @property
    def readable(self) -> bool:
        """Whether its whole Latin text is known."""
        known = self.script == "latin" and self.quality in ("good", "hard")
        return known and bool(self.text) and "?" not in self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A val photograph, or a frame of the val clip ("video/overhead.mp4#12")."""

    path: str
    set_name: str
    plates: list[Plate] = field(default_factory=list)
    vehicles: list[tuple[str, Box]] = field(default_factory=list)
    judged: list[tuple[str, Box]] = field(default_factory=list)


def read_pictures(data: Path, judged: Sequence[Path] | None = None) -> list[Picture]:
    """The val photographs by name, with what `boxes.csv` and the judged places say of them."""
    if not (data / "boxes.csv").is_file():
        raise DataMissingError(
            f"{data} holds no boxes.csv; name the folder of the photographs with --data"
        )
    found: dict[str, Picture] = {}
    with (data / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] != "val":
                continue
            name = row["image"]
            picture = found.setdefault(name, Picture(path=name, set_name=name.split("/")[0]))
            x, y, w, h = (float(row[key]) for key in "xywh")
            box = (x, y, x + w, y + h)
            if row["class"] == "plate":
                picture.plates.append(
                    Plate(
                        box=box,
                        text=row["text"],
                        quality=row["quality"],
                        script=row["script"],
                        region=row["region"],
                    )
                )
            elif row["class"] == "notplate":
                picture.judged.append(("notplate", box))
            else:
                picture.vehicles.append((row["class"], box))
    for name, places in read_judged(judged).items():
        if name in found:
            found[name].judged.extend(places)
    return [found[name] for name in sorted(found)]


def read_judged(judged: Sequence[Path] | None = None) -> dict[str, list[tuple[str, Box]]]:
    """(verdict, box) of every place of a val picture that somebody looked at, by picture.

    Those off the annotations, and the clip's plates frame by frame: all `judged_*.csv` here.
    """
    places: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for path in sorted(Path(__file__).parent.glob("judged_*.csv")) if judged is None else judged:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                # people judged other things, too: paint, which has no verdict
                if "verdict" in row and row["split"] == "val":
                    x1, y1, x2, y2 = (float(row[key]) for key in ("x1", "y1", "x2", "y2"))
                    places[row["image"]].append((row["verdict"], (x1, y1, x2, y2)))
    return dict(places)


def with_images(data: Path, pictures: list[Picture]) -> Iterator[tuple[Picture, Image]]:
    """Every picture with its pixels, BGR."""
    for picture in pictures:
        yield picture, load(data, picture.path)


def clip_frames(
    data: Path, judged: Sequence[Path] | None = None
) -> Iterator[tuple[Picture, Image]]:
    """Every frame of the clip whose plates are too small to read."""
    places = read_judged(judged)
    capture = cv2.VideoCapture(str(data / VIDEO))
    try:
        number = 0
        while True:
            done, image = capture.read()
            if not done:
                break
            path = f"{VIDEO.as_posix()}#{number}"
            yield Picture(path=path, set_name=VIDEO_SET, judged=places.get(path, [])), image
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise DataMissingError(
            f"{data / VIDEO} cannot be read; name the photographs' folder by --data"
        )


def load(data: Path, path: str) -> Image:
    """A picture by its name, BGR; for a clip's frame "clip#number"."""
    if "#" in path:
        clip, number = path.split("#")
        capture = cv2.VideoCapture(str(data / clip))
        for _ in range(int(number)):
            capture.grab()
        done, image = capture.read()
        capture.release()
        if done:
            return np.asarray(image, np.uint8)
    else:
        image = cv2.imread(str(data / path), cv2.IMREAD_COLOR)
        if image is not None:
            return np.asarray(image, np.uint8)
    raise DataMissingError(
        f"{data / path} cannot be read; is {data} the photographs' folder, whole?"
    )


def overlap(box: Box, others: list[Box]) -> NDArray[np.float64]:
    """IoU of a box with each of the others, (N,)."""
    if not others:
        return np.zeros(0)
    a, b = np.asarray(box, np.float64), np.asarray(others, np.float64)
    common = np.clip(np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2]), 0.0, None).prod(1)
    area = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(1)
    return np.asarray(common / np.maximum(area - common, 1e-9), np.float64)
