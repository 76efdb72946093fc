"""Reader figures on real plates: exact reads, end to end, confidence, region, kinds of errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alprd.config import TrackingSettings
from alprd.core.plates import look_alike
from engines.training.accuracy_data import PLATE_SETS, Image, Plate
from engines.training.accuracy_detect import Sighting
from engines.training.accuracy_figures import SMOOTH, Figure, counted, share_of
from engines.training.accuracy_models import Eyes, Published, boxed, publish, widened

END_TO_END_WIDTH_PX = 64.0
PUBLISHED_FROM = TrackingSettings().min_confidence
NEARLY_IOU = 0.1
GOOD_WANTED = {"plates-ro": 0.98, "plates-openimages": 0.95, "plates-mixed": 0.93}
HARD_WANTED, END_TO_END_WANTED = 0.80, 0.93
REGION_WANTED, ERROR_WANTED = 0.85, 0.05
BINS = 10
_SAME = str.maketrans("OI", "01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of one annotated plate whose text is known.

    Attributes:
        set_name: its set.
        path: its photograph.
        plate: what it is.
        seen: what the daemon says of the detection there; None where there is none.
        near: whether at least some detection touches the plate.
        crop: what it says given the plate's place (the detection's corners, else the box).
        plain: the reader's text of that place without second look, vote and formats.
        box: what it says of the widened box.
    """

    set_name: str
    path: str
    plate: Plate
    seen: Published | None
    near: bool
    crop: Published
    plain: str
    box: Published


def read_plates(eyes: Eyes, sighting: Sighting, image: Image) -> list[Reading]:
    """Read every annotated plate of a picture whose text is known."""
    plates = [plate for plate in sighting.picture.plates if plate.readable]
    boxes = [boxed(widened(plate.box)) for plate in plates]
    matches = [sighting.match(plate) for plate in plates]
    places = [
        box if index is None else sighting.plates[index]
        for box, index in zip(boxes, matches, strict=True)
    ]
    of_boxes = [publish(read) for read in eyes.read(image, boxes)]
    plain = [read.text for read in eyes.first(image, places)]
    return [
        Reading(
            set_name=sighting.picture.set_name,
            path=sighting.picture.path,
            plate=plate,
            seen=None if index is None else sighting.said[index],
            near=sighting.match(plate, NEARLY_IOU) is not None,
            crop=of_boxes[k] if index is None else sighting.said[index],
            plain=plain[k],
            box=of_boxes[k],
        )
        for k, (plate, index) in enumerate(zip(plates, matches, strict=True))
    ]


def same_text(read: str, truth: str) -> bool:
    """Whether two texts are equal, O and 0 and I and 1 counted equal."""
    return read.translate(_SAME) == truth.translate(_SAME)


def read_figures(readings: Sequence[Reading]) -> list[Figure]:
    """Exact reads of good and hard crops, per set and in all, in four ways."""
    figures = []
    for grade in ("good", "hard"):
        ways = (
            ("exact", f"exact reads, {grade} crops", lambda r: r.crop.text == r.plate.text),
            (
                "equal",
                f"the same, O=0 and I=1, {grade}",
                lambda r: same_text(r.crop.text, r.plate.text),
            ),
            ("box", f"the widened box alone, {grade}", lambda r: r.box.text == r.plate.text),
            ("plain", f"no second look, no formats, {grade}", lambda r: r.plain == r.plate.text),
        )
        for way, what, right in ways:
            for set_name in (*PLATE_SETS, "all"):
                mine = _of(readings, set_name, grade)
                wanted = None
                if way == "exact" and grade == "good":
                    wanted = GOOD_WANTED.get(set_name)
                elif way == "exact" and set_name == "all":
                    wanted = HARD_WANTED
                figures.append(
                    _share(
                        f"{way} {grade}/{set_name}",
                        what,
                        set_name,
                        [right(r) for r in mine],
                        wanted,
                    )
                )
    return figures


def end_to_end_figures(readings: Sequence[Reading]) -> list[Figure]:
    """Photograph in, right text out."""
    figures = []
    for set_name in (*PLATE_SETS, "all"):
        mine = [
            r for r in _of(readings, set_name, "good") if r.plate.width_px >= END_TO_END_WIDTH_PX
        ]
        right = [r.seen is not None and r.seen.text == r.plate.text for r in mine]
        wanted = END_TO_END_WANTED if set_name == "all" else None
        figures.append(
            _share(f"end to end/{set_name}", "end to end, good, >= 64 px", set_name, right, wanted)
        )
    everything = [r.seen for r in readings]
    sure = [s is not None and s.confidence >= PUBLISHED_FROM for s in everything]
    right = [
        s is not None and s.text == r.plate.text for s, r in zip(everything, readings, strict=True)
    ]
    good = [a and b for a, b in zip(sure, right, strict=True)]
    bad = [a and not b for a, b in zip(sure, right, strict=True)]
    what = f"of good and hard, confidence >= {PUBLISHED_FROM:g}"
    return [
        *figures,
        _share("published right/all", f"{what}: right", "all", good, None),
        replace(_share("published wrong/all", f"{what}: wrong", "all", bad, None), better="lower"),
    ]


def _of(readings: Sequence[Reading], set_name: str, grade: str) -> list[Reading]:
    return [r for r in readings if set_name in ("all", r.set_name) and r.plate.quality == grade]


