"""What `alprd watch` does: chooses the broker, then prints lines or keeps a table up to date."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from alprd.commands.common import EXIT_DONE, EXIT_USAGE, CommandError, load_config, write_line
from alprd.commands.watch_client import Subscriber
from alprd.commands.watch_view import View
from alprd.config import MqttSettings
from alprd.publish.brokers import brokers_of

REFRESH_S = 0.25
_DEFAULT_CONFIG = Path("/etc/alprd/alprd.toml")


def show(arguments: argparse.Namespace) -> int:
    """Show events until Ctrl-C."""
    settings = choose_broker(arguments)
    view = View(prefix=settings.prefix)
    try:
        with Subscriber(brokers_of(settings), settings.prefix) as subscriber:
            if arguments.json:
                _print_json(subscriber)
            elif sys.stdout.isatty():
                _show_table(subscriber, view)
            else:
                _print_lines(subscriber, view)
    except KeyboardInterrupt:
        pass  # the usual way to end it
    return EXIT_DONE


def choose_broker(arguments: argparse.Namespace) -> MqttSettings:
    """Where to subscribe: the options over the configuration over the defaults."""
    configured = arguments.config or os.environ.get("ALPRD_CONFIG_FILE")
    given: dict[str, Any] = {}
    if configured or (arguments.url is None and _DEFAULT_CONFIG.exists()):
        mqtt = load_config(arguments.config).mqtt
        given = {name: getattr(mqtt, name) for name in MqttSettings.model_fields}
    if arguments.url is not None:
        # Credentials are for the broker that they were configured for, and for no other.
        given = {"url": arguments.url, "prefix": given.get("prefix", MqttSettings().prefix)}
    if arguments.prefix is not None:
        given["prefix"] = arguments.prefix
    if arguments.username is not None:
        given["username"] = arguments.username
    if arguments.password_file is not None:
        given["password"] = _password(arguments.password_file)
    if arguments.ca_file is not None:
        given["ca_file"] = arguments.ca_file
    try:
        return MqttSettings.model_validate(given)
    except ValidationError as error:
        problems = [
            f"--{str(found['loc'][0]).replace('_', '-')}: "
            f"{found['msg'].removeprefix('Value error, ')}"
            for found in error.errors(include_input=False, include_url=False)
        ]
        raise CommandError("\n".join(problems), EXIT_USAGE) from None


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--password-file: {path} cannot be read: {error}") from error


def _print_json(subscriber: Subscriber) -> None:
    while True:
        for topic, payload in subscriber.poll(REFRESH_S):
            if topic.endswith("/plates"):
                try:
                    write_line(json.dumps(json.loads(payload), ensure_ascii=False))
                except ValueError:
                    continue  # somebody else's message on our topic


def _print_lines(subscriber: Subscriber, view: View) -> None:
    while True:
        for topic, payload in subscriber.poll(REFRESH_S):
            line = view.take(topic, payload)
            if line is not None:
                write_line(line)
        if subscriber.connection != view.connection:
            view.connection = subscriber.connection
            sys.stderr.write(f"alprd: {view.connection}\n")
            sys.stderr.flush()


def _show_table(subscriber: Subscriber, view: View) -> None:
    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            for topic, payload in subscriber.poll(REFRESH_S):
                view.take(topic, payload)
            view.connection = subscriber.connection
            live.update(view.render(console.height), refresh=True)
