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


def add_attributes_option(parser: argparse.ArgumentParser, *, takes_paths: bool = False) -> None:
    """Add --attributes, for commands that need no configuration.

    Args:
        parser: of the command.
        takes_paths: paths follow the options, and must not be taken for names.
    """
    paths = ". Paths stand before it, or behind --" if takes_paths else ""
    parser.add_argument(
        "--attributes",
        type=_no_path if takes_paths else str,
        metavar="NAME",
        nargs="*",
        help="also say what vehicles are, with these classifiers; without a NAME with all that the "
        f"folder of the models has{paths}",
    )


def _no_path(name: str) -> str:
    if os.sep in name or Path(name).is_file():
        raise argparse.ArgumentTypeError(
            f"{name} is a path and no classifier's name; write paths before --attributes, or "
            f"--attributes -- {name}"
        )
    return name


def asked_classifiers(names: list[str], models_dir: Path | None) -> list[str]:
    """What `--attributes NAME...` means. Raises CommandError."""
    # Imported late: OpenCV comes along, and reads the environment.
    from alprd.inference.attribute_manifest import (  # noqa: PLC0415
        attribute_models,
        load_attribute_manifest,
    )
    from alprd.inference.manifest import load_onnx  # noqa: PLC0415
    from alprd.ports import EngineError  # noqa: PLC0415

    try:
        asked = list(dict.fromkeys(names)) or list(attribute_models(models_dir))
        for name in asked:  # the daemon goes on without one; who asks here wants its answers
            load_onnx(*load_attribute_manifest(name, models_dir))
    except EngineError as error:
        raise CommandError(str(error)) from error
    return asked


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
