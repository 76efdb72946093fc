"""`alprd version`: what runs here, for a bug report."""

from __future__ import annotations

import argparse
import json

from alprd.commands.common import EXIT_DONE, Commands, write_line
from alprd.versions import versions


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "version",
        help="print the versions of alprd and of what it rests on",
        description="Print the versions of alprd, of Python and of the libraries that matter.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the versions."""
    found = versions()
    if arguments.json:
        write_line(json.dumps(found))
    else:
        width = max(len(name) for name in found)
        for name, value in found.items():
            write_line(f"{name:<{width}}  {value}")
    return EXIT_DONE
