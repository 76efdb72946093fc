"""Join the verdicts of people who looked at detections with the places they looked at.

    python -m engines.training.detector_judge --tiles tiles.csv --labels labels-*.txt

`tiles.csv` lists places off the annotations where a detector fired (id, split, set, image, x1, y1,
x2, y2, score; pixels of the stored photograph); a line of a label file is a sheet's number and up
to 64 letters, one a tile, id = 64 * sheet + position: R a real plate, N none, U cannot be told.
Two verdicts that differ make "unsure". Writes `judged_plates.csv` beside this file.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

JUDGED = Path(__file__).with_name("judged_plates.csv")
TILES_A_SHEET = 64
VERDICTS = {"R": "plate", "N": "notplate", "U": "unsure"}
COLUMNS = ("image", "split", "x1", "y1", "x2", "y2", "verdict")


def read_labels(paths: list[Path]) -> dict[int, str]:
    """Verdict by tile id."""
    verdicts: dict[int, str] = {}
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            sheet, letters = line.split()
            if not set(letters) <= set(VERDICTS) or len(letters) > TILES_A_SHEET:
                raise ValueError(
                    f"{path}:{number}: expected at most {TILES_A_SHEET} letters of R, N and U"
                )
            for position, letter in enumerate(letters):
                tile = TILES_A_SHEET * int(sheet) + position
                verdict = VERDICTS[letter]
                verdicts[tile] = verdict if verdicts.get(tile, verdict) == verdict else "unsure"
    return verdicts


def judge(tiles: Path, labels: list[Path], out: Path) -> Counter[tuple[str, str]]:
    """Write the judged places; tiles nobody has judged are left out. Gives counts."""
    verdicts = read_labels(labels)
    total: Counter[tuple[str, str]] = Counter()
    with tiles.open(newline="") as source, out.open("w", newline="") as target:
        writer = csv.DictWriter(target, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in csv.DictReader(source):
            verdict = verdicts.get(int(row["id"]), "")
            total[row["split"], verdict or "not judged"] += 1
            if verdict:
                writer.writerow({**row, "verdict": verdict})
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=JUDGED)
    args = parser.parse_args()
    for (split, verdict), count in sorted(judge(args.tiles, args.labels, args.out).items()):
        print(f"{split:6s} {verdict:12s} {count}")


if __name__ == "__main__":
    main()
