"""Alerts: a bad state that lasts becomes one, and only a good state that lasts ends it.

Between the limit that raises an alert and the one that clears it, and while a figure is unknown,
everything stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from alprd.core.events import format_time

SCHEMA: Final = "alprd.alert/1"

KINDS: Final = (
    "over_temperature",
    "throttled",
    "low_memory",
    "disk_nearly_full",
    "camera_stalled",
    "camera_blind",
    "clock_not_synchronised",
    "outbox_growing",
    "fps_below_target",
    "engine_mismatch",
)
"""What alerts there are; each has a topic of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look says about one possible alert.

    Attributes:
        kind: one of KINDS.
        subject: what it is about: a camera, a sensor; None for the device.
        bad: True is bad, False is good, None is neither or unknown.
        message: one line for people, with the remedy; used while bad.
        value: the figure that was judged, None when it is no number.
        limit: what raises the alert.
    """

    kind: str
    subject: str | None = None
    bad: bool | None
    message: str = ""
    value: float | None = None
    limit: float | None = None


@dataclass(slots=True)
class _Case:
    """One (kind, subject): the newest finding and since when it differs from what is said."""

    finding: Finding
    raised_at: datetime | None = None
    turning_since_s: float | None = None


class AlertBook:
    """Remembers what is raised; used by one thread."""

    def __init__(self) -> None:
        self._cases: dict[tuple[str, str], _Case] = {}

    def note(
        self,
        now_s: float,
        at: datetime,
        findings: Iterable[Finding],
        *,
        raise_after_s: float,
        clear_after_s: float,
    ) -> frozenset[str]:
        """Take a look into account.

        What the findings do not mention no longer exists (a camera that was removed): its alert
        ends at once.

        Args:
            now_s: monotonic seconds.
            at: the same moment for people, aware.
            findings: of everything that there is now.
            raise_after_s: a bad state must last so long.
            clear_after_s: a good state must last so long.

        Returns:
            The kinds of which an alert was raised or ended.
        """
        changed: set[str] = set()
        cases: dict[tuple[str, str], _Case] = {}
        for finding in findings:
            key = (finding.kind, finding.subject or "")
            case = self._cases.pop(key, None) or _Case(finding)
            patience_s = raise_after_s if case.raised_at is None else clear_after_s
            if _turn(case, finding, now_s, patience_s):
                case.raised_at = at if case.raised_at is None else None
                changed.add(finding.kind)
            cases[key] = case
        changed |= {kind for (kind, _), gone in self._cases.items() if gone.raised_at is not None}
        self._cases = cases
        return frozenset(changed)

    def raised(self) -> list[dict[str, Any]]:
        """The alerts of this moment, by kind and subject."""
        return [
            _alert(case.finding, case.raised_at)
            for _, case in sorted(self._cases.items(), key=lambda item: item[0])
            if case.raised_at is not None
        ]

    def payload(self, kind: str) -> Mapping[str, Any] | None:
        """The message about a kind; None while there is no such alert."""
        alerts = [alert for alert in self.raised() if alert["kind"] == kind]
        if not alerts:
            return None
        return {
            "schema": SCHEMA,
            "kind": kind,
            "since": min(alert["since"] for alert in alerts),
            "alerts": alerts,
        }


def _turn(case: _Case, finding: Finding, now_s: float, patience_s: float) -> bool:
    """Follow one case; True when the other state has lasted long enough."""
    is_raised = case.raised_at is not None
    if finding.bad or not is_raised:  # an alert goes on saying what was bad
        case.finding = finding
    if finding.bad is None or finding.bad is is_raised:
        case.turning_since_s = None
        return False
    if case.turning_since_s is None:
        case.turning_since_s = now_s
    if now_s - case.turning_since_s < patience_s:
        return False
    case.turning_since_s = None
    return True


def _alert(finding: Finding, since: datetime) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "subject": finding.subject,
        "since": format_time(since),
        "message": finding.message,
        "value": finding.value,
        "limit": finding.limit,
    }
