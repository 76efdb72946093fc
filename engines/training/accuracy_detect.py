"""Detector figures: plates found, false plates before and after the reader's veto, vehicles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from alprd.core.decode import suppress
from alprd.core.types import Detection
from engines.training.accuracy_data import (
    ALL_SETS,
    PLATE_SETS,
    VEHICLE_SETS,
    Box,
    Image,
    Picture,
    Plate,
    overlap,
)
from engines.training.accuracy_figures import SMOOTH, Figure, counted, share_of
from engines.training.accuracy_models import Eyes, Published, Sight, publish
from engines.training.detector_labels import ANY_VEHICLE, CLASS_OF
from engines.training.detector_metrics import Found, Truth, average_precision

MIN_WIDTH_PX = 40.0
FOUND_IOU = 0.5
SAME_PLACE_IOU = 0.3
"""A detection that overlaps a plate, or a place that somebody judged, by less is elsewhere."""

VEHICLE_CLASSES = ("car", "motorcycle", "bus", "truck")
RECALL_WANTED = {"plates-ro": 0.98, "plates-openimages": 0.95, "plates-mixed": 0.95}
FALSE_WANTED = 0.02
AP_WANTED = {"vehicles-street": 0.80, "vehicles-highway": 0.70}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a detector saw in a picture; `said` is what the reader made of each plate."""

    picture: Picture
    plates: list[Detection]
    vehicles: list[Detection]
    said: list[Published] = field(default_factory=list)

    def match(self, plate: Plate, iou: float = FOUND_IOU) -> int | None:
        """Index of the detection that overlaps an annotated plate best, if it does enough."""
        shared = overlap(plate.box, [d.box for d in self.plates])
        if not len(shared) or shared.max() < iou:
            return None
        return int(shared.argmax())


@dataclass(frozen=True, slots=True, kw_only=True)
class FalsePlate:
    """A detection where no plate is known to be; `looked_at` if somebody said that none is."""

    picture: Picture
    detection: Detection
    said: Published
    looked_at: bool


def see(sight: Sight, eyes: Eyes | None, picture: Picture, image: Image) -> Sighting:
    """Look at a picture, and read its plates where there is a reader."""
    plates, vehicles = sight.look(image)
    said = [] if eyes is None else [publish(read) for read in eyes.read(image, plates)]
    return Sighting(picture=picture, plates=plates, vehicles=vehicles, said=said)


def false_plates(sightings: Sequence[Sighting]) -> Iterator[FalsePlate]:
    """Plates seen away from every annotated, judged-a-plate or doubtful place."""
    for sighting in sightings:
        picture = sighting.picture
        real = [plate.box for plate in picture.plates]
        real += [box for verdict, box in picture.judged if verdict != "notplate"]
        none = [box for verdict, box in picture.judged if verdict == "notplate"]
        for number, detection in enumerate(sighting.plates):
            if _touches(detection.box, real):
                continue
            yield FalsePlate(
                picture=picture,
                detection=detection,
                said=sighting.said[number] if sighting.said else Published(),
                looked_at=_touches(detection.box, none),
            )


def _touches(box: Box, others: list[Box]) -> bool:
    return bool((overlap(box, others) >= SAME_PLACE_IOU).any())


def recall(sightings: Sequence[Sighting], *, vetoed: bool) -> tuple[int, int]:
    """(plates found, plates) of those wide enough; `vetoed` leaves out what the reader refuses."""
    found = wanted = 0
    for sighting in sightings:
        for plate in sighting.picture.plates:
            if plate.width_px < MIN_WIDTH_PX:
                continue
            wanted += 1
            index = sighting.match(plate)
            if index is not None and not (vetoed and not sighting.said[index].text):
                found += 1
    return found, wanted


