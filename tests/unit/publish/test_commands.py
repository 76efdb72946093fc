"""What is a command, what is none, and where the answer goes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from alprd.config import CommandsSettings
from alprd.publish.commands import CommandDesk, Request, TokenBucket
from alprd.publish.message import Inbound, Message

ANSWER = Draft202012Validator(
    json.loads((files("alprd") / "schemas" / "answer-1.json").read_text(encoding="utf-8"))
)


class Desk:
    """A desk with what it sent and submitted."""

    def __init__(self, *, busy: bool = False, **settings: Any) -> None:
        self.now_s = 0.0
        self.sent: list[Message] = []
        self.submitted: list[Request] = []
        self._busy = busy
        self.desk = CommandDesk(
            CommandsSettings(**{"per_minute": 60_000, **settings}),
            prefix="site/alpr",
            device_id="edge-07",
            camera_ids=("gate", "res"),
            send=self.sent.append,
            submit=self._submit,
            clock=lambda: self.now_s,
        )

    def _submit(self, request: Request) -> bool:
        self.submitted.append(request)
        return not self._busy

    def hear(self, topic: str, payload: bytes = b"", **more: Any) -> None:
        fields = {"retain": False, "response_topic": None, "correlation": None, **more}
        self.desk.on_message(Inbound(topic=f"site/alpr/{topic}", payload=payload, **fields))

    def error(self) -> str:
        (message,) = self.sent
        self.sent.clear()
        answer = json.loads(message.payload)
        ANSWER.validate(answer)
        assert answer["status"] == "error"
        assert not self.submitted
        error: str = answer["error"]
        return error


@pytest.mark.parametrize(
    ("topic", "name", "camera"),
    [
        ("devices/edge-07/cmd/reload", "reload", None),
        ("devices/edge-07/cmd/selftest", "selftest", None),
        ("devices/edge-07/cmd/flush", "flush", None),
        ("gate/cmd/snapshot", "snapshot", "gate"),
        ("gate/cmd/enable", "enable", "gate"),
        ("res/cmd/disable", "disable", "res"),
    ],
)
def test_a_command_is_handed_on_and_answered_beside_its_topic(
    topic: str, name: str, camera: str | None
) -> None:
    desk = Desk()
    desk.hear(topic, b'{"transaction": "t-1"}')
    (request,) = desk.submitted
    assert (request.name, request.camera_id) == (name, camera)
    desk.desk.answer(request.reply, data={"x": 1})
    (message,) = desk.sent
    assert message.topic == "site/alpr/" + topic.replace("/cmd/", "/res/")
    assert (message.qos, message.retain, message.user) == (1, False, {"schema": "alprd.answer/1"})
    answer = json.loads(message.payload)
    ANSWER.validate(answer)
    assert answer == {"status": "ok", "data": {"x": 1}, "error": None, "transaction": "t-1"}


@pytest.mark.parametrize("payload", [b"", b"{}", b' {"transaction": null} '])
def test_a_command_needs_no_payload(payload: bytes) -> None:
    desk = Desk()
    desk.hear("gate/cmd/enable", payload)
    assert desk.submitted[0].reply.transaction is None


def test_response_topic_and_correlation_data_are_honoured() -> None:
    desk = Desk()
    desk.hear("gate/cmd/enable", response_topic="app/42/answers", correlation=b"\x00\xff")
    desk.desk.answer(desk.submitted[0].reply)
    assert (desk.sent[0].topic, desk.sent[0].correlation) == ("app/42/answers", b"\x00\xff")


@pytest.mark.parametrize(
    "topic",
    [
        "site/alpr/gate/plates",
        "site/alpr/gate/cmd/disable",
        "site/alpr/devices/edge-07/availability",
        "site/alpr/devices/edge-08/res/x",
        "site/alpr/other/res/x",
        "site/alpr",
        "site/alpr/",
        "$SYS/broker",
        "$share/a/b",
        "a/+/b",
        "a/#",
        "a\x00b",
        "a\nb",
        "",
        "x" * 2000,
    ],
)
def test_nobody_can_have_us_write_where_events_states_or_commands_are(topic: str) -> None:
    desk = Desk()
    desk.hear("gate/cmd/enable", response_topic=topic)
    assert desk.sent[0].topic == "site/alpr/gate/res/enable"
    assert "response topic" in desk.error()


def test_an_own_answer_topic_is_a_good_response_topic() -> None:
    desk = Desk()
    desk.hear("gate/cmd/enable", response_topic="site/alpr/gate/res/mine")
    assert desk.submitted


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"reload", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"transaction": NaN}', "no JSON"),
        (b'{"cmd": "reboot"}', "remove the others"),
        (b'{"transaction": {}}', "transaction must be"),
        (b'{"transaction": true}', "transaction must be"),
        (b'{"transaction": 1.5}', "transaction must be"),
        (b'{"transaction": 99999999999999999999}', "transaction must be"),
        (b'{"transaction": "' + b"x" * 129 + b'"}', "transaction must be"),
        (b'{"transaction": "a\\nb"}', "transaction must be"),
        (b'{"transaction": "\\ud800"}', "transaction must be"),
        (b'{"transaction":' * 2000, "too long"),
        (b"[" * 4000, "no JSON"),
        (b'{"transaction": ' + b"9" * 4000 + b"}", "transaction must be"),
    ],
)
def test_a_malformed_payload_is_answered_and_never_executed(payload: bytes, said: str) -> None:
    desk = Desk()
    desk.hear("devices/edge-07/cmd/reload", payload)
    assert said in desk.error()


def test_an_error_repeats_the_transaction() -> None:
    desk = Desk()
    desk.hear("gate/cmd/enable", b'{"transaction": 7, "x": 1}')
    assert json.loads(desk.sent[0].payload)["transaction"] == 7


@pytest.mark.parametrize(
    "topic", ["gate/cmd/reload", "devices/edge-07/cmd/disable", "gate/cmd/reboot", "gate/cmd/"]
)
def test_an_unknown_command_is_answered_on_a_topic_that_is_not_the_senders(topic: str) -> None:
    desk = Desk()
    desk.hear(topic)
    assert desk.sent[0].topic.endswith("/res/error")
    assert "no such command" in desk.error()


def test_a_retained_command_is_refused() -> None:
    desk = Desk()
    desk.hear("gate/cmd/disable", retain=True)
    assert "without retain" in desk.error()


def test_commands_can_be_switched_off_one_by_one() -> None:
    desk = Desk(allow=("snapshot",))
    desk.hear("gate/cmd/disable")
    assert "disable is switched off" in desk.error()
    desk.hear("gate/cmd/snapshot")
    assert desk.submitted


def test_commands_can_be_switched_off_altogether() -> None:
    desk = Desk(enabled=False)
    assert desk.desk.topics() == frozenset()
    desk.hear("gate/cmd/disable")
    assert not desk.sent
    assert not desk.submitted


def test_only_the_own_commands_are_subscribed_to() -> None:
    assert Desk().desk.topics() == {
        "site/alpr/devices/edge-07/cmd/+",
        "site/alpr/gate/cmd/+",
        "site/alpr/res/cmd/+",
    }


@pytest.mark.parametrize(
    "topic", ["other/cmd/disable", "devices/edge-08/cmd/reload", "gate/plates", "x/gate/cmd/enable"]
)
def test_what_is_not_for_us_is_ignored(topic: str) -> None:
    desk = Desk()
    desk.hear(topic)
    assert not desk.sent
    assert not desk.submitted


def test_a_busy_daemon_says_so() -> None:
    desk = Desk(busy=True)
    desk.hear("gate/cmd/enable")
    assert "busy" in json.loads(desk.sent[0].payload)["error"]


def test_a_flood_is_neither_executed_nor_answered_message_by_message() -> None:
    desk = Desk(per_minute=10)
    for _ in range(1000):
        desk.hear("gate/cmd/enable")
        desk.now_s += 0.001
    assert len(desk.submitted) == 10
    assert len(desk.sent) == 1
    assert "commands.per_minute" in json.loads(desk.sent[0].payload)["error"]
    desk.now_s += 6.0  # one more is due
    desk.hear("gate/cmd/enable")
    assert len(desk.submitted) == 11


def test_a_reload_does_not_fill_the_bucket_again() -> None:
    desk = Desk(per_minute=2)
    for _ in range(5):
        desk.hear("gate/cmd/enable")
        desk.desk.use(CommandsSettings(per_minute=2), ("gate",))
    assert len(desk.submitted) == 2
    desk.desk.use(CommandsSettings(per_minute=3), ("gate",))
    desk.hear("gate/cmd/enable")
    assert len(desk.submitted) == 3


def test_a_bucket_never_holds_more_than_a_minutes_worth() -> None:
    now_s = 0.0
    bucket = TokenBucket(3, lambda: now_s)
    now_s = 1e6
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    now_s = 0.0  # a clock that went back gives nothing
    assert not bucket.take()


PAYLOADS = st.one_of(
    st.binary(max_size=5000),
    st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace")),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=12), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(["transaction", "Transaction", "x"]), st.text() | st.integers())
    .map(json.dumps)
    .map(str.encode),
)


@given(
    topic=st.text(max_size=60) | st.sampled_from(["gate/cmd/disable", "devices/edge-07/cmd/flush"]),
    payload=PAYLOADS,
    retain=st.booleans(),
    response=st.none() | st.text(max_size=60),
    correlation=st.none() | st.binary(max_size=1100),
)
def test_anything_is_a_request_or_one_answer_or_ignored(
    topic: str, payload: bytes, retain: bool, response: str | None, correlation: bytes | None
) -> None:
    desk = Desk()
    desk.hear(topic, payload, retain=retain, response_topic=response, correlation=correlation)
    assert len(desk.sent) + len(desk.submitted) <= 1
    for message in desk.sent:
        ANSWER.validate(json.loads(message.payload))


def mutations(seed: int, count: int) -> list[bytes]:
    """Payloads near valid ones."""
    chance = random.Random(seed)  # noqa: S311 - seeded
    bases = [b"", b"{}", b'{"transaction": "abc"}', b'{"transaction": 12}']
    edits: list[Callable[[bytearray], None]] = [
        lambda b: b.insert(chance.randrange(len(b) + 1), chance.randrange(256)),
        lambda b: b.__delitem__(slice(chance.randrange(len(b) + 1), None)),
        lambda b: b.extend(bytes(chance.randrange(256) for _ in range(chance.randrange(40)))),
        lambda b: b.reverse(),
    ]
    found = []
    for _ in range(count):
        payload = bytearray(chance.choice(bases))
        for _ in range(chance.randrange(1, 5)):
            chance.choice(edits)(payload)
        found.append(bytes(payload))
    return found


def test_ten_thousand_mutated_payloads_are_requests_exactly_when_they_are_plain_ones() -> None:
    for payload in mutations(1, 10_000):
        desk = Desk()
        desk.hear("devices/edge-07/cmd/reload", payload)
        try:
            body = json.loads(payload) if payload else {}
            plain = isinstance(body, dict) and set(body) <= {"transaction"}
        except ValueError:
            plain = False
        assert bool(desk.submitted) <= plain
        assert len(desk.submitted) + len(desk.sent) == 1
