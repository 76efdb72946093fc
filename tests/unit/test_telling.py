"""What is worth telling."""

from __future__ import annotations

from alprd.telling import Notices
from support.outboxes import HandClock


def test_a_flood_of_refused_events_is_told_at_once_then_now_and_then_and_at_last_as_it_is() -> None:
    clock = HandClock()
    notices = Notices(clock)
    assert not notices.is_due({"parked": 0})  # the first message comes by itself
    notices.say({"parked": 0})
    told: list[tuple[float, int]] = []
    parked = 0
    for second in range(700):
        clock.seconds = 1000.0 + second
        parked += second < 600
        if notices.is_due({"parked": parked}):
            notices.say({"parked": parked})
            told.append((clock.seconds, parked))
    assert told[0] == (1000.0, 1)
    assert 60 <= len(told) <= 67
    assert told[-1][1] == 600
    assert told[-1][0] <= 1610.0


def test_the_same_notice_is_told_once() -> None:
    notices = Notices(HandClock())
    notices.say({"parked": 1})
    assert not notices.is_due({"parked": 1})
    assert notices.is_due({"parked": 0})
