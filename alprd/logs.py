"""Logging: structlog for our own lines, the same chain for what libraries log.

Lines go to standard error: JSON in service, coloured text on a terminal. Every value passes the
mask for credentials, tracebacks included, and no traceback shows local variables, because those
hold passwords.

OpenCV and FFmpeg write to standard error themselves, past this chain, and quote URLs: they are
silenced by OPENCV_LOG_LEVEL=SILENT and OPENCV_FFMPEG_LOGLEVEL=-8, which must be in the environment
before `cv2` is imported.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from alprd.config.models import LogSettings
from alprd.core.secrets import MASK, mask_credentials
from alprd.log_repeats import RepeatLimiter

_HANDLER = "alprd"
_SECRET_KEYS = frozenset({"password", "passwd", "pwd", "secret", "token", "api_key"})
_MULTI_LINE_KEYS = frozenset({"exception", "stack"})
# What journald understands as a line's priority (sd-daemon(3)).
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def configure_logging(
    settings: LogSettings,
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send all logging of this process to the stream; may be called again after a reload.

    Args:
        settings: [log].
        stream: default: standard error.
        environ: the environment, for NO_COLOR and JOURNAL_STREAM.
    """
    stream = stream if stream is not None else sys.stderr
    terminal = stream.isatty()
    console = settings.format == "console" or (settings.format == "auto" and terminal)
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    rendering: list[Processor]
    if console:
        colors = terminal and not environ.get("NO_COLOR")
        rendering = [
            escape_controls,
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        render = structlog.processors.JSONRenderer(ensure_ascii=False)
        rendering = [_JournalLine(render) if _is_journal(stream, environ) else render]
    handler = logging.StreamHandler(stream)
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    for former in [h for h in root.handlers if h.get_name() == _HANDLER]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            RepeatLimiter(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            *chain,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a reload may change the level and format
    )


class _JournalLine:
    """Puts journald's priority before a line, so that `journalctl -p warning` filters."""

    def __init__(self, render: Processor) -> None:
        self._render = render

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        return f"<{priority}>{self._render(logger, method, event)!s}"


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected the stream to the journal: JOURNAL_STREAM is its device:inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream in memory
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask the credentials in every value, however deep."""
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: object, value: object) -> object:
    """The value as what JSON can hold, without credentials."""
    name = key.lower() if isinstance(key, str) else ""
    shown: object
    if name.startswith("_") or value is None or isinstance(value, (bool, int)):
        shown = value  # a leading "_" is structlog's own record, which is never rendered
    elif name in _SECRET_KEYS:
        shown = MASK
    elif isinstance(value, float):
        shown = value if math.isfinite(value) else str(value)  # JSON has no infinity
    elif isinstance(value, Mapping):
        shown = {mask_credentials(str(k)): _masked(k, v) for k, v in value.items()}
    elif isinstance(value, (list, tuple, set, frozenset)):
        shown = [_masked(None, item) for item in value]
    elif isinstance(value, BaseException):
        shown = mask_credentials(f"{type(value).__name__}: {value}")
    else:
        shown = mask_credentials(str(value) if isinstance(value, (str, Path)) else repr(value))
    return shown


def escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make control characters visible: a hostile name must not steer somebody's terminal."""
    return {
        key: _visible(value, keep="\n\t" if key in _MULTI_LINE_KEYS else "")
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _visible(text: str, *, keep: str) -> str:
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def log_uncaught_errors() -> None:
    """Log what would otherwise be a raw traceback on standard error, of any thread."""
    log = structlog.get_logger("alprd")

    def of_main(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.critical("daemon.crashed", exc_info=(kind, error, trace))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        name = args.thread.name if args.thread is not None else None
        log.critical(
            "thread.crashed", thread=name, exc_info=(args.exc_type, error, args.exc_traceback)
        )

    sys.excepthook = of_main
    threading.excepthook = of_thread
