"""`alprd watch`: see the events as they arrive, record them, and prove that none is missing."""

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
        "mqtt://localhost:1883 where there is no configuration. Ctrl-C ends it. With --audit it "
        "proves at the end that nothing was lost on the way: exit code 1 when an event is missing "
        "that its device did not announce as lost, when a number was given twice, or when no event "
        "was received at all.",
    )
    add_config_option(parser)
    parser.add_argument("--url", metavar="URL", help="mqtt://host[:port], or mqtts:// for TLS")
    parser.add_argument("--prefix", metavar="TOPIC", help="first topic level(s) (default: alpr)")
    parser.add_argument("--username", metavar="NAME", help="user name at the broker")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM file for mqtts://")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print every event as one line of JSON, nothing else; with --audit: the report",
    )
    parser.add_argument(
        "--tracks",
        action="store_true",
        help="also show what is read while vehicles are in view, where devices tell it",
    )
    parser.add_argument(
        "--audit", action="store_true", help="count what was received, prove that it is complete"
    )
    parser.add_argument(
        "--first-seq",
        type=_number,
        metavar="SEQ",
        help="with --audit: expect the numbers from this one on (default: the first heard of)",
    )
    parser.add_argument(
        "--for", type=_seconds, metavar="SECONDS", dest="for_s", help="end after this time"
    )
    parser.add_argument(
        "--session",
        metavar="NAME",
        help="client id of a session that the broker keeps, so that nothing is missed while this "
        "program or its connection is away",
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="append all that is heard to a file"
    )
    parser.add_argument(
        "--from",
        type=Path,
        metavar="FILE",
        dest="source",
        help="read a recording instead of subscribing; - is standard input",
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time; give seconds, more than 0")
    return value


def _number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of an event; the first one is 1")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Show events until Ctrl-C."""
    from alprd.commands import watch_show  # noqa: PLC0415 -- paho and rich are for this command only

    return watch_show.show(arguments)
