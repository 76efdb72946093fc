"""`alprd check-config`: would `alprd run` accept this configuration, and what is in force?"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from alprd.commands.common import (
    EXIT_BAD_CONFIG,
    EXIT_DONE,
    EXIT_FAILED,
    CommandError,
    Commands,
    add_config_option,
    load_config,
    write_error,
    write_line,
)

if TYPE_CHECKING:
    from alprd.config import Settings


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "check-config",
        help="check the configuration and print what is in force",
        description="Check the configuration file, its drop-ins, the ALPRD_* environment and the "
        'model files. Prints "ok" and the effective configuration (secrets masked), or one line '
        "per problem and exit code 78.",
    )
    add_config_option(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but problems")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check everything that can be checked without starting."""
    settings = load_config(arguments.config)
    from alprd.commands.toml_text import toml_text  # noqa: PLC0415 -- pydantic takes 0.2 s
    from alprd.inference.backend import choose_backend  # noqa: PLC0415
    from alprd.inference.manifest import (  # noqa: PLC0415
        load_detector_manifest,
        load_onnx,
        load_reader_manifest,
    )
    from alprd.info import public_settings  # noqa: PLC0415
    from alprd.ports import EngineError, EngineUnavailable  # noqa: PLC0415

    inference = settings.inference
    checks: tuple[Callable[[], object], ...] = (
        lambda: choose_backend(inference),
        lambda: load_onnx(*load_detector_manifest(inference.detector, inference.models_dir)),
        lambda: load_onnx(*load_reader_manifest(inference.reader, inference.models_dir)),
    )
    problems: list[EngineError] = []
    for check in checks:
        try:
            check()
        except EngineError as error:
            problems.append(error)
    if problems:
        passing = all(isinstance(problem, EngineUnavailable) for problem in problems)
        code = EXIT_FAILED if passing else EXIT_BAD_CONFIG
        raise CommandError("\n".join(map(str, problems)), code)
    for warning in warnings(settings):
        write_error(f"warning: {warning}")
    if not arguments.quiet:
        write_line("ok")
        write_line("")
        write_line(toml_text(public_settings(settings)))
    return EXIT_DONE


def warnings(settings: Settings) -> list[str]:
    """What starts, but will not work as it stands on this machine."""
    found = []
    folder = settings.outbox.path.parent
    if not folder.is_dir():
        found.append(f"outbox.path: the folder {folder} does not exist yet; create it")
    elif not os.access(folder, os.W_OK):
        found.append(
            f"outbox.path: this user cannot write to {folder}; the daemon's user must be able to"
        )
    if any(map(settings.images_of, settings.cameras)):
        pictures = settings.images_path
        place = pictures if pictures.exists() else pictures.parent
        if not place.is_dir() or not os.access(place, os.W_OK):
            found.append(
                f"images.path: this user cannot keep pictures in {pictures}; the daemon's user must"
                " be able to, or it does not start"
            )
    for camera in settings.cameras:
        source = camera.source
        if camera.enabled and source.startswith("/") and not Path(source).exists():
            found.append(
                f"cameras.{camera.id}.source: {source} does not exist; "
                "the camera will be reported offline until it does"
            )
    return found
