"""`alprd watch`: see the events as they arrive, on a terminal or through a pipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from alprd.commands.common import Commands, add_config_option


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "watch",
        help="show events as they arrive",
        description="Subscribe to every camera's events and states: a live table on a terminal, "
        "one line per event through a pipe. Without --url the broker is the configuration's, or "
        "mqtt://localhost:1883 where there is no configuration. Ctrl-C ends it.",
    )
    add_config_option(parser)
    parser.add_argument("--url", metavar="URL", help="mqtt://host[:port], or mqtts:// for TLS")
    parser.add_argument("--prefix", metavar="TOPIC", help="first topic level(s) (default: alpr)")
    parser.add_argument("--username", metavar="NAME", help="user name at the broker")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM file for mqtts://")
    parser.add_argument(
        "--json", action="store_true", help="print every event as one line of JSON, nothing else"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show events until Ctrl-C."""
    from alprd.commands import watch_show  # noqa: PLC0415 -- paho and rich are for this command only

    return watch_show.show(arguments)
