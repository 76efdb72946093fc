"""Messages in a file, one JSON object per line: written by `watch --record`, read by `--from`.

A line holds topic, payload (text; `payload_base64` instead where it is not UTF-8), qos, retain and
received_at.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from alprd.commands.common import CommandError, write_error
from alprd.core.events import format_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One message; `received_at` is aware."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    received_at: datetime


FIRST_WORD = b'{"topic"'
"""How every line of ours begins."""


class Recorder:
    """Appends messages to a file, each one at once, so that a crash costs none."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises CommandError."""
        self._path = path
        try:
            ends_in_a_line = _ends_in_a_line(path)
            self._file: IO[str] = path.open("a", encoding="utf-8")
            if ends_in_a_line:
                self._file.write("\n")
        except OSError as error:
            raise CommandError(f"--record: {path} cannot be written: {error.strerror}") from error

    def write(self, message: Recorded) -> None:
        """Append one message. Raises CommandError."""
        try:
            self._file.write(json.dumps(_to_json(message), ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise CommandError(
                f"--record: {self._path} cannot be written: {error.strerror}"
            ) from error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _ends_in_a_line(path: Path) -> bool:
    """Whether a recorder before us was stopped in the midst of one: ours must not go on in it."""
    if not path.is_file():  # a pipe has no end, and nothing is there yet in a new file
        return False
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_records(path: Path) -> Iterator[Recorded]:
    """The messages of a recording ("-": standard input), in order.

    Half a line, of a recorder that was killed, is passed over with a word.

    Raises:
        CommandError: the file cannot be read, or a line is no message.
    """
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield _from_json(json.loads(line))
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    if _is_cut_off(line, error):
                        write_error(f"{path}:{number}: the line is cut off; it was left out")
                        continue
                    raise CommandError(
                        f"{path}:{number}: no recorded message ({type(error).__name__}: {error}); "
                        "each line holds topic, payload, qos, retain and received_at"
                    ) from error
    except OSError as error:
        raise CommandError(f"--from: {path} cannot be read: {error.strerror}") from error


def _is_cut_off(line: bytes, error: Exception) -> bool:
    """Whether it can be what a killed recorder has left: the last line, or the beginning of one."""
    if not line.endswith(b"\n"):
        return True
    return line.startswith(FIRST_WORD) and isinstance(error, json.JSONDecodeError)


def _to_json(message: Recorded) -> dict[str, Any]:
    record: dict[str, Any] = {"topic": message.topic}
    try:
        record["payload"] = message.payload.decode("utf-8")
    except UnicodeDecodeError:
        record["payload_base64"] = base64.b64encode(message.payload).decode("ascii")
    return {
        **record,
        "qos": message.qos,
        "retain": message.retain,
        "received_at": format_time(message.received_at),
    }


def _from_json(record: dict[str, Any]) -> Recorded:
    if "payload" in record:
        payload = str(record["payload"]).encode("utf-8", "replace")
    else:
        try:
            payload = base64.b64decode(record["payload_base64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"payload_base64: {error}") from error
    at = datetime.fromisoformat(str(record["received_at"]).replace("Z", "+00:00"))
    if at.tzinfo is None:
        raise ValueError("received_at has no time zone; write ...Z for UTC")
    return Recorded(
        topic=str(record["topic"]),
        payload=payload,
        qos=int(record.get("qos", 0)),
        retain=bool(record.get("retain", False)),
        received_at=at,
    )
