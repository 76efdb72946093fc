"""What `alprd watch` does: chooses where messages come from, and what is made of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from alprd.commands.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_USAGE,
    CommandError,
    load_config,
    write_error,
    write_line,
)
from alprd.commands.watch_audit import report_json, report_lines
from alprd.commands.watch_client import Subscriber
from alprd.commands.watch_record import Recorded, Recorder, read_records
from alprd.commands.watch_view import View
from alprd.config import MqttSettings
from alprd.core.audit import Audit
from alprd.publish.brokers import brokers_of

REFRESH_S = 0.25
AUDIT_REFRESH_S = 1.0
BATCH = 1000
_DEFAULT_CONFIG = Path("/etc/alprd/alprd.toml")

Batches = Iterator[tuple[list[Recorded], str]]
"""What came since the last time, and how it stands with the source of it."""


def show(arguments: argparse.Namespace) -> int:
    """Show or audit until Ctrl-C, the end of the time, or the end of the recording."""
    with ExitStack() as opened:
        if arguments.source is not None:
            prefix, subscriber = arguments.prefix, None
            batches = _recording(arguments.source)
        else:
            settings = choose_broker(arguments)
            prefix = settings.prefix
            subscriber = opened.enter_context(
                Subscriber(
                    brokers_of(settings),
                    prefix,
                    tracks=arguments.tracks,
                    session=arguments.session,
                )
            )
            batches = _live(subscriber, arguments.for_s)
        if arguments.record is not None:
            batches = _recorded(batches, opened.enter_context(Recorder(arguments.record)))
        if arguments.audit:
            return _audit(batches, arguments, subscriber)
        view = View(prefix=prefix, with_tracks=arguments.tracks)
        try:
            if arguments.json:
                _print_json(batches, ("plates", "tracks") if arguments.tracks else ("plates",))
            elif sys.stdout.isatty():
                _show_table(batches, view)
            else:
                _print_lines(batches, view)
        except KeyboardInterrupt:
            pass  # the usual way to end it
    return EXIT_DONE


def _live(subscriber: Subscriber, for_s: float | None) -> Batches:
    end_s = None if for_s is None else time.monotonic() + for_s
    while end_s is None or time.monotonic() < end_s:
        yield subscriber.poll(REFRESH_S), subscriber.connection


def _recording(path: Path) -> Batches:
    batch: list[Recorded] = []
    for message in read_records(path):
        batch.append(message)
        if len(batch) == BATCH:
            yield batch, str(path)
            batch = []
    yield batch, str(path)


def _recorded(batches: Batches, recorder: Recorder) -> Batches:
    for messages, connection in batches:
        for message in messages:
            recorder.write(message)
        yield messages, connection


def _audit(batches: Batches, arguments: argparse.Namespace, subscriber: Subscriber | None) -> int:
    audit = Audit(first_seq=arguments.first_seq)
    live = subscriber is not None and sys.stdout.isatty() and not arguments.json
    with ExitStack() as opened:
        table = opened.enter_context(Live(auto_refresh=False, transient=True)) if live else None
        next_s = time.monotonic()
        try:
            for messages, connection in batches:
                for message in messages:
                    audit.take(message.topic, message.payload, received_at=message.received_at)
                if table is not None and time.monotonic() >= next_s:
                    lines = [*report_lines(audit.report()), f"{connection}; Ctrl-C ends"]
                    table.update(Text("\n".join(lines)), refresh=True)
                    next_s = time.monotonic() + AUDIT_REFRESH_S
        except KeyboardInterrupt:
            pass  # the usual way to end it
    report = audit.report()
    interruptions = 0 if subscriber is None else subscriber.interruptions
    if arguments.json:
        write_line(json.dumps({**report_json(report), "interruptions": interruptions}))
    else:
        for line in report_lines(report):
            write_line(line)
    if interruptions and arguments.session is None:
        write_error(
            f"this subscriber itself was cut off {interruptions} times and heard nothing meanwhile;"
            " --session NAME lets the broker keep what comes"
        )
    return EXIT_DONE if report.is_proven else EXIT_FAILED


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


def _print_json(batches: Batches, kinds: Collection[str]) -> None:
    for messages, _ in batches:
        for message in messages:
            if message.topic.rpartition("/")[2] in kinds:
                try:
                    write_line(json.dumps(json.loads(message.payload), ensure_ascii=False))
                except (ValueError, RecursionError):
                    continue  # somebody else's message on our topic


def _print_lines(batches: Batches, view: View) -> None:
    for messages, connection in batches:
        for message in messages:
            line = view.take(message.topic, message.payload)
            if line is not None:
                write_line(line)
        if connection != view.connection:
            view.connection = connection
            write_error(connection)


def _show_table(batches: Batches, view: View) -> None:
    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for messages, connection in batches:
            for message in messages:
                view.take(message.topic, message.payload)
            view.connection = connection
            live.update(view.render(console.height), refresh=True)
