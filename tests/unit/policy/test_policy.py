"""What becomes of an event before it is counted."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from alprd.core.lists import PlateList
from alprd.core.privacy import pseudonym
from alprd.core.types import PlateEvent
from alprd.policy.sink import Policy, PolicySink
from alprd.ports import OutboxError
from alprd.publish.sink import OutboxSink
from support.outboxes import open_outbox, waiting
from support.payloads import MODELS, payload_of, problems_of
from support.plate_events import plate_event

KEY = b"0123456789abcdef0123456789abcdef"


class Sink:
    def __init__(self) -> None:
        self.added: list[PlateEvent] = []
        self.full = False

    def add(self, events: Sequence[PlateEvent]) -> None:
        if self.full:
            raise OutboxError("full")
        self.added += events


def policy(*lists: PlateList, drop_unlisted: bool = False, key: bytes | None = None) -> Policy:
    return Policy(lists=lambda: lists, drop_unlisted=drop_unlisted, key=key)


def listed(name: str, *plates: str, drop: bool = False) -> PlateList:
    return PlateList(name=name, plates=frozenset(plates), drop=drop)


def event(plate: str) -> PlateEvent:
    return replace(plate_event(1), plate=plate)


def test_the_names_of_its_lists_stand_in_the_event() -> None:
    rule = policy(listed("staff", "AB12CDE"), listed("deny", "AB12CDE"), listed("vip", "X1"))
    found = rule.apply(event("AB12CDE"))
    assert found is not None
    assert payload_of(found)["lists"] == ["staff", "deny"]
    assert problems_of(found) == []


def test_an_event_is_dropped_when_all_its_lists_say_so() -> None:
    rule = policy(listed("staff", "AA11AAA", "BB22BBB", drop=True), listed("deny", "BB22BBB"))
    assert rule.apply(event("AA11AAA")) is None
    assert rule.apply(event("BB22BBB")) is not None
    assert rule.apply(event("CC33CCC")) is not None


def test_events_of_unlisted_plates_can_be_dropped() -> None:
    rule = policy(listed("deny", "BB22BBB"), drop_unlisted=True)
    assert rule.apply(event("BB22BBB")) is not None
    assert rule.apply(event("CC33CCC")) is None


def test_a_pseudonym_hides_the_text_everywhere_and_the_lists_were_matched_before() -> None:
    found = policy(listed("staff", "AB01CDE"), key=KEY).apply(plate_event(1))
    assert found is not None
    payload = payload_of(found)
    assert "AB01CDE" not in json.dumps(payload)
    assert payload["lists"] == ["staff"]
    assert payload["plate"] == "hmac:" + hmac.new(KEY, b"AB01CDE", hashlib.sha256).hexdigest()[:32]
    assert (payload["char_confidences"], payload["candidates"]) == ([], [])
    assert problems_of(found) == []


def test_texts_of_different_lengths_give_events_of_the_same_size() -> None:
    sizes = set()
    for plate in ("A12", "AB12CDE", "AB12CDEFGHI"):
        found = policy(key=KEY).apply(event(plate))
        assert found is not None
        sizes.add(len(json.dumps(payload_of(found))))
    assert len(sizes) == 1


def test_the_schema_refuses_a_pseudonym_beside_candidates() -> None:
    assert problems_of(replace(plate_event(1), plate=pseudonym("AB01CDE", KEY)))
    assert problems_of(replace(plate_event(1), candidates=()))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="compares with the openssl program")
def test_the_pseudonym_is_what_the_documented_command_prints() -> None:
    said = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", KEY.decode()],
        input=b"AB01CDE",
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert pseudonym("AB01CDE", KEY) == "hmac:" + said.split()[-1][:32]


def test_a_dropped_event_leaves_no_gap(tmp_path: Path) -> None:
    with open_outbox(tmp_path / "o.sqlite") as writer:
        outbox = OutboxSink(
            writer,
            wake_publisher=lambda: None,
            prefix="alpr",
            device_id="edge",
            software="alprd test",
            models=MODELS,
        )
        sink = PolicySink(outbox, policy(listed("staff", "AB02CDE", drop=True)))
        sink.add([plate_event(number) for number in (1, 2, 3)])
        sink.add([plate_event(2)])
        sink.add([plate_event(4)])
        assert (waiting(writer), sink.dropped) == ([1, 2, 3], 2)


def test_an_event_that_the_disk_refused_is_counted_when_it_is_saved() -> None:
    behind = Sink()
    sink = PolicySink(behind, policy(listed("staff", "AB02CDE", drop=True)))
    behind.full = True
    with pytest.raises(OutboxError):
        sink.add([plate_event(1), plate_event(2)])
    assert sink.dropped == 0
    behind.full = False
    sink.add([plate_event(1), plate_event(2)])
    assert (len(behind.added), sink.dropped) == (1, 1)


def test_another_policy_counts_from_the_next_event_on() -> None:
    behind = Sink()
    sink = PolicySink(behind, policy())
    sink.add([plate_event(1)])
    sink.use(policy(key=KEY))
    sink.add([plate_event(1)])
    assert [e.plate[:5] for e in behind.added] == ["AB01C", "hmac:"]
