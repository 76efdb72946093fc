"""Alerts: a bad state that lasts becomes one, and only a good state that lasts ends it.

Between the limit that raises an alert and the one that clears it, and while a figure is unknown,
everything stays as it is: what has lasted so far neither counts on nor is forgotten.
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

SENSOR_GONE_S: Final = 300.0
"""What no source has mentioned for so long no longer exists."""

# Sensors come and go with the program that reports them; a camera that is gone was removed.
_FLICKERING: Final = frozenset({"over_temperature"})
_EPSILON_S: Final = 1e-6


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
    """One (kind, subject).

    Attributes:
        finding: the newest that says what is bad.
        looked_s: when it was looked at last,
        state: and what was seen: bad, good, or neither.
        mentioned_s: when a finding was last about it.
        turned_s: how long it has been otherwise than is said, less the time that it was not.
        raised_at: since when there is an alert.
    """

    finding: Finding
    looked_s: float
    mentioned_s: float
    state: bool | None = None
    turned_s: float = 0.0
    raised_at: datetime | None = None


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
        gone_after_s: float = SENSOR_GONE_S,
    ) -> frozenset[str]:
        """Take a look into account.

        What the findings do not mention no longer exists (a camera that was removed): its alert
        ends at once; a sensor's only after a while, in which it is taken for unknown.

        Args:
            now_s: monotonic seconds.
            at: the same moment for people, aware.
            findings: of everything that there is now.
            raise_after_s: a bad state must last so long.
            clear_after_s: a good state must last so long.
            gone_after_s: a sensor that is not mentioned for so long no longer exists.

        Returns:
            The kinds of which an alert was raised or ended.
        """
        changed: set[str] = set()
        cases: dict[tuple[str, str], _Case] = {}
        for finding in findings:
            key = (finding.kind, finding.subject or "")
            case = self._cases.pop(key, None) or _Case(finding, now_s, now_s)
            case.mentioned_s = now_s
            patience_s = raise_after_s if case.raised_at is None else clear_after_s
            if _turn(case, finding, now_s, patience_s):
                case.raised_at = at if case.raised_at is None else None
                changed.add(finding.kind)
            cases[key] = case
        for key, case in list(self._cases.items()):
            if key[0] in _FLICKERING and now_s - case.mentioned_s < gone_after_s:
                _turn(case, None, now_s, raise_after_s)
                cases[key] = self._cases.pop(key)
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

    def is_quiet(self, kind: str) -> bool:
        """Whether there is no such alert, and nothing on the way to one."""
        return not any(
            case.raised_at is not None or case.state or case.turned_s > 0.0
            for (name, _), case in self._cases.items()
            if name == kind
        )

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


def _turn(case: _Case, finding: Finding | None, now_s: float, patience_s: float) -> bool:
    """Follow one case; True when the other state has lasted long enough.

    The time between two looks counts for what the first of them saw. What the other state has
    lasted is taken back as slowly as it came: a camera that comes back for a moment now and then
    is stalled all the same, and one look just past a limit does not put off the end of an alert.
    """
    is_raised = case.raised_at is not None
    if case.state is not None:
        passed_s = now_s - case.looked_s
        case.turned_s += passed_s if case.state is not is_raised else -passed_s
        case.turned_s = min(max(case.turned_s, 0.0), patience_s)
    case.looked_s = now_s
    case.state = None if finding is None else finding.bad
    if finding is None:
        return False
    if finding.bad or not is_raised:  # an alert goes on saying what was bad
        case.finding = finding
    if finding.bad is None or finding.bad is is_raised:
        return False
    if case.turned_s < patience_s - _EPSILON_S:
        return False
    case.turned_s = 0.0
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
