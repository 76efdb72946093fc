"""Turns samples into alerts and tells them: retained messages, taken away when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import structlog

from alprd.config.wellbeing import AlertsSettings
from alprd.core.alerts import KINDS, AlertBook
from alprd.core.judging import Limits, findings
from alprd.ports import Clock

log = structlog.get_logger(__name__)

Say = Callable[[str, Mapping[str, Any] | None], None]
"""Publishes the message about a kind, retained; None takes it away."""


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Alarm:
    """Used by the health thread.

    Args:
        settings: [alerts].
        say: publishes.
        min_fps: camera id -> frames per second that it should be looked at.
        clock: monotonic seconds.
        now: aware wall time.
    """

    def __init__(
        self,
        settings: AlertsSettings,
        say: Say,
        *,
        min_fps: Mapping[str, float],
        clock: Clock = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._say = say
        self._clock = clock
        self._now = now
        self._book = AlertBook()
        self.use(settings, min_fps)
        self._unsaid = set(KINDS)  # an earlier run may have left something

    def use(self, settings: AlertsSettings, min_fps: Mapping[str, float]) -> None:
        """Judge by other limits; for the time when nobody calls `judge`.

        Args:
            settings: [alerts].
            min_fps: camera id -> frames per second that it should be looked at.
        """
        self._settings = settings
        self._limits = Limits(
            temperature_c=settings.temperature_c,
            memory_free_share=settings.memory_free_share,
            disk_free_share=settings.disk_free_share,
            outbox_wait_s=settings.outbox_wait_s,
            min_fps=dict(min_fps),
        )

    def judge(self, sample: dict[str, Any]) -> bool:
        """Write the alerts into the sample and tell what changed; True when something did."""
        before = {(a["kind"], a["subject"]): a for a in self._book.raised()}
        changed = self._book.note(
            self._clock(),
            self._now(),
            findings(sample, self._limits) if self._settings.enabled else (),
            raise_after_s=self._settings.raise_after_s,
            clear_after_s=self._settings.clear_after_s,
        )
        if changed:
            self._log(before)
        sample["alerts"] = self._book.raised()
        for kind in sorted(changed | self._unsaid):
            self._say(kind, self._book.payload(kind))
        self._unsaid.clear()
        return bool(changed)

    def _log(self, before: Mapping[tuple[str, str | None], Mapping[str, Any]]) -> None:
        after = {(a["kind"], a["subject"]): a for a in self._book.raised()}
        for key in sorted(after.keys() - before.keys(), key=_in_order):
            alert = after[key]
            log.warning("alert.raised", kind=key[0], subject=key[1], message=alert["message"])
        for key in sorted(before.keys() - after.keys(), key=_in_order):
            log.info("alert.cleared", kind=key[0], subject=key[1])


def _in_order(key: tuple[str, str | None]) -> tuple[str, str]:
    return key[0], key[1] or ""
