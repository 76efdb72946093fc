"""Turns samples into alerts and tells them: retained messages, taken away when it is over.

What an earlier run left stays until this one knows better: an update must not look like a cure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import structlog

from alprd.config.wellbeing import AlertsSettings
from alprd.core.alerts import KINDS, SENSOR_GONE_S, AlertBook
from alprd.core.judging import Limits, findings
from alprd.ports import Clock

log = structlog.get_logger(__name__)

_REPEAT_S = 60.0

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
        self._first_s: float | None = None
        self._told: dict[str, tuple[float, Mapping[str, Any]]] = {}

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
        now_s = self._clock()
        enabled = self._settings.enabled
        changed = self._book.note(
            now_s,
            self._now(),
            findings(sample, self._limits) if enabled else (),
            raise_after_s=self._settings.raise_after_s,
            clear_after_s=self._settings.clear_after_s,
            gone_after_s=SENSOR_GONE_S if enabled else 0.0,
        )
        if changed:
            self._log(before)
        sample["alerts"] = self._book.raised()
        for kind in sorted(changed | self._known_to_be_over(now_s) | self._out_of_date(now_s)):
            self._tell(kind, now_s)
        return bool(changed)

    def _known_to_be_over(self, now_s: float) -> set[str]:
        """What an earlier run may have left although it would have been raised by now."""
        if self._first_s is None:
            self._first_s = now_s
        if now_s - self._first_s < self._settings.raise_after_s and self._settings.enabled:
            return set()
        return {kind for kind in self._unsaid if self._book.is_quiet(kind)}

    def _out_of_date(self, now_s: float) -> set[str]:
        """The alerts that say other figures by now; not at every look."""
        return {
            kind
            for kind, (told_s, payload) in self._told.items()
            if now_s - told_s >= _REPEAT_S and self._book.payload(kind) != payload
        }

    def _tell(self, kind: str, now_s: float) -> None:
        payload = self._book.payload(kind)
        self._say(kind, payload)
        self._unsaid.discard(kind)
        self._told.pop(kind, None)
        if payload is not None:
            self._told[kind] = now_s, payload

    def _log(self, before: Mapping[tuple[str, str | None], Mapping[str, Any]]) -> None:
        after = {(a["kind"], a["subject"]): a for a in self._book.raised()}
        for key in sorted(after.keys() - before.keys(), key=_in_order):
            alert = after[key]
            log.warning("alert.raised", kind=key[0], subject=key[1], message=alert["message"])
        for key in sorted(before.keys() - after.keys(), key=_in_order):
            log.info("alert.cleared", kind=key[0], subject=key[1])


def _in_order(key: tuple[str, str | None]) -> tuple[str, str]:
    return key[0], key[1] or ""
