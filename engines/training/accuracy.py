"""Measure the models as alprd runs them, print the table, and hold the ratchet.

    python -m engines.training.accuracy
    python -m engines.training.accuracy --details /tmp/details     # false plates and errors, to look at
    python -m engines.training.accuracy --update                   # accept what has become better
    python -m engines.training.accuracy --models /tmp/new --no-small  # models that are not here yet

Real figures are those of the val photographs, rendered ones of pictures made here from fixed
seeds. Ends with 1 when a figure is worse than `engines/accuracy.json` allows, with 2 when it
cannot measure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from alprd.ports import EngineError
from engines.training import accuracy_ratchet as ratchet
from engines.training.accuracy_data import DataMissingError, clip_frames, read_pictures, with_images
from engines.training.accuracy_details import write_details
from engines.training.accuracy_detect import Sighting, plate_figures, see, vehicle_figures
from engines.training.accuracy_figures import Figure, table
from engines.training.accuracy_models import Eyes, Sight
from engines.training.accuracy_page import write_worst_page
from engines.training.accuracy_read import (
    Reading,
    confidence_figures,
    confidence_table,
    confusions,
    end_to_end_figures,
    read_figures,
    read_plates,
    region_figures,
)
from engines.training.accuracy_render import (
    A_DESIGN,
    RENDERED,
    SCENES,
    RemedyNeededError,
    check_remedies,
    corner_figures,
    design_figures,
)
from engines.training.accuracy_report import errors_text, kinds_of_errors, markdown, rewrite

ENGINES = Path(__file__).resolve().parents[1]
DATA = ENGINES.parents[1] / "shared" / "data"
SMALL = "plate-detector-small"
FEW_SCENES = 12


def look_everywhere(
    data: Path, sight: Sight, eyes: Eyes | None
) -> tuple[list[Sighting], list[Reading]]:
    """Every val picture and frame, seen; and every plate with a known text, read."""
    sightings: list[Sighting] = []
    readings: list[Reading] = []
    for picture, image in with_images(data, read_pictures(data)):
        sighting = see(sight, eyes, picture, image)
        sightings.append(sighting)
        if eyes is not None:
            readings += read_plates(eyes, sighting, image)
    sightings += [see(sight, eyes, picture, image) for picture, image in clip_frames(data)]
    return sightings, readings


def measure(args: argparse.Namespace) -> tuple[list[Figure], dict[str, str], str, list[Reading]]:
    """All figures, the models they are of, and what else is worth saying."""
    check_remedies()
    eyes = Eyes(args.models, args.reader, args.threads)
    sight = Sight(args.models, args.detector, args.threads)
    models = {sight.name: sight.sha256, eyes.name: eyes.sha256}
    sightings, readings = look_everywhere(args.data, sight, eyes)
    figures = plate_figures(sightings, sight.name)
    figures += read_figures(readings) + end_to_end_figures(readings)
    figures += corner_figures(sight, eyes, FEW_SCENES if args.few else SCENES)
    figures += vehicle_figures(sightings, sight.name)
    figures += design_figures(eyes, 1 if args.few else A_DESIGN)
    figures += region_figures(readings, eyes.regions)
    figures += confidence_figures(readings)
    said = f"one threshold for all sets: {sight.threshold:g}; the reader's veto: quality under {eyes.min_quality:g}"
    if args.details is not None:
        write_details(args.details / sight.name, args.data, sightings, readings)
    if args.small and args.detector != SMALL:
        small = Sight(args.models, SMALL, args.threads)
        models[small.name] = small.sha256
        seen, _ = look_everywhere(args.data, small, None)
        if args.details is not None:
            write_details(args.details / small.name, args.data, seen, [])
        figures += [
            replace(figure, wanted=None, what=f"small: {figure.what}")
            for figure in plate_figures(seen, SMALL) + vehicle_figures(seen, SMALL)
        ]
    return figures, models, said, readings


def report(args: argparse.Namespace) -> int:
    """Measure, print, compare; gives the exit status."""
    started = time.monotonic()
    figures, models, said, readings = measure(args)
    print(table(figures))
    print(said)
    print(errors_text(readings))
    print(f"\n{time.monotonic() - started:.0f} s")
    if args.json is not None:
        content = {
            "models": models,
            "figures": {
                f.key: {"value": f.value, "cases": f.cases, "wanted": f.wanted} for f in figures
            },
            "reliability": confidence_table(readings),
            "errors": kinds_of_errors(readings),
            "confusions": dict(confusions(readings).most_common()),
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    accepted = ratchet.read_ratchet(args.ratchet)
    if args.partial:
        measured = {figure.key for figure in figures if figure.of != RENDERED or not args.few}
        accepted = {key: entry for key, entry in accepted.items() if key in measured}
    if args.update:
        accepted = ratchet.updated(figures, accepted, allow_lower=args.allow_lower)
        ratchet.write_ratchet(args.ratchet, accepted, models)
        rewrite(ENGINES / "README.md", markdown(figures, readings, said))
        write_worst_page(ENGINES / "errors.png", Eyes(args.models, args.reader, args.threads))
    worse = ratchet.fallen(figures, accepted)
    if worse:
        print("worse than the ratchet allows:\n  " + "\n  ".join(worse), file=sys.stderr)
        print(
            f"better models, or `--update --allow-lower` with the reason in the commit; {args.ratchet}",
            file=sys.stderr,
        )
        return 1
    print(f"the ratchet holds: {len(accepted)} figures, {args.ratchet}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the real photographs")
    parser.add_argument(
        "--models", type=Path, default=ENGINES, help="folder of the models' folders"
    )
    parser.add_argument("--detector", default="plate-detector", metavar="NAME")
    parser.add_argument("--reader", default="plate-reader", metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-small", dest="small", action="store_false", help=f"leave {SMALL} out")
    parser.add_argument("--few", action="store_true", help="few rendered pictures, to try it out")
    parser.add_argument("--json", type=Path, metavar="F", help="write every figure there")
    parser.add_argument("--details", type=Path, metavar="DIR", help="write crops to look at there")
    parser.add_argument("--ratchet", type=Path, default=ENGINES / "accuracy.json")
    parser.add_argument(
        "--update",
        action="store_true",
        help="raise the ratchet to these figures, and write them into engines/README.md",
    )
    parser.add_argument("--allow-lower", action="store_true", help="with --update: lower it too")
    parser.add_argument("--worst-page", type=Path, metavar="PNG", help="draw only that page")
    args = parser.parse_args(arguments)
    if args.allow_lower and not args.update:
        parser.error("--allow-lower says how far --update may go: give both")
    args.partial = args.few or not args.small or args.detector == SMALL
    if args.update and (args.partial or args.models.resolve() != ENGINES):
        parser.error("--update takes all figures of the models in this repository")
    if args.details is not None and args.details.resolve().is_relative_to(ENGINES.parent):
        parser.error(
            "--details holds pieces of real photographs: name a folder outside the repository"
        )
    return args


def main(arguments: list[str] | None = None) -> int:
    """Run; gives the exit status."""
    args = parse(arguments)
    try:
        if args.worst_page is not None:
            check_remedies()
            write_worst_page(args.worst_page, Eyes(args.models, args.reader, args.threads))
            return 0
        return report(args)
    except (DataMissingError, EngineError, RemedyNeededError) as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
