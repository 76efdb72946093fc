"""Commands are executed one after the other, and a failing one ends nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from alprd.errands import ErrandError
from alprd.publish.commands import Reply, Request
from alprd.remote import MAX_WAITING, Action, CommandFailedError, CommandWorker


def request(name: str, camera_id: str | None = None) -> Request:
    return Request(name=name, camera_id=camera_id, reply=Reply(topic=f"res/{name}"))


class Answers:
    def __init__(self) -> None:
        self._news = threading.Condition()
        self.all: list[tuple[str, Mapping[str, Any] | None, str | None]] = []

    def __call__(
        self, reply: Reply, *, data: Mapping[str, Any] | None = None, error: str | None = None
    ) -> None:
        with self._news:
            self.all.append((reply.topic, data, error))
            self._news.notify_all()

    def wait(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.all) >= count, 5.0)


def failing(error: Exception) -> Action:
    def act(_camera_id: str | None) -> Mapping[str, Any]:
        raise error

    return act


def test_every_command_is_answered_in_its_order_whatever_comes_of_it() -> None:
    answers = Answers()
    actions = {
        "good": lambda camera_id: {"camera": camera_id},
        "refused": failing(CommandFailedError("no picture; see the status", {"seen": 1})),
        "late": failing(ErrandError("not done within 5 s; try again later")),
        "broken": failing(RuntimeError("secret detail")),
    }
    with capture_logs() as logs, CommandWorker(actions, answers) as worker:
        for name in ("good", "refused", "late", "broken", "good"):
            assert worker.submit(request(name, "gate"))
        answers.wait(5)
    assert answers.all == [
        ("res/good", {"camera": "gate"}, None),
        ("res/refused", {"seen": 1}, "no picture; see the status"),
        ("res/late", None, "not done within 5 s; try again later"),
        ("res/broken", None, "internal error; see the daemon's log"),
        ("res/good", {"camera": "gate"}, None),
    ]
    assert [line["event"] for line in logs].count("command.crashed") == 1


def test_too_many_waiting_commands_are_refused_and_leaving_drops_them() -> None:
    answers = Answers()
    begun, go_on = threading.Event(), threading.Event()

    def slow(_camera_id: str | None) -> Mapping[str, Any]:
        begun.set()
        go_on.wait(5.0)
        return {}

    with CommandWorker({"slow": slow}, answers) as worker:
        assert worker.submit(request("slow"))
        assert begun.wait(5.0)
        assert [worker.submit(request("slow")) for _ in range(MAX_WAITING)] == [True] * MAX_WAITING
        assert not worker.submit(request("slow"))
        go_on.set()
    assert len(answers.all) <= 1 + MAX_WAITING


@pytest.mark.parametrize("count", [1, 3])
def test_leaving_does_not_wait_for_a_command_that_hangs(count: int) -> None:
    hang, begun = threading.Event(), threading.Event()

    def hung(_camera_id: str | None) -> Mapping[str, Any]:
        begun.set()
        hang.wait(20.0)
        return {}

    left = threading.Event()

    def use() -> None:
        with CommandWorker({"hung": hung}, Answers()) as worker:
            for _ in range(count):
                worker.submit(request("hung"))
            begun.wait(5.0)
        left.set()

    threading.Thread(target=use, daemon=True).start()
    assert left.wait(5.0)
    hang.set()
