"""Messages in a file, one JSON object per line: written by `watch --record`, read by `--from`.

A line holds topic, payload (text; `payload_base64` instead where it is not UTF-8), qos, retain and
received_at.
"""

from __future__ import annotations

import base64
import binascii
import json
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


class Recorder:
    """Appends messages to a file, each one at once, so that a crash costs none."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises CommandError."""
        self._path = path
        try:
            self._file: IO[str] = path.open("a", encoding="utf-8")
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


def read_records(path: Path) -> Iterator[Recorded]:
    """The messages of a recording ("-": standard input), in order.

    Half a line at the very end, of a recorder that was killed, is passed over with a word.

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
                    if not line.endswith(b"\n"):
                        write_error(f"{path}:{number}: the last line is cut off; it was left out")
                        return
                    raise CommandError(
                        f"{path}:{number}: no recorded message ({type(error).__name__}: {error}); "
                        "each line holds topic, payload, qos, retain and received_at"
                    ) from error
    except OSError as error:
        raise CommandError(f"--from: {path} cannot be read: {error.strerror}") from error


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
