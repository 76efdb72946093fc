"""A trouble that repeats itself does not fill the log, and nothing else is left out."""

from __future__ import annotations

import pytest
import structlog

from alprd.log_repeats import EVERY_S, FREE, RepeatLimiter


class Log:
    """What got through."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines: list[dict[str, object]] = []
        self._limit = RepeatLimiter(lambda: self.now_s)

    def say(self, method: str, event: str, **values: object) -> None:
        try:
            self.lines.append(dict(self._limit(None, method, {"event": event, **values})))
        except structlog.DropEvent:
            return


def test_the_first_lines_are_written_and_then_one_a_minute_with_the_number_left_out() -> None:
    log = Log()
    for second in range(0, 600):
        log.now_s = float(second)
        log.say("warning", "camera.lost", camera="gate", error=f"try {second}")
    assert len(log.lines) == FREE + 9
    assert [line.get("repeated") for line in log.lines[FREE:]] == [55, *[59] * 8]


def test_another_thing_has_lines_of_its_own() -> None:
    log = Log()
    for _ in range(50):
        log.say("warning", "camera.lost", camera="gate")
        log.say("warning", "camera.lost", camera="yard")
        log.say("warning", "camera.hung", camera="gate")
        log.say("error", "config.refused", problem="one")
        log.say("error", "config.refused", problem="two")
    assert len(log.lines) == 5 * FREE


@pytest.mark.parametrize("method", ["debug", "info", "critical"])
def test_what_is_no_warning_or_error_is_never_left_out(method: str) -> None:
    log = Log()
    for _ in range(100):
        log.say(method, "command.done", command="reload")
    assert len(log.lines) == 100


def test_a_trouble_that_pauses_has_its_first_lines_again() -> None:
    log = Log()
    for _ in range(FREE):
        log.say("error", "outbox.refused")
    log.now_s = EVERY_S
    for _ in range(FREE):
        log.say("error", "outbox.refused")
    assert len(log.lines) == 2 * FREE
    assert all("repeated" not in line for line in log.lines)


def test_many_different_things_do_not_fill_the_memory() -> None:
    log = Log()
    for number in range(5000):
        log.say("warning", "mqtt.message_refused", topic=f"alpr/camera-{number}/plates")
    assert len(log.lines) == 5000
