"""Was anything lost? Counted by the test itself, and by alprd's own audit as a second judge."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from alprd.core.audit import Audit
from support.subscriber import Received


@dataclass(frozen=True)
class Verdict:
    """What a subscriber has, against what the device had made durable.

    Attributes:
        distinct: different events.
        lost: how many that were durable did not come and are not announced either.
        doubled: messages beyond the first of each event that the broker does not mark as its own
            repetition.
        announced: numbers in gaps, by reason, that did not come.
        proven: the audit's verdict.
    """

    distinct: int
    lost: int
    doubled: int
    announced: dict[str, int]
    proven: bool
    in_order: bool

    def __str__(self) -> str:
        return (
            f"{self.distinct} events received, {self.lost} lost, {self.doubled} doubled,"
            f" {self.announced or 'nothing'} announced as gap, audit:"
            f" {'complete' if self.proven else 'NOT COMPLETE'}"
        )


def judge(messages: Iterable[Received], durable: Iterable[str], *, first_seq: int = 1) -> Verdict:
    """Everything that came on `plates` and `gaps`, against the ids of what was made durable."""
    heard = list(messages)
    events = [(json.loads(m.payload), m) for m in heard if m.topic.endswith("/plates")]
    gaps = [json.loads(m.payload) for m in heard if m.topic.endswith("/gaps")]
    ids: dict[str, int] = {}
    arrivals: list[tuple[bool, int]] = []
    own = 0
    for event, message in events:
        own += not message.again
        if event["event_id"] not in ids:
            arrivals.append(("historical" in message.user, event["seq"]))
        assert ids.setdefault(event["event_id"], event["seq"]) == event["seq"]
    assert len(set(ids.values())) == len(ids), "a number was given twice"
    seqs = set(ids.values())
    announced: dict[str, int] = {}
    covered: set[int] = set()
    for gap in gaps:
        missing = set(range(gap["from_seq"], gap["to_seq"] + 1)) - seqs - covered
        covered |= missing
        if missing:
            announced[gap["reason"]] = announced.get(gap["reason"], 0) + len(missing)
    audit = Audit(first_seq=first_seq)
    for message in heard:
        audit.take(message.topic, message.payload)
    lanes = [[seq for old, seq in arrivals if old is lane] for lane in (False, True)]
    return Verdict(
        distinct=len(ids),
        lost=max(0, len(set(durable) - ids.keys()) - len(covered)),
        doubled=own - len({m.payload for _, m in events if not m.again}),
        announced=announced,
        proven=audit.report().is_proven,
        in_order=all(lane == sorted(lane) for lane in lanes),
    )
