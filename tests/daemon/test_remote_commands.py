"""Commands over MQTT to a running daemon, and what no message can make it do."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jsonschema import Draft202012Validator

from support.broker import Broker
from support.daemon import Daemon
from support.heard import assert_no_gap, events, states
from support.subscriber import Received, Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

ANSWER = Draft202012Validator(
    json.loads((files("alprd") / "schemas" / "answer-1.json").read_text(encoding="utf-8"))
)
PLATES = ("AB12CDE", "K7XLS", "34A3683", "ZZ9PZA")
FUZZ_SEED = 20261121
FUZZ_COUNT = 10_000
QUICK = "autosave_on_changes false\nautosave_interval 1800\nset_tcp_nodelay true\n"


def camera(street: Path, name: str = "gate", **more: object) -> dict[str, object]:
    return {"id": name, "source": str(street), "folder_fps": 12, "loop": True} | more


class Remote:
    """Somebody who sends commands to the daemon and hears everything."""

    def __init__(self, subscriber: Subscriber, prefix: str) -> None:
        self.subscriber = subscriber
        self.prefix = prefix
        self._count = 0

    def ask(self, topic: str, *, timeout_s: float = 20.0, **options: Any) -> dict[str, Any]:
        """Send a command; its answer."""
        self._count += 1
        transaction = f"t{self._count}"
        payload = json.dumps({"transaction": transaction}).encode()
        self.subscriber.publish(f"{self.prefix}/{topic}", payload, **options)
        mark = f'"transaction":"{transaction}"'.encode()
        heard = self.subscriber.wait_until(
            # Only the newest: looking at all of them for each of ten thousand takes for ever.
            lambda seen: any(mark in m.payload for m in seen[-20:]),
            timeout_s=timeout_s,
        )
        (answer,) = [a for a in answers_in(heard) if a["transaction"] == transaction]
        return answer

    def of_device(self, name: str, **options: Any) -> dict[str, Any]:
        return self.ask(f"devices/{self.prefix}/cmd/{name}", **options)

    def of_camera(self, name: str, camera_id: str = "gate", **options: Any) -> dict[str, Any]:
        return self.ask(f"{camera_id}/cmd/{name}", **options)


def answers_in(seen: list[Received]) -> list[dict[str, Any]]:
    """The daemon's answers, in order."""
    found = [json.loads(m.payload) for m in seen if m.user.get("schema") == "alprd.answer/1"]
    for answer in found:
        ANSWER.validate(answer)
    return found


@contextmanager
def watched(daemon: Daemon, subscriber: Subscriber, prefix: str) -> Iterator[Remote]:
    """The running daemon; afterwards it has stopped cleanly, without a traceback or a gap."""
    daemon.start()
    subscriber.wait_until(lambda seen: states(seen, "gate")[-1:] == ["online"])
    yield Remote(subscriber, prefix)
    assert daemon.stop()[0] == 0
    assert_no_traceback(daemon)
    assert_no_gap(events(subscriber.messages))


def assert_no_traceback(daemon: Daemon) -> None:
    assert "Traceback" not in daemon.log
    for line in daemon.log_events:
        assert "exception" not in line
        assert line["level"] not in ("error", "critical"), line


