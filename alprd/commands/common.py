"""What the commands share: exit codes, output that survives a closed pipe, common options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from alprd.core.secrets import mask_credentials

if TYPE_CHECKING:
    from alprd.config import Settings

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BAD_CONFIG = 78
EXIT_INTERRUPTED = 130

Command = Callable[[argparse.Namespace], int]
"""Runs one command and returns its exit code."""


class Commands(Protocol):
    """Where a command registers its parser (argparse gives the real type no public name)."""

    def add_parser(
        self,
        name: str,
        *,
        help: str,
        description: str,
        epilog: str | None = None,
        formatter_class: type[argparse.HelpFormatter] = ...,
    ) -> argparse.ArgumentParser:
        """As argparse's."""


class CommandError(Exception):
    """An expected failure: one line for the operator, and the exit code."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: $ALPRD_CONFIG_FILE, else /etc/alprd/alprd.toml); "
        "conf.d/*.toml beside it is read too",
    )


def add_attributes_option(parser: argparse.ArgumentParser) -> None:
    """Add --attributes, for commands that need no configuration."""
    parser.add_argument(
        "--attributes",
        metavar="NAME",
        nargs="*",
        help="also say what vehicles are, with these classifiers; without a NAME (then as the "
        "last option) with all that the folder of the models has",
    )


def asked_classifiers(names: list[str], models_dir: Path | None) -> list[str]:
    """What `--attributes NAME...` means. Raises CommandError."""
    # Imported late: OpenCV comes along, and reads the environment.
    from alprd.inference.attribute_manifest import (  # noqa: PLC0415
        attribute_models,
        load_attribute_manifest,
    )
    from alprd.ports import EngineError  # noqa: PLC0415

    try:
        for name in names:  # the daemon goes on without one; who names it here wants its answers
            load_attribute_manifest(name, models_dir)
        return list(dict.fromkeys(names)) or list(attribute_models(models_dir))
    except EngineError as error:
        raise CommandError(str(error)) from error


def load_config(path: Path | None) -> Settings:
    """The configuration, or a CommandError with exit code 78."""
    from alprd.config import ConfigError, load_settings  # noqa: PLC0415 -- pydantic takes 0.2 s

    try:
        return load_settings(path)
    except ConfigError as error:
        raise CommandError(str(error), EXIT_BAD_CONFIG) from error


def write_line(text: str) -> None:
    """One line to standard output, flushed, so that a pipe sees it at once.

    What the output's encoding cannot say is escaped.
    """
    encoding = sys.stdout.encoding or "utf-8"  # a stream in memory has none
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def write_error(message: str, *, program: str = "alprd") -> None:
    """Every line of `message` to standard error, each named by the program."""
    for line in mask_credentials(message).splitlines() or [""]:
        sys.stderr.write(f"{program}: {line}\n")
    sys.stderr.flush()


def drop_stdout() -> None:
    """After a broken pipe: let the interpreter's last flush go nowhere instead of failing."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)


def quiet_native_libraries(environ: MutableMapping[str, str] = os.environ) -> None:
    """Keep OpenCV, FFmpeg and ONNX Runtime off standard error; call before cv2 is imported.

    What goes wrong is in our own log with the camera's name; their lines hold URLs with passwords.
    """
    for name, value in _QUIET.items():
        environ.setdefault(name, value)


_QUIET: Mapping[str, str] = {
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_VIDEOIO_DEBUG": "0",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "GST_DEBUG": "0",
}
