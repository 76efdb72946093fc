"""Little things that are remembered over restarts, in the outbox; none is worth a failure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog

from alprd.ports import OutboxError
from alprd.publish.outbox import Outbox

log = structlog.get_logger(__name__)


class Notes:
    """Callable from any thread.

    Args:
        outbox: keeps them.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def recall(self, name: str) -> dict[str, Any]:
        """What was remembered under this name; empty when nothing was, or it makes no sense."""
        try:
            found = json.loads(self._outbox.recall(name) or "{}")
        except (OutboxError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep it; on a disk that takes nothing it is not."""
        try:
            self._outbox.remember(name, json.dumps(content, sort_keys=True))
        except OutboxError as error:
            log.warning("outbox.note_not_kept", name=name, reason=str(error))
