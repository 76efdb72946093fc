"""`alprd recognize`: plates in pictures, folders and clips, one line of JSON each."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alprd.commands.common import (
    EXIT_DONE,
    EXIT_FAILED,
    CommandError,
    Commands,
    add_attributes_option,
    asked_classifiers,
    quiet_native_libraries,
    write_error,
    write_line,
)

if TYPE_CHECKING:
    from alprd.config import InferenceSettings
    from alprd.recognize import Progress


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "recognize",
        help="read plates in pictures, folders and clips",
        description="Print one line of JSON per plate of a picture (best first) and per vehicle "
        "pass of a clip. Needs no broker and no configuration.",
        epilog="exit code 1 when a file could not be used; the others are read all the same",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="picture, clip, folder")
    parser.add_argument(
        "--annotate",
        type=Path,
        metavar="DIR",
        help="write pictures and clips there, with what was seen drawn into them",
    )
    parser.add_argument(
        "--min-confidence",
        type=_fraction,
        default=0.5,
        metavar="0..1",
        help="leave out plates below it (default: %(default)s)",
    )
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="default: the built-in ones")
    parser.add_argument("--detector", metavar="NAME", help="detector model (plate-detector)")
    parser.add_argument("--reader", metavar="NAME", help="reader model (plate-reader)")
    add_attributes_option(parser, takes_paths=True)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Recognize; the exit code is 1 when a file could not be used."""
    from alprd.config import InferenceSettings, LogSettings  # noqa: PLC0415 -- pydantic: 0.2 s
    from alprd.logs import configure_logging  # noqa: PLC0415

    # What the models have to say goes beside the results, not between them.
    configure_logging(LogSettings(level="warning", format="console"))
    chosen = {
        name: getattr(arguments, name)
        for name in ("models_dir", "detector", "reader")
        if getattr(arguments, name) is not None
    }
    if arguments.attributes is not None:
        quiet_native_libraries()
        chosen["attributes"] = asked_classifiers(arguments.attributes, arguments.models_dir)
    settings = InferenceSettings(**chosen)
    with _progress(shown=sys.stderr.isatty() and not arguments.quiet) as screen:
        return _recognize(
            arguments.paths,
            settings,
            screen,
            annotate_dir=arguments.annotate,
            min_confidence=arguments.min_confidence,
        )


class _Screen:
    """Where results, complaints and progress go."""

    def __init__(
        self,
        *,
        on_progress: Callable[[Progress], None] | None,
        line: Callable[[str], None],
        error: Callable[[str], None],
    ) -> None:
        self.on_progress = on_progress
        self.line = line
        self.error = error
        self.complaints = 0

    def complain(self, message: str) -> None:
        """A file could not be used."""
        self.complaints += 1
        self.error(message)


def _recognize(
    paths: list[Path],
    settings: InferenceSettings,
    screen: _Screen,
    *,
    annotate_dir: Path | None,
    min_confidence: float,
) -> int:
    quiet_native_libraries()
    # Imported late: `alprd --help` must not pay for OpenCV, and OpenCV reads the environment.
    from alprd.annotate import AnnotateError  # noqa: PLC0415
    from alprd.inference.models import load_models  # noqa: PLC0415
    from alprd.ports import EngineError  # noqa: PLC0415
    from alprd.recognize import recognize  # noqa: PLC0415

    try:
        with load_models(settings) as models:
            for result in recognize(
                paths,
                models,
                on_error=screen.complain,
                on_progress=screen.on_progress,
                annotate_dir=annotate_dir,
                min_confidence=min_confidence,
            ):
                screen.line(json.dumps(result))  # ASCII: no name or locale can refuse it
    except (AnnotateError, EngineError) as error:
        raise CommandError(str(error)) from error
    return EXIT_FAILED if screen.complaints else EXIT_DONE


@contextmanager
def _progress(*, shown: bool) -> Iterator[_Screen]:
    if not shown:
        yield _Screen(on_progress=None, line=write_line, error=write_error)
        return
    from rich import progress as rich_progress  # noqa: PLC0415 -- only a terminal needs it
    from rich.console import Console  # noqa: PLC0415

    with rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task("loading the models", total=None)

        def advance(progress: Progress) -> None:
            bar.update(
                task,
                description=Path(progress.source).name,
                total=progress.files,
                completed=progress.files_done + (progress.fraction or 0.0),
            )

        def over_the_bar(write: Callable[[str], None]) -> Callable[[str], None]:
            def write_over(text: str) -> None:
                # The bar's line is taken away for a moment, so that both stay whole.
                bar.stop()
                write(text)
                bar.start()

            return write_over

        yield _Screen(
            on_progress=advance, line=over_the_bar(write_line), error=over_the_bar(write_error)
        )


def _fraction(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise argparse.ArgumentTypeError(f"{text} is not within 0..1")
    return value