def _share(
    key: str, what: str, set_name: str, right: Sequence[bool], wanted: float | None
) -> Figure:
    return Figure(
        key=key,
        what=what,
        of=set_name,
        value=share_of(sum(right), len(right)),
        cases=len(right),
        slack=counted(len(right)),
        wanted=wanted,
    )


def reliability(
    said: Sequence[float], right: Sequence[bool]
) -> list[tuple[float, float, int, float, float]]:
    """(from, to, reads, mean confidence, share right) in steps of a tenth."""
    confidence, hits = np.array(said, np.float64), np.array(right, bool)
    step = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (
            k / BINS,
            (k + 1) / BINS,
            int((step == k).sum()),
            float(confidence[step == k].mean()),
            float(hits[step == k].mean()),
        )
        for k in range(BINS)
        if (step == k).any()
    ]


def confidence_table(readings: Sequence[Reading]) -> list[tuple[float, float, int, float, float]]:
    """Reliability of the published confidence, of readable crops with a text."""
    said = [r for r in readings if r.crop.text]
    return reliability(
        [r.crop.confidence for r in said], [r.crop.text == r.plate.text for r in said]
    )


def confidence_figures(readings: Sequence[Reading]) -> list[Figure]:
    """Expected calibration error of what is published, and of the reader's own estimate."""
    said = [r for r in readings if r.crop.text]
    rows = (
        ("calibration error", "expected calibration error", confidence_table(said), ERROR_WANTED),
        (
            "calibration error of quality",
            "the same of the reader's quality alone",
            reliability(
                [r.crop.quality for r in said], [r.crop.text == r.plate.text for r in said]
            ),
            None,
        ),
    )
    return [
        replace(_calibration(key, what, "all", table), wanted=w) for key, what, table, w in rows
    ]


def _calibration(
    key: str, what: str, of: str, table: Sequence[tuple[float, float, int, float, float]]
) -> Figure:
    """Mean gap between what is said and what is right, of a reliability table."""
    cases = sum(row[2] for row in table)
    return Figure(
        key=key,
        what=what,
        of=of,
        value=sum(row[2] * abs(row[3] - row[4]) for row in table) / max(cases, 1),
        cases=cases,
        slack=max(SMOOTH, counted(cases)),
        wanted=ERROR_WANTED,
        better="lower",
        share=False,
    )


def region_right(region: str, label: str, known: frozenset[str]) -> bool:
    """Whether a region is right.

    A label that names the country only is met by every state of it. A state that the reader's
    label set lacks is met by its country; a country that it lacks, by "unknown" or silence.
    """
    country = label.split("-", maxsplit=1)[0]
    if label == country or label not in known:
        if not any(code.split("-", maxsplit=1)[0] == country for code in known):
            return region in ("", "unknown")
        return region.split("-", maxsplit=1)[0] == country
    return region == label


def region_figures(readings: Sequence[Reading], known: frozenset[str]) -> list[Figure]:
    """Regions of labelled real crops as they are published, and the reader's own first guess."""
    mine = [r for r in readings if r.plate.region]
    lacking = sum(r.plate.region not in known for r in mine)
    right = [region_right(r.crop.region, r.plate.region, known) for r in mine]
    guess = [region_right(r.crop.guess, r.plate.region, known) for r in mine]
    country = [r.crop.region.split("-")[0] == r.plate.region.split("-")[0] for r in mine]
    states = [ok for r, ok in zip(mine, right, strict=True) if "-" in r.plate.region]
    wrong = [bool(r.crop.region) and not _says(r) for r in mine]
    told = [r for r in mine if r.crop.region]
    table = reliability([r.crop.region_confidence for r in told], [_says(r) for r in told])
    of = "real crops"
    first = _share("region/real crops", "region right", of, right, REGION_WANTED)
    note = f"{lacking} labels are not in the reader's label set"
    return [
        replace(first, note=note),
        _share("region country/real crops", "country right", of, country, None),
        _share("region state/real crops", "region right, US states", of, states, None),
        _share("region guess/real crops", "region right, without serials", of, guess, None),
        replace(
            _share("region wrong/real crops", "published region wrong", of, wrong, None),
            better="lower",
        ),
        _calibration("region calibration error", "calibration error, region", of, table),
    ]


def _says(reading: Reading) -> bool:
    """Whether the published region says nothing but what the label does, or less, or more."""
    said, label = reading.crop.region, reading.plate.region
    return label == said or label.startswith(f"{said}-") or said.startswith(f"{label}-")


def kind_of_error(reading: Reading) -> str:
    """What went wrong, end to end, with a plate whose text is known; empty if nothing did."""
    truth = reading.plate.text
    if reading.seen is None:
        return "box too far off (IoU < 0.5)" if reading.near else "missed by the detector"
    text = reading.seen.text
    if text == truth:
        return ""
    if not text:
        return "refused by the reader"
    if len(text) != len(truth):
        return "wrong length"
    if look_alike(text, truth):
        return "look-alike characters only"
    small = reading.plate.width_px < END_TO_END_WIDTH_PX or reading.plate.quality == "hard"
    return "other characters, blurred, dark or small" if small else "other characters, clear plate"


def confusions(readings: Sequence[Reading]) -> Counter[str]:
    """How often which character was taken for which, in reads of the right length."""
    pairs: Counter[str] = Counter()
    for reading in readings:
        text = "" if reading.seen is None else reading.seen.text
        if len(text) == len(reading.plate.text):
            pairs.update(
                f"{a}>{b}" for a, b in zip(reading.plate.text, text, strict=True) if a != b
            )
    return pairs