def test_commands_do_what_they_say_and_answer(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    with watched(daemon, subscriber, topic_prefix) as remote:
        tested = remote.of_device("selftest")
        assert tested["status"] == "ok"
        assert tested["data"]["backend"] == "onnxruntime"
        assert tested["data"]["cameras"] == {"gate": "online"}
        assert len(tested["data"]["models"]) == 2

        taken = remote.of_camera("snapshot")
        assert taken["status"] == "ok", taken
        topic = f"{topic_prefix}/gate/snapshot"
        subscriber.wait_until(lambda seen: any(m.topic == topic for m in seen))
        (picture,) = subscriber.on(topic)
        image = cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape[:2] == (taken["data"]["height"], taken["data"]["width"])
        assert len(picture.payload) == taken["data"]["bytes"]
        assert (picture.content_type, picture.payload_format) == ("image/jpeg", None)
        assert picture.user["captured_at"] == taken["data"]["captured_at"]
        assert not picture.retain

        disabled = remote.of_camera("disable")
        assert (disabled["status"], disabled["data"]["enabled"]) == ("ok", False)
        subscriber.wait_until(lambda seen: states(seen, "gate")[-1] == "disabled")
        failed = remote.of_camera("snapshot")
        assert failed["status"] == "error"
        assert "disabled" in failed["error"]
        reloaded = remote.of_device("reload")  # the configuration did not change
        assert reloaded["data"] == {
            "stopped": [],
            "started": [],
            "retuned": [],
            "needs_restart": [],
        }
        assert states(subscriber.messages, "gate")[-1] == "disabled"
        enabled = remote.of_camera("enable")
        assert enabled["status"] == "ok"
        subscriber.wait_until(lambda seen: states(seen, "gate")[-1] == "online")

        before = len(events(subscriber.messages))
        subscriber.wait_until(lambda seen: len(events(seen)) > before)
        flushed = remote.of_device("flush")
        assert flushed["status"] == "ok", flushed
        assert flushed["data"]["parked"] == 0


def asked_until_answered(remote: Remote, command: str, within_s: float = 40.0) -> dict[str, Any]:
    """The answer. Before both are back at a restarted broker nobody says or hears a command."""
    give_up_at_s = time.monotonic() + within_s
    while True:
        try:
            return remote.of_device(command, timeout_s=5.0)
        except (AssertionError, RuntimeError):  # no answer; not connected
            if time.monotonic() > give_up_at_s:
                raise
            time.sleep(0.2)


def test_flush_offers_again_what_the_broker_refused(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    make_broker: Callable[..., Broker],
    street: Path,
    topic_prefix: str,
) -> None:
    strict = make_broker()
    acl = strict.folder / "acl"
    strict.configure(f"allow_anonymous true\nacl_file {acl}\n{QUICK}")
    everything = f"topic read {topic_prefix}/#\ntopic write {topic_prefix}/+/cmd/+\n"
    everything += f"topic readwrite {topic_prefix}/devices/#\n"
    acl.write_text(f"{everything}topic write {topic_prefix}/gate/status\n")
    strict.start()
    daemon = make_daemon(make_config(camera(street, loop=False), url=strict.url))
    daemon.start()
    with Subscriber(strict, f"{topic_prefix}/#") as subscriber:
        remote = Remote(subscriber, topic_prefix)
        subscriber.wait_until(lambda seen: states(seen, "gate")[-1:] == ["ended"], 30.0)
        refused: dict[str, Any] = {}
        give_up_at_s = time.monotonic() + 20.0
        while time.monotonic() < give_up_at_s:  # a busy machine ends the last tracks a little later
            refused = remote.of_device("flush", timeout_s=30.0)
            if refused["data"]["parked"] == len(PLATES):
                break
        assert refused["status"] == "error"
        assert "Not authorized" in refused["error"]
        assert refused["data"]["parked"] == len(PLATES)
        acl.write_text(f"topic readwrite {topic_prefix}/#\n")
        strict.restart()
        done = asked_until_answered(remote, "flush")
        assert (done["status"], done["data"]["parked"]) == ("ok", 0)
        heard = subscriber.wait_until(lambda seen: len(events(seen)) >= len(PLATES))
        assert_no_gap(events(heard))
    assert daemon.stop()[0] == 0


def test_an_answer_goes_where_the_question_wants_it(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    with watched(daemon, subscriber, topic_prefix) as remote:
        place = f"{topic_prefix}/devices/{topic_prefix}/res/for-me"
        answer = remote.of_device("selftest", response_topic=place, correlation=b"\x01\xff")
        assert answer["status"] == "ok"
        (message,) = subscriber.on(place)
        assert message.correlation == b"\x01\xff"
        assert message.user == {"schema": "alprd.answer/1"}


def test_a_reload_by_command_tells_what_changed_or_what_is_wrong(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    daemon = make_daemon(make_config(camera(street)))
    daemon.start()
    subscriber.wait_until(lambda seen: states(seen, "gate")[-1:] == ["online"])
    remote = Remote(subscriber, topic_prefix)
    daemon.configure(make_config(camera(street), extra="[tracking]\nhold = 1"))
    refused = remote.of_device("reload")
    assert refused["status"] == "error"
    assert "hold_s" in refused["error"]
    daemon.configure(make_config(camera(street), camera(street, "yard")))
    assert remote.of_device("reload")["data"]["started"] == ["yard"]
    subscriber.wait_until(lambda seen: states(seen, "yard")[-1:] == ["online"])
    # The new camera's commands are subscribed to on the same connection.
    assert remote.of_camera("disable", "yard")["status"] == "ok"
    subscriber.wait_until(lambda seen: states(seen, "yard")[-1] == "disabled")
    assert daemon.stop()[0] == 0
    assert "Traceback" not in daemon.log


def test_commands_that_are_switched_off_are_refused_or_not_even_heard(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    daemon = make_daemon(make_config(camera(street), extra='[commands]\nallow = ["selftest"]'))
    with watched(daemon, subscriber, topic_prefix) as remote:
        refused = remote.of_camera("disable")
        assert refused["status"] == "error"
        assert "commands.allow" in refused["error"]
        daemon.configure(make_config(camera(street), extra="[commands]\nenabled = false"))
        daemon.reload()
        before = len(subscriber.messages)
        subscriber.publish(f"{topic_prefix}/gate/cmd/disable", b"")
        passes = len(events(subscriber.messages))
        subscriber.wait_until(lambda seen: len(events(seen)) >= passes + 2)
        later = subscriber.messages[before:]
        assert not [m for m in later if "/res/" in m.topic]
        assert states(subscriber.messages, "gate")[-1] == "online"


def fuzz(prefix: str, seed: int, count: int) -> Iterator[tuple[str, bytes, str | None, bool]]:
    """(topic, payload, response topic, is for us): random and mutated, and no valid command."""
    chance = random.Random(seed)  # noqa: S311 - a seeded experiment
    commands = [f"devices/{prefix}/cmd/{n}" for n in ("reload", "selftest", "flush")]
    commands += [f"gate/cmd/{n}" for n in ("snapshot", "enable", "disable")]
    valid = [b"", b"{}", b'{"transaction": "x"}', b'{"transaction": 12}']
    responses = [f"{prefix}/gate/plates", f"{prefix}/gate/cmd/disable", "a" * 3000, f"{prefix}/x"]
    while count:
        kind = chance.randrange(4)
        topic, payload, response = chance.choice(commands), chance.choice(valid), None
        if kind == 0:
            payload = chance.randbytes(chance.randrange(1, 300))
        elif kind == 1:
            mutated = bytearray(payload + b" ")
            for _ in range(chance.randrange(1, 6)):
                mutated.insert(chance.randrange(len(mutated)), chance.randrange(256))
            payload = bytes(mutated)
        elif kind == 2:
            levels = topic.split("/")
            levels[-1] = chance.choice(["", "Reload", "snapshot ", "cmd", "\U0001f697", "x" * 200])
            topic = "/".join(levels)
            if chance.random() < 0.3:
                topic = topic.replace("/cmd/", chance.choice(["/cmd/cmd/", "/res/", "/CMD/", "/"]))
        else:
            response = chance.choice(responses)
        if kind in (0, 1) and _is_valid(payload):
            continue
        count -= 1
        owner, _, name = topic.rpartition("/cmd/")
        ours = owner in (f"devices/{prefix}", "gate") and "/" not in name
        yield f"{prefix}/{topic}", payload, response, ours


def _is_valid(payload: bytes) -> bool:
    """A command in its own right, which a random payload may turn out to be."""
    try:
        body = json.loads(payload) if payload else {}
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and set(body) <= {"transaction"}


def test_ten_thousand_hostile_messages_change_nothing_and_leave_no_traceback(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    make_broker: Callable[..., Broker],
    street: Path,
    topic_prefix: str,
) -> None:
    # The tests' usual one saves its state at every message.
    quick = make_broker(config=f"allow_anonymous true\n{QUICK}")
    quick.start()
    limit = "[commands]\nper_minute = 60000"
    daemon = make_daemon(make_config(camera(street, folder_fps=6), url=quick.url, extra=limit))
    # Everything but what we send ourselves.
    answers_and_states = [f"{topic_prefix}/+/{kind}" for kind in ("plates", "status", "res/+")]
    answers_and_states += [f"{topic_prefix}/devices/+/{kind}" for kind in ("info", "res/+")]
    with (
        Subscriber(quick, *answers_and_states) as subscriber,
        watched(daemon, subscriber, topic_prefix) as remote,
    ):
        said = f"{topic_prefix}/devices/{topic_prefix}/info"
        subscriber.wait_until(lambda seen: any(m.topic == said for m in seen))
        info = subscriber.on(said)
        started_s = time.monotonic()
        ours = 0
        for topic, payload, response, is_ours in fuzz(topic_prefix, FUZZ_SEED, FUZZ_COUNT):
            subscriber.publish(topic, payload, response_topic=response, wait=False)
            ours += is_ours
        # The daemon takes them in order: when it answers this one it has seen them all.
        assert remote.of_device("selftest", timeout_s=60.0)["status"] == "ok"
        took_s = time.monotonic() - started_s
        heard = subscriber.messages
        answers = answers_in(heard)
        errors = [a for a in answers if a["status"] == "error"]
        assert len(answers) - len(errors) == 1  # the last one
        assert len(errors) == ours
        assert states(heard, "gate")[1:] in ([], ["online"])
        assert subscriber.on(said) == info
        executed = [line for line in daemon.log_events if line["event"] == "command.done"]
        assert [line["command"] for line in executed] == ["selftest"]
        assert not [e for e in daemon.log_events if e["event"] == "config.reloaded"]
        passes = len(events(heard))
        subscriber.wait_until(lambda seen: len(events(seen)) > passes)
        print(f"{FUZZ_COUNT} messages, {ours} for this device, {took_s:.1f} s")  # noqa: T201
