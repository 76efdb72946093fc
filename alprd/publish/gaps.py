"""Gap events: the numbers that a consumer must not wait for, schema alprd.gap/1.

They go out on <prefix>/devices/<device>/gaps and never on a camera's own topic: an announcement
must not share the fate of what it announces (a camera whose topic the broker forbids), a damaged
file does not tell which cameras lost something, and readers of `plates` get vehicles only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from alprd.core.events import format_time

SCHEMA: Final = "alprd.gap/1"
NAME: Final = "gaps"
"""The last topic level."""

GapReason = Literal["events", "bytes", "age", "unsaved", "damaged", "refused"]
"""Why; `refused` ones are kept and may still come, the others will not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A run of numbers, both ends inclusive."""

    from_seq: int
    to_seq: int
    reason: GapReason
    detail: str | None
    at: datetime
    gap_id: str


def gaps_topic(prefix: str, device_id: str) -> str:
    """Where a device announces its gaps."""
    return f"{prefix}/devices/{device_id}/{NAME}"


def gap_payload(gap: Gap, *, device_id: str) -> dict[str, Any]:
    """The gap as a JSON object of schema alprd.gap/1."""
    return {
        "schema": SCHEMA,
        "gap_id": gap.gap_id,
        "device_id": device_id,
        "from_seq": gap.from_seq,
        "to_seq": gap.to_seq,
        "count": gap.to_seq - gap.from_seq + 1,
        "reason": gap.reason,
        "detail": gap.detail,
        "at": format_time(gap.at),
    }


def runs(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as (first, last) of each run without a hole, in order."""
    found: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found
