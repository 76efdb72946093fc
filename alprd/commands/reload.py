"""`alprd reload`: what the service's ExecReload= runs."""

from __future__ import annotations

import argparse
import os
import signal

from alprd.commands.common import EXIT_BAD_CONFIG, EXIT_DONE, CommandError, Commands, write_line

TIMEOUT_S = 60.0


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "reload",
        help="have a running daemon read its configuration again; for its service",
        description="Send SIGHUP to the daemon, wait until the configuration is in force, and "
        "fail with the reasons when it is not. It is what `systemctl reload alprd` runs, as the "
        "daemon's user.",
    )
    parser.add_argument(
        "--pid", type=int, required=True, metavar="PID", help="the daemon's process"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"give up waiting after this time (default: {TIMEOUT_S:g})",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask, wait, tell."""
    from alprd.host.reload_result import ReloadListener, runtime_folder  # noqa: PLC0415

    folder = runtime_folder(os.environ)
    try:
        with ReloadListener(folder) as listener:
            try:
                os.kill(arguments.pid, signal.SIGHUP)
            except (ProcessLookupError, PermissionError) as error:
                raise CommandError(
                    f"process {arguments.pid} cannot be told: {error.strerror}; "
                    "use: systemctl reload alprd"
                ) from error
            problems = listener.wait(arguments.timeout)
    except TimeoutError as error:
        raise CommandError(
            f"no answer in {arguments.timeout:g} s; is process {arguments.pid} alprd? "
            "Its log says more"
        ) from error
    except OSError as error:
        raise CommandError(
            f"{folder}: {error.strerror}; use: systemctl reload alprd, which runs this with the "
            "daemon's runtime folder"
        ) from error
    if problems:
        raise CommandError(
            "\n".join([*problems, "nothing was changed: the configuration before stays in force"]),
            EXIT_BAD_CONFIG,
        )
    write_line("the configuration is in force")
    return EXIT_DONE
