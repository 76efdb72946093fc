"""The command line: parses, runs one command, turns expected failures into one line each.

Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import cast

from alprd import __version__
from alprd.commands import (
    bench,
    calibrate,
    check_config,
    demo,
    doctor,
    engines,
    recognize,
    reload,
    run,
    version,
    watch,
)
from alprd.commands.common import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    Command,
    CommandError,
    drop_stdout,
    write_error,
)

_EPILOG = """\
try:
  alprd recognize car.jpg          read plates in pictures, folders and clips; needs no set-up
  alprd check-config               is /etc/alprd/alprd.toml right?
  alprd run                        be the daemon
  alprd doctor                     what is wrong with this device?
  alprd watch                      see the events as they arrive
  alprd bench                      how fast is this machine?

exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="alprd",
        description="Licence plate recognition: cameras in, one MQTT event per vehicle pass out.",
        epilog=_EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=22),
    )
    parser.add_argument("--version", action="version", version=f"alprd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in (
        run,
        check_config,
        doctor,
        engines,
        calibrate,
        recognize,
        bench,
        watch,
        demo,
        reload,
        version,
    ):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # From 1.29 on ONNX Runtime tells its maker about the machine and the models unless told not to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as leaving:  # argparse leaves for --help, --version and usage errors
        return leaving.code if isinstance(leaving.code, int) else EXIT_USAGE
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        return cast("Command", arguments.run)(arguments)
    except CommandError as error:
        write_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        # `alprd recognize ... | head -1`: the reader has what it wanted.
        drop_stdout()
        return EXIT_DONE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
