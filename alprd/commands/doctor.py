"""`alprd doctor`: what is wrong with this device, and how is it mended?"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator

from alprd.commands.common import (
    EXIT_BAD_CONFIG,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_USAGE,
    CommandError,
    Commands,
    add_config_option,
    quiet_native_libraries,
    write_line,
)
from alprd.doctor.credentials import NOTHING, as_the_daemon_has_them, handed
from alprd.doctor.findings import Finding, problem, report, warning, worst
from alprd.doctor.person import person


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "doctor",
        help="check this device: cameras, models, broker, outbox, clock, disk, GPU",
        description="Check everything that the daemon needs, one line each: ok, warning or problem "
        "with its remedy. Beside a running daemon cameras are not opened a second time. Exit code: "
        "0, 1 with a problem, 78 with a configuration that cannot be used.",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="judge permissions as this user has them (default: alprd for root, else yourself)",
    )
    parser.add_argument(
        "--open-cameras",
        action="store_true",
        help="open cameras also when a running daemon has them",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything."""
    quiet_native_libraries()
    from alprd.config import (  # noqa: PLC0415 -- pydantic takes 0.2 s
        ConfigError,
        LogSettings,
        load_settings,
    )
    from alprd.config.load import DEFAULT_PATH, main_file  # noqa: PLC0415
    from alprd.logs import configure_logging  # noqa: PLC0415

    configure_logging(LogSettings(level="error"))  # what matters stands in the findings
    # Passwords are handed to the daemon alone: without them a broker that works would refuse us.
    is_the_daemons = main_file(arguments.config) == DEFAULT_PATH
    given = handed() if is_the_daemons else NOTHING
    try:
        with as_the_daemon_has_them(given, os.environ) as environ:
            settings = load_settings(arguments.config, environ=environ)
    except ConfigError as error:
        found = [problem("configuration", text) for text in error.problems]
        if given.unreadable:
            text = (
                "systemd hands some to the daemon that root alone may read; run the doctor as root"
            )
            found.append(warning("secrets", text))
        _show(found, as_json=arguments.json)
        return EXIT_BAD_CONFIG
    from alprd.cameras import prepare_opencv  # noqa: PLC0415 -- OpenCV reads the environment
    from alprd.doctor.visit import Surroundings, visit  # noqa: PLC0415

    try:
        who = person(arguments.user)
    except KeyError as error:
        raise CommandError(f"there is no user {arguments.user}", EXIT_USAGE) from error
    prepare_opencv()
    found = _show(
        visit(settings, Surroundings(who=who, handed=given), open_cameras=arguments.open_cameras),
        as_json=arguments.json,
    )
    return EXIT_FAILED if worst(found) == "problem" else EXIT_DONE


def _show(findings: Iterable[Finding], *, as_json: bool) -> list[Finding]:
    def noted() -> Iterator[Finding]:
        for finding in findings:
            if not as_json:
                write_line(finding.line())
            yield finding

    found = list(noted())
    if as_json:
        write_line(json.dumps(report(found), ensure_ascii=False))
    return found
