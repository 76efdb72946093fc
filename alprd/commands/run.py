"""`alprd run`: the daemon."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from alprd.commands.common import (
    EXIT_BAD_CONFIG,
    CommandError,
    Commands,
    add_config_option,
    load_config,
    quiet_native_libraries,
)
from alprd.stacks import stacks_on_abort


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "run",
        help="run the daemon",
        description="Read the configured cameras and publish one MQTT event per vehicle pass. "
        "SIGTERM and SIGINT drain and stop (a second one stops at once), SIGHUP reloads the "
        "configuration.",
    )
    add_config_option(parser)
    parser.add_argument(
        "--until-end",
        action="store_true",
        help="end when every camera is a file or folder that has been read to its end and the "
        "broker has acknowledged every event",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    with stacks_on_abort():  # first of all: numpy, which the configuration loads, starts threads
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    settings = load_config(arguments.config)
    quiet_native_libraries()
    # Imported late: `alprd --help` must not pay for OpenCV, and OpenCV reads the environment.
    from alprd import app  # noqa: PLC0415
    from alprd.cameras import captures_still_running, prepare_opencv  # noqa: PLC0415
    from alprd.config import load_settings  # noqa: PLC0415
    from alprd.host import reload_result  # noqa: PLC0415
    from alprd.host.systemd import Notifier  # noqa: PLC0415
    from alprd.logs import configure_logging, log_uncaught_errors  # noqa: PLC0415
    from alprd.ports import (  # noqa: PLC0415
        EngineError,
        EngineUnavailable,
        ImageStoreError,
        OutboxError,
    )

    configure_logging(settings.log)
    log_uncaught_errors()
    prepare_opencv()  # writes the environment, so before any thread reads it
    try:
        with Notifier.from_environment() as notify:
            code = app.run(
                settings,
                load=lambda: load_settings(arguments.config),
                notify=notify,
                on_reload=partial(reload_result.tell, reload_result.runtime_folder(os.environ)),
                until_end=arguments.until_end,
            )
    except EngineUnavailable as error:
        raise CommandError(str(error)) from error
    except EngineError as error:
        # Starting again would not help: the configuration names a model that cannot be used.
        raise CommandError(str(error), EXIT_BAD_CONFIG) from error
    except ImageStoreError as error:
        raise CommandError(str(error), EXIT_BAD_CONFIG) from error
    except OutboxError as error:
        raise CommandError(str(error)) from error
    if captures_still_running():
        # A driver's call cannot be cut short. If it came back while the interpreter shuts down,
        # the process would abort; everything of ours has been closed already.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
