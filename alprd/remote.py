"""Executes the commands that came over MQTT, one after the other, in a thread of its own.

The publisher thread, which hears them, must never wait; and what a command waits for (a reload, a
picture, the models) takes its time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

import structlog

from alprd.errands import ErrandError
from alprd.ports import EngineError
from alprd.publish.commands import Request

MAX_WAITING: Final = 16
JOIN_S: Final = 0.5

Action = Callable[[str | None], Mapping[str, Any]]
"""Does what a command wants, for a camera or the device; returns the answer's data."""

Answer = Callable[..., None]

log = structlog.get_logger(__name__)


class CommandFailedError(Exception):
    """A command could not do what it should; the message names the remedy.

    Attributes:
        data: what it found out all the same.
    """

    def __init__(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data = data


class CommandWorker:
    """A context manager: entering starts the thread, leaving ends it.

    Args:
        actions: what each command does.
        answer: `CommandDesk.answer`.
    """

    def __init__(self, actions: Mapping[str, Action], answer: Answer) -> None:
        self._actions = dict(actions)
        self._answer = answer
        self._waiting: queue.Queue[Request | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    def submit(self, request: Request) -> bool:
        """Execute it soon; False when too many wait. Never blocks."""
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            return False
        return True

    def __enter__(self) -> CommandWorker:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while True:  # what was not begun is left undone
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        self._waiting.put(None)
        self._thread.join(JOIN_S)  # one that waits for a picture ends with the process

    def _run(self) -> None:
        while (request := self._waiting.get()) is not None:
            self._execute(request)

    def _execute(self, request: Request) -> None:
        started_s = time.monotonic()
        error: str | None = None
        data: Mapping[str, Any] | None = None
        try:
            data = self._actions[request.name](request.camera_id)
        except CommandFailedError as failed:
            error, data = str(failed), failed.data
        except (ErrandError, EngineError) as failed:
            error = str(failed)
        except Exception:  # a surprise in one command must not end all of them
            log.error("command.crashed", command=request.name, exc_info=True)
            error = "internal error; see the daemon's log"
        log.info(
            "command.done",
            command=request.name,
            camera=request.camera_id,
            error=error,
            took_s=round(time.monotonic() - started_s, 3),
        )
        self._answer(request.reply, data=data, error=error)