def plate_figures(sightings: Sequence[Sighting], name: str) -> list[Figure]:
    """Recall and false plates of every set and of all, before and after the veto."""
    figures: list[Figure] = []
    read = any(s.said for s in sightings)
    for vetoed in (False, True) if read else (False,):
        after = ", after the reader's veto" if vetoed else ""
        kind = f"{name}/{'vetoed ' if vetoed else ''}"
        for set_name in (*PLATE_SETS, "all"):
            mine = [s for s in sightings if set_name in ("all", s.picture.set_name)]
            hits, cases = recall(mine, vetoed=vetoed)
            figures.append(
                Figure(
                    key=f"{kind}recall/{set_name}",
                    what=f"plate recall, IoU >= 0.5, >= 40 px{after}",
                    of=set_name,
                    value=share_of(hits, cases),
                    cases=cases,
                    slack=counted(cases),
                    wanted=None if vetoed else RECALL_WANTED.get(set_name),
                )
            )
        for set_name in (*ALL_SETS, "all"):
            mine = [s for s in sightings if set_name in ("all", s.picture.set_name)]
            wrong = [f for f in false_plates(mine) if f.said.text or not vetoed]
            unseen = sum(not f.looked_at for f in wrong)
            figures.append(
                Figure(
                    key=f"{kind}false/{set_name}",
                    what=f"false plates a frame{after}",
                    of=set_name,
                    value=len(wrong) / max(len(mine), 1),
                    cases=len(mine),
                    slack=counted(len(mine)),
                    wanted=FALSE_WANTED if set_name == "all" else None,
                    better="lower",
                    share=False,
                    note=f"{len(wrong)} of them, {unseen} not looked at" if wrong else "",
                )
            )
    return figures


def vehicle_figures(sightings: Sequence[Sighting], name: str) -> list[Figure]:
    """AP50 of every class, their mean, and of vehicles whatever their class."""
    figures: list[Figure] = []
    for set_name in VEHICLE_SETS:
        mine = [s for s in sightings if s.picture.set_name == set_name]
        by_class = [_truth_and_found(s) for s in mine]
        for label, what in enumerate(VEHICLE_CLASSES, 1):
            cases = sum(int((truth.classes == label).sum()) for truth, _ in by_class)
            figures.append(
                _ap(f"{name}/AP50 {what}", set_name, average_precision(by_class, label), cases)
            )
        mean = float(np.mean([f.value for f in figures[-len(VEHICLE_CLASSES) :]]))
        counts = sum(f.cases for f in figures[-len(VEHICLE_CLASSES) :])
        figures.append(_ap(f"{name}/AP50 mean", set_name, mean, counts, wanted=AP_WANTED[set_name]))
        agnostic = [_truth_and_found(s, classless=True) for s in mine]
        cases = sum(len(truth.classes) for truth, _ in agnostic)
        figures.append(
            _ap(f"{name}/AP50 any class", set_name, average_precision(agnostic, 1), cases)
        )
    return figures


def _ap(key: str, set_name: str, value: float, cases: int, wanted: float | None = None) -> Figure:
    return Figure(
        key=f"{key}/{set_name}",
        what=f"vehicles {key.split('/')[1]}",
        of=set_name,
        value=value,
        cases=cases,
        slack=max(SMOOTH, counted(cases) / 2),
        wanted=wanted,
    )


def _truth_and_found(sighting: Sighting, *, classless: bool = False) -> tuple[Truth, Found]:
    """A picture for `average_precision`; `classless` makes every vehicle a car."""
    annotated = [(CLASS_OF[c], box) for c, box in sighting.picture.vehicles if c in CLASS_OF]
    classes = np.array([label for label, _ in annotated], np.int64)
    boxes = np.array([box for _, box in annotated], np.float32).reshape(-1, 4)
    labels = np.array([CLASS_OF[d.label] for d in sighting.vehicles], np.int64)
    scores = np.array([d.score for d in sighting.vehicles], np.float32)
    seen = np.array([d.box for d in sighting.vehicles], np.float32).reshape(-1, 4)
    if classless:
        keep = (classes >= 1) & (classes <= ANY_VEHICLE)
        classes, boxes = np.ones(int(keep.sum()), np.int64), boxes[keep]
        best = np.argsort(-scores, kind="stable")
        stay = suppress(seen[best].astype(np.float64).tolist(), [1] * len(best), FOUND_IOU)
        kept = best[stay]
        labels, scores, seen = np.ones(len(kept), np.int64), scores[kept], seen[kept]
    corners = np.zeros((len(labels), 8), np.float32)
    return (
        Truth(sighting.picture.set_name, classes, boxes, path=sighting.picture.path),
        Found(labels, scores, seen, corners),
    )
