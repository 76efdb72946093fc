"""How much pictures and texts count for a plate's region: `python -m engines.training.region_fit`.

Reads the labelled plates of the train photographs whose texts were held out from the reader's
training, and prints the `Evidence` (alprd/core/regions.py) under which their labels are the most
probable, beside what is built in. Nothing of `val` is looked at.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alprd.core.regions import EVIDENCE, UNKNOWN, Evidence, region_posterior
from alprd.core.types import Candidate, PlateRead
from engines.training.accuracy import DATA, ENGINES
from engines.training.accuracy_data import Box, load, overlap
from engines.training.accuracy_detect import FOUND_IOU
from engines.training.accuracy_models import Eyes, Sight, boxed, widened

HELD_OUT = 0.12
"""As in reader_data, which needs PyTorch."""

PICTURE = (0.5, 0.6, 0.7, 0.85, 1.0, 1.2)
TEXT = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0)
UNKNOWN_ODDS = (1.0, 0.3, 0.1, 0.03)
LEAST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A read of a plate and the region that people gave it."""

    read: PlateRead
    label: str


def held_out_reads(data: Path, sight: Sight, eyes: Eyes) -> Iterator[Labelled]:
    """Reads of every held-out plate with a region, as the daemon cuts it out."""
    wanted: dict[str, list[tuple[Box, str]]] = defaultdict(list)
    with (data / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            readable = row["quality"] in ("good", "hard") and row["script"] == "latin"
            if row["split"] == "train" and row["region"] and readable and _held_out(row["text"]):
                x, y, w, h = (float(row[key]) for key in "xywh")
                wanted[row["image"]].append(((x, y, x + w, y + h), row["region"]))
    for name, plates in sorted(wanted.items()):
        image = load(data, name)
        found, _ = sight.look(image)
        places = []
        for box, _ in plates:
            shared = overlap(box, [d.box for d in found])
            seen = len(shared) and shared.max() >= FOUND_IOU
            places.append(found[int(shared.argmax())] if seen else boxed(widened(box)))
        for read, (_, label) in zip(eyes.read(image, places), plates, strict=True):
            if read.text:
                yield Labelled(read=read, label=label)


def _held_out(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] < HELD_OUT * 256


def log_loss(labelled: Sequence[Labelled], known: frozenset[str], evidence: Evidence) -> float:
    """Mean negative logarithm of the probability that the labels are given."""
    return sum(-math.log(max(_given(each, known, evidence), LEAST)) for each in labelled) / max(
        len(labelled), 1
    )


def _given(each: Labelled, known: frozenset[str], evidence: Evidence) -> float:
    """Probability of a label: of a country, all of it; of one that the reader lacks, "unknown"."""
    texts = [Candidate(plate=each.read.text, confidence=1.0)]
    posterior = region_posterior([each.read.regions], [1.0], texts, evidence)
    country = each.label.split("-", maxsplit=1)[0]
    if "-" in each.label and each.label in known:
        return posterior.get(each.label, 0.0)
    if not any(code.split("-", maxsplit=1)[0] == country for code in known):
        return posterior.get(UNKNOWN, 0.0)
    return sum(p for code, p in posterior.items() if code.split("-", maxsplit=1)[0] == country)


def fit(labelled: Sequence[Labelled], known: frozenset[str]) -> Evidence:
    """The best of a grid; of equals the first."""
    grid = [
        Evidence(picture=picture, text=text, unknown=unknown)
        for picture, text, unknown in itertools.product(PICTURE, TEXT, UNKNOWN_ODDS)
    ]
    return min(grid, key=lambda evidence: log_loss(labelled, known, evidence))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--models", type=Path, default=ENGINES)
    args = parser.parse_args()
    eyes = Eyes(args.models, "plate-reader", 1)
    labelled = list(held_out_reads(args.data, Sight(args.models, "plate-detector", 1), eyes))
    best = fit(labelled, eyes.regions)
    print(f"{len(labelled)} held-out plates")
    for name, evidence in (
        ("the pictures alone", Evidence(picture=1.0, text=0.0, unknown=1.0)),
        ("built in", EVIDENCE),
        ("best", best),
    ):
        print(f"{name}: log loss {log_loss(labelled, eyes.regions, evidence):.3f}, {evidence}")


if __name__ == "__main__":
    main()
