"""The audit tells complete from incomplete, whatever the order in which messages come."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from alprd.core.audit import Audit, DeviceReport

START = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


def event(seq: int, *, device: str = "edge-07", event_id: str | None = None) -> dict[str, Any]:
    return {
        "schema": "alprd.plate/1",
        "seq": seq,
        "event_id": event_id or f"{device}-{seq}",
        "device_id": device,
        "camera_id": "gate",
        "captured_at": (START + timedelta(seconds=seq)).isoformat().replace("+00:00", "Z"),
    }


def gap(first: int, last: int, reason: str = "bytes") -> dict[str, Any]:
    return {
        "schema": "alprd.gap/1",
        "device_id": "edge-07",
        "from_seq": first,
        "to_seq": last,
        "reason": reason,
    }


def audited(*messages: dict[str, Any], first_seq: int | None = None) -> Audit:
    audit = Audit(first_seq=first_seq)
    for message in messages:
        kind = "gate/plates" if message["schema"] == "alprd.plate/1" else "devices/edge-07/gaps"
        audit.take(f"site/alpr/{kind}", json.dumps(message).encode())
    return audit


def device(audit: Audit) -> DeviceReport:
    (found,) = audit.report().devices
    return found


def test_consecutive_numbers_are_proven_complete_in_any_order() -> None:
    messages = [event(seq) for seq in range(5, 105)]
    random.Random(1).shuffle(messages)  # noqa: S311 - a seeded order
    audit = audited(*messages)
    assert audit.report().is_proven
    found = device(audit)
    assert (found.received, found.first_seq, found.last_seq) == (100, 5, 104)
    assert dict(found.cameras) == {"gate": 100}


def test_a_hole_without_an_announcement_is_reported_with_its_numbers() -> None:
    found = device(audited(*(event(seq) for seq in (1, 2, 5, 6, 9))))
    assert list(found.unexplained) == [(3, 4), (7, 8)]
    assert found.unexplained_count == 4
    assert not found.is_complete


def test_what_was_announced_is_no_hole_and_counted_by_its_reason() -> None:
    audit = audited(event(1), event(9), gap(2, 5, "age"), gap(4, 7), gap(8, 8, "refused"))
    found = device(audit)
    assert audit.report().is_proven
    assert sum(found.announced.values()) == 7
    assert set(found.announced) == {"age", "bytes", "refused"}


def test_an_announced_number_that_came_all_the_same_counts_as_received() -> None:
    found = device(audited(event(1), gap(2, 3), event(2), event(4)))
    assert (found.received, dict(found.announced), found.is_complete) == (3, {"bytes": 1}, True)


def test_a_hole_around_an_announcement_remains_a_hole() -> None:
    found = device(audited(event(1), gap(4, 5), event(10)))
    assert list(found.unexplained) == [(2, 3), (6, 9)]


def test_announced_numbers_beyond_the_last_event_belong_to_the_range() -> None:
    found = device(audited(event(3), gap(1, 1), gap(6, 7)))
    assert (found.first_seq, found.last_seq) == (1, 7)
    assert list(found.unexplained) == [(2, 2), (4, 5)]


def test_an_endless_announcement_costs_neither_time_nor_memory() -> None:
    found = device(audited(event(1), gap(2, 2**62)))
    assert found.is_complete
    assert found.announced == {"bytes": 2**62 - 1}


def test_the_first_number_can_be_demanded() -> None:
    assert device(audited(event(3))).is_complete
    assert list(device(audited(event(3), first_seq=1)).unexplained) == [(1, 2)]


def test_a_resend_is_a_duplicate_and_no_error() -> None:
    audit = audited(event(1), event(2), event(1), event(1))
    assert audit.report().is_proven
    assert (device(audit).received, device(audit).duplicates) == (2, 2)


def test_two_events_with_one_number_are_an_error() -> None:
    audit = audited(event(1), event(2), event(1, event_id="another"))
    assert not audit.report().is_proven
    assert list(device(audit).conflicts) == [(1, "edge-07-1", "another")]


def test_one_event_with_two_numbers_is_an_error() -> None:
    audit = audited(event(1), event(2, event_id="edge-07-1"))
    assert not audit.report().is_proven


def test_devices_are_judged_by_themselves() -> None:
    audit = audited(event(1), event(7, device="b"), event(8, device="b"), event(3))
    verdicts = {d.device_id: d.is_complete for d in audit.report().devices}
    assert verdicts == {"b": True, "edge-07": False}
    assert not audit.report().is_proven


def test_nothing_received_proves_nothing() -> None:
    assert not Audit().report().is_proven
    assert not audited(gap(1, 5)).report().is_proven


def test_a_device_that_came_back_is_counted_and_its_numbers_go_on() -> None:
    audit = audited(event(1))
    for state in (b"online", b"offline", b"online", b"stopped", b"online"):
        audit.take("alpr/devices/edge-07/availability", state)
    audit.take("alpr/gate/plates", json.dumps(event(2)).encode())
    assert device(audit).connects == 2
    assert audit.report().is_proven


def test_delays_are_ranked() -> None:
    audit = Audit()
    for seq in range(1, 101):
        at = START + timedelta(seconds=seq + seq / 100)
        audit.take("alpr/gate/plates", json.dumps(event(seq)).encode(), received_at=at)
    delays = device(audit).delays
    assert delays is not None
    assert (delays.count, delays.median_s, delays.p95_s) == (100, 0.5, 0.95)
    assert (delays.p99_s, delays.max_s, delays.min_s) == (0.99, 1.0, 0.01)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"schema": "alprd.plate/1"}',
        json.dumps({**event(1), "seq": True}).encode(),
        json.dumps({**event(1), "seq": 0}).encode(),
        json.dumps({**event(1), "seq": None}).encode(),
        json.dumps({**event(1), "event_id": 5}).encode(),
        json.dumps(gap(5, 4)).encode(),
        b'{"schema":' + b"[" * 100_000,
    ],
)
def test_what_is_none_of_ours_is_counted_and_judges_nothing(payload: bytes) -> None:
    audit = audited(event(1), event(2))
    audit.take("alpr/gate/plates", payload)
    audit.take("alpr/devices/edge-07/gaps", payload)
    assert audit.report().foreign == 2
    assert audit.report().is_proven


def test_other_topics_are_none_of_its_business() -> None:
    audit = audited(event(1))
    audit.take("alpr/gate/status", b"whatever")
    audit.take("plates", json.dumps(event(2)).encode())
    assert audit.report().foreign == 0


def test_any_order_and_any_losses_give_the_same_verdict_as_sets_do() -> None:
    for seed in range(200):
        chance = random.Random(seed)  # noqa: S311 - seeded
        sent = set(range(1, chance.randrange(2, 40)))
        received = {seq for seq in sent if chance.random() < 0.7} or {1}
        first = chance.randrange(1, 40)
        gaps = [(first, first + chance.randrange(5)) for _ in range(chance.randrange(3))]
        announced = {seq for a, b in gaps for seq in range(a, b + 1)}
        ends = received | announced
        expected = set(range(min(ends), max(ends) + 1)) - received - announced
        messages = [event(seq) for seq in received] + [gap(a, b) for a, b in gaps]
        chance.shuffle(messages)
        found = device(audited(*messages))
        missing = {seq for a, b in found.unexplained for seq in range(a, b + 1)}
        assert missing == expected
        assert found.unexplained_count == len(expected)
