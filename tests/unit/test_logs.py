"""What the log looks like, and what never gets into it."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from alprd.config import LogSettings
from alprd.logs import configure_logging, log_uncaught_errors

SECRET = "hunter2"  # noqa: S105 -- looked for in every line
URL = f"rtsp://admin:{SECRET}@10.0.0.7/main"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    root.handlers[:], root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)
    structlog.reset_defaults()


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(stream: io.StringIO | None = None, **settings: str) -> io.StringIO:
    stream = stream if stream is not None else io.StringIO()
    configure_logging(LogSettings.model_validate(settings), stream=stream, environ={})
    return stream


def test_a_line_in_service_is_json_with_time_level_event_and_values() -> None:
    stream = configured()
    structlog.get_logger("alprd.cameras").info("camera.lost", camera="gate-in", retry_in_s=4)
    (line,) = json_lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "camera.lost",
        "level": "info",
        "logger": "alprd.cameras",
        "camera": "gate-in",
        "retry_in_s": 4,
    }


def test_a_line_on_a_terminal_is_for_people() -> None:
    stream = configured(Terminal())
    structlog.get_logger().warning("camera.lost", camera="gate-in")
    text = stream.getvalue()
    assert "camera.lost" in text
    assert not text.startswith("{")


def test_no_colour_is_honoured() -> None:
    stream = Terminal()
    configure_logging(LogSettings(), stream=stream, environ={"NO_COLOR": "1"})
    structlog.get_logger().warning("camera.lost")
    assert "\x1b" not in stream.getvalue()


def test_a_format_that_is_asked_for_wins_over_the_terminal() -> None:
    stream = configured(Terminal(), format="json")
    structlog.get_logger().warning("camera.lost")
    assert json_lines(stream)[0]["event"] == "camera.lost"


def test_the_level_filters_our_lines_and_those_of_libraries() -> None:
    stream = configured(level="warning")
    structlog.get_logger().info("camera.opened")
    logging.getLogger("paho").info("sending")
    structlog.get_logger().error("camera.lost")
    assert [line["event"] for line in json_lines(stream)] == ["camera.lost"]


def test_configuring_again_changes_the_level_of_loggers_that_exist() -> None:
    stream = io.StringIO()
    configured(stream, level="error")
    log = structlog.get_logger("existing")
    log.info("one")
    configured(stream, level="debug")
    log.debug("two")
    assert [line["event"] for line in json_lines(stream)] == ["two"]


def test_a_librarys_line_takes_the_same_way() -> None:
    stream = configured()
    logging.getLogger("paho.mqtt").error("cannot reach %s", "mqtt://u:hunter2@broker")
    (line,) = json_lines(stream)
    assert (line["event"], line["logger"], line["level"]) == (
        "cannot reach mqtt://u:***@broker",
        "paho.mqtt",
        "error",
    )


def test_a_warning_of_python_takes_the_same_way() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    assert json_lines(stream)[0]["logger"] == "py.warnings"


@pytest.mark.parametrize("settings", [{"format": "json"}, {"format": "console"}])
def test_no_password_gets_into_a_line(settings: dict[str, str]) -> None:
    stream = configured(**settings)
    log = structlog.get_logger()
    log.error(
        f"opening {URL}",
        source=URL,
        nested={"list": [URL, (URL,)], URL: {URL}},
        error=OSError(f"cannot open {URL}"),
        path=Path(f"/tmp/{URL}"),  # noqa: S108 -- never opened
        anything=object.__new__(type("Odd", (), {"__repr__": lambda _: URL})),
        raw=URL.encode(),
        password=SECRET,
    )
    try:
        raise OSError(f"cannot open {URL}")
    except OSError:
        log.exception("camera.lost")
        logging.getLogger("library").exception("failed at %s", URL)
    text = stream.getvalue()
    assert SECRET not in text
    assert text.count("admin:***@10.0.0.7") >= 9


@pytest.mark.parametrize("settings", [{"format": "json"}, {"format": "console"}])
def test_a_traceback_shows_no_local_variables(settings: dict[str, str]) -> None:
    stream = configured(**settings)
    secret_of_a_local = "-".join(["local", "value"])
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("stage.failed")
    text = stream.getvalue()
    assert "ValueError: broken" in text
    assert secret_of_a_local not in text


def test_a_line_stays_json_whatever_is_logged() -> None:
    stream = configured()
    structlog.get_logger().info("odd", a=float("nan"), b=float("inf"), c={1: b"\xff"}, d="\n\x1b")
    (line,) = json_lines(stream)
    assert "NaN" not in stream.getvalue()
    assert (line["a"], line["b"], line["d"]) == ("nan", "inf", "\n\x1b")


def test_a_hostile_value_cannot_steer_the_terminal() -> None:
    stream = Terminal()
    configure_logging(LogSettings(), stream=stream, environ={"NO_COLOR": "1"})
    structlog.get_logger().info("command.refused", topic="x\x1b[2J\nfake line")
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert "fake line" in line


def test_in_the_journal_a_line_carries_its_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        configure_logging(LogSettings(), stream=stream, environ=environ)
        structlog.get_logger().error("camera.lost")
        logging.getLogger("paho").warning("slow")
        stream.seek(0)
        first, second = stream.read().splitlines()
    assert first.startswith('<3>{"')
    assert second.startswith('<4>{"')
    assert json.loads(first[3:])["event"] == "camera.lost"


def test_another_stream_than_the_journals_gets_no_priority(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+") as stream:
        environ = {"JOURNAL_STREAM": "1:1"}
        configure_logging(LogSettings(), stream=stream, environ=environ)
        structlog.get_logger().error("camera.lost")
        stream.seek(0)
        assert stream.read().startswith("{")


def test_an_uncaught_error_of_a_thread_is_a_masked_line() -> None:
    stream = configured()
    log_uncaught_errors()

    def fail() -> None:
        raise OSError(f"cannot open {URL}")

    thread = threading.Thread(target=fail, name="camera gate-in")
    thread.start()
    thread.join()
    (line,) = json_lines(stream)
    assert (line["event"], line["thread"], line["level"]) == (
        "thread.crashed",
        "camera gate-in",
        "critical",
    )
    assert "admin:***@10.0.0.7" in line["exception"]
    assert SECRET not in stream.getvalue()


def test_an_uncaught_error_of_the_main_thread_is_a_masked_line() -> None:
    stream = configured()
    log_uncaught_errors()
    error = OSError(f"cannot open {URL}")
    sys.excepthook(OSError, error, None)
    (line,) = json_lines(stream)
    assert line["event"] == "daemon.crashed"
    assert SECRET not in stream.getvalue()
