"""Which message a broker hangs up at."""

from __future__ import annotations

import pytest

from alprd.publish.suspects import Suspects
from support.outboxes import HandClock

A, B = ("alpr/a/plates", 1), ("alpr/b/plates", 2)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def suspects(clock: HandClock) -> Suspects:
    return Suspects(clock=clock)


def test_one_lost_connection_changes_nothing(suspects: Suspects) -> None:
    assert suspects.hung_up([A, B]) is None
    assert not suspects.one_by_one
    assert not suspects.forbids(A[0])


def test_two_within_a_minute_send_one_message_at_a_time_until_some_were_taken(
    suspects: Suspects,
) -> None:
    suspects.hung_up([A, B])
    suspects.hung_up([A, B])
    assert suspects.one_by_one
    for _ in range(8):
        suspects.taken("alpr/c/plates")
    assert not suspects.one_by_one


def test_rare_losses_change_nothing(suspects: Suspects, clock: HandClock) -> None:
    for _ in range(10):
        assert suspects.hung_up([A, B]) is None
        clock.seconds += 61.0
    assert not suspects.one_by_one


def test_the_same_message_alone_three_times_gives_its_topic_up(suspects: Suspects) -> None:
    suspects.hung_up([A, B])
    suspects.hung_up([A, B])
    assert suspects.hung_up([A]) is None
    assert suspects.hung_up([A]) is None
    assert suspects.hung_up([A]) == A[0]
    assert suspects.forbids(A[0])
    assert not suspects.forbids(B[0])


def test_an_answer_in_between_clears_the_message(suspects: Suspects) -> None:
    suspects.hung_up([A])
    suspects.hung_up([A])
    for _ in range(2):
        assert suspects.hung_up([A]) is None
        assert suspects.hung_up([A]) is None
        suspects.taken(A[0])
    assert not suspects.forbids(A[0])


def test_different_messages_in_turn_are_no_pattern(suspects: Suspects) -> None:
    suspects.hung_up([A])
    suspects.hung_up([B])
    for _ in range(5):
        assert suspects.hung_up([A]) is None
        assert suspects.hung_up([B]) is None


def test_a_topic_is_probed_ever_more_rarely_and_free_when_the_broker_takes_it(
    suspects: Suspects, clock: HandClock
) -> None:
    for _ in range(5):
        suspects.hung_up([A])
    clock.seconds += 29.0
    assert suspects.forbids(A[0])
    clock.seconds += 2.0
    assert not suspects.forbids(A[0])
    suspects.sends(A[0])
    assert suspects.one_by_one
    assert suspects.hung_up([A]) == A[0]  # one more hang-up is enough
    clock.seconds += 31.0
    assert suspects.forbids(A[0])
    clock.seconds += 30.0
    assert not suspects.forbids(A[0])
    assert suspects.taken(A[0])
    assert not suspects.taken(A[0])
    assert not suspects.forbids(A[0])


def test_a_refusal_with_a_hang_up_directly_after_it_gives_the_topic_up_at_once(
    suspects: Suspects, clock: HandClock
) -> None:
    suspects.refused(A[0])
    assert suspects.hung_up([B]) == A[0]
    suspects.refused(B[0])
    clock.seconds += 5.0
    assert suspects.hung_up([]) is None
    assert not suspects.forbids(B[0])


def test_nothing_is_held_against_another_broker(suspects: Suspects) -> None:
    for _ in range(5):
        suspects.hung_up([A])
    suspects.forget()
    assert not suspects.forbids(A[0])
    assert not suspects.one_by_one


TRACKS, OTHER = ("alpr/a/tracks", None), ("alpr/b/tracks", None)


def alone(suspects: Suspects, message: tuple[str, None]) -> str | None:
    suspects.sends(message[0])
    return suspects.hung_up([message])


def test_of_what_asked_for_no_answer_each_topic_is_found_out_by_itself(
    suspects: Suspects, clock: HandClock
) -> None:
    assert suspects.hung_up([], [TRACKS[0], OTHER[0]]) is None
    assert suspects.asks_for_answers
    assert not suspects.one_by_one  # nothing speaks against the events
    for expected in (None, None, "given up"):
        for message in (TRACKS, OTHER):
            clock.seconds += 1200.0
            assert alone(suspects, message) == (expected and message[0])
    clock.seconds += 31.0
    assert alone(suspects, TRACKS) == TRACKS[0]  # a probe
    clock.seconds += 61.0
    suspects.sends(TRACKS[0])
    assert suspects.taken(TRACKS[0])
    assert not suspects.watches(TRACKS[0])
    assert suspects.watches(OTHER[0])


def test_one_alone_is_not_accused_while_something_before_it_may_have_been_at_fault(
    suspects: Suspects,
) -> None:
    suspects.hung_up([A])
    suspects.hung_up([A])
    for _ in range(5):
        assert suspects.hung_up([A], [TRACKS[0]]) is None


def test_a_topic_is_not_watched_for_ever(suspects: Suspects, clock: HandClock) -> None:
    suspects.hung_up([], [TRACKS[0]])
    clock.seconds += 3599.0
    assert suspects.watches_any
    clock.seconds += 1.0
    assert not suspects.watches_any
    assert not suspects.watches(TRACKS[0])
    suspects.hung_up([], [TRACKS[0]])
    suspects.forget()
    assert not suspects.asks_for_answers
