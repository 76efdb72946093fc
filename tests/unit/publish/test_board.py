"""Latest values: the newest per topic wins."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from alprd.core.types import CameraStatus
from alprd.publish.board import Board, BoardMessage

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


def make_board(changes: list[int] | None = None) -> Board:
    return Board(
        prefix="alpr",
        device_id="edge",
        now=lambda: NOW,
        on_change=lambda: changes.append(1) if changes is not None else None,
    )


def taken(board: Board) -> list[BoardMessage]:
    messages = []
    while (message := board.take()) is not None:
        messages.append(message)
    return messages


def test_a_camera_status_has_every_field_and_says_null_for_what_is_unknown() -> None:
    board = make_board()
    board.camera_status(CameraStatus(camera_id="gate", state="offline", last_error="no answer"))
    (message,) = taken(board)
    assert json.loads(message.payload) == {
        "schema": "alprd.status/1",
        "state": "offline",
        "fps": None,
        "dropped": 0,
        "last_frame_age_s": None,
        "last_error": "no answer",
        "light": None,
        "at": "2026-11-21T09:00:00.000Z",
    }
    assert (message.topic, message.qos, message.retain) == ("alpr/gate/status", 1, True)
    assert message.schema == "alprd.status/1"


def test_only_the_newest_value_of_a_topic_is_sent() -> None:
    board = make_board()
    for number in range(3):
        board.device("info", {"number": number}, retain=True)
    assert [json.loads(message.payload) for message in taken(board)] == [{"number": 2}]


def test_topics_are_sent_in_the_order_of_their_last_change() -> None:
    board = make_board()
    board.device("a", {}, retain=True)
    board.device("b", {}, retain=True)
    board.device("a", {}, retain=True)
    assert [message.topic[-1] for message in taken(board)] == ["b", "a"]


def test_after_a_connect_everything_is_sent_again() -> None:
    board = make_board()
    board.device("info", {}, retain=True)
    board.device("health", {}, retain=True)
    assert not board.is_sent()
    taken(board)
    assert board.is_sent()
    board.all_unsent()
    assert [message.topic for message in taken(board)] == [
        "alpr/devices/edge/info",
        "alpr/devices/edge/health",
    ]


def test_a_status_that_was_taken_away_is_not_taken_away_again_after_a_later_connect() -> None:
    board = make_board()
    board.forget_camera("gate")
    taken(board)
    board.all_unsent()  # the connection broke before the broker answered
    assert [message.payload for message in taken(board)] == [b""]
    board.acknowledged("alpr/gate/status")
    board.acknowledged("alpr/gate/status")  # of the first connection, had it come late
    board.all_unsent()
    assert taken(board) == []


def test_an_acknowledgement_takes_nothing_but_a_sent_and_empty_message_away() -> None:
    board = make_board()
    board.device("info", {}, retain=True)
    taken(board)
    board.acknowledged("alpr/devices/edge/info")
    board.camera_status(CameraStatus(camera_id="gate", state="online"))
    board.forget_camera("gate")  # the acknowledgement below is for the status before it
    board.acknowledged("alpr/gate/status")
    board.all_unsent()
    assert [message.topic for message in taken(board)] == [
        "alpr/devices/edge/info",
        "alpr/gate/status",
    ]


def test_health_is_sent_at_most_once_and_everything_else_at_least_once() -> None:
    board = make_board()
    board.device("health", {}, retain=True)
    board.device("info", {}, retain=False)
    assert [(message.qos, message.retain) for message in taken(board)] == [(0, True), (1, False)]


def test_every_change_is_announced() -> None:
    changes: list[int] = []
    board = make_board(changes)
    board.camera_status(CameraStatus(camera_id="gate", state="online"))
    board.forget_camera("gate")
    assert len(changes) == 2
    assert [message.payload for message in taken(board)] == [b""]
