"""What the doctor says: one line per check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from alprd.core.secrets import mask_credentials

SCHEMA: Final = "alprd.doctor/1"

Level = Literal["ok", "warning", "problem"]
_LEVELS: Final[tuple[Level, ...]] = ("ok", "warning", "problem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line.

    Attributes:
        check: what was looked at: "broker", "camera gate-in".
        level: ok; warning: it works, but not well or not for long; problem: it does not work.
        text: what was found, with its remedy; no credentials.
    """

    check: str
    level: Level
    text: str

    def line(self) -> str:
        """For people."""
        return f"{self.level:<8} {self.check}: {self.text}"


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return _finding(check, "ok", text)


def warning(check: str, text: str) -> Finding:
    """Somebody should look into it."""
    return _finding(check, "warning", text)


def problem(check: str, text: str) -> Finding:
    """It does not work like this."""
    return _finding(check, "problem", text)


def _finding(check: str, level: Level, text: str) -> Finding:
    return Finding(check=check, level=level, text=mask_credentials(" ".join(text.split())))


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of all."""
    return max((f.level for f in findings), key=_LEVELS.index, default="ok")


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """For programs."""
    listed = list(findings)
    return {"schema": SCHEMA, "worst": worst(listed), "checks": [asdict(f) for f in listed]}
