"""What commands do in a running daemon: the snapshot, and sending again what was refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from alprd.actions import Actions
from alprd.config import Settings
from alprd.core.lists import PlateList
from alprd.core.types import Detection
from alprd.errands import Errands
from alprd.policy.sink import Policy
from alprd.publish.message import Message
from alprd.publish.thread import PublisherStats
from alprd.remote import CommandFailedError
from support.plates_in_frames import make_frame, make_plate

STAFF = PlateList(name="staff", plates=frozenset({"LS15EBC"}), drop=True)


class Station:
    """Stands for all that a snapshot needs: daemon, tap, publisher, models."""

    def __init__(self) -> None:
        made = {"device_id": "edge-07", "cameras": [{"id": "gate", "source": "/x"}]}
        self.settings = Settings.model_validate(made)
        self.sent: list[Message] = []
        self.detector = self
        self.lists: tuple[PlateList, ...] = ()
        self.asked = 0

    def next_frame(self, camera_id: str, timeout_s: float) -> Any:
        return make_frame(0.0)

    def detect(self, images: Any) -> list[list[Detection]]:
        self.asked += 1
        return [[make_plate(600.0, 300.0, 100.0)] for _ in images]

    def send_picture(self, message: Message) -> None:
        self.sent.append(message)


@pytest.fixture
def inference() -> Iterator[Errands]:
    woken, over = threading.Event(), threading.Event()
    errands = Errands(woken.set)

    def run() -> None:
        while not over.is_set():
            woken.wait(10.0)
            woken.clear()
            errands.run()

    thread = threading.Thread(target=run)
    thread.start()
    yield errands
    over.set()
    woken.set()
    thread.join()


def actions_of(station: Any, inference: Errands) -> Actions:
    return Actions(
        station,
        main=Errands(),
        inference=inference,
        models=station,
        publisher=station,
        tap=station,
        book=station,
        stalled=list,
        policy=lambda: Policy(lists=lambda: station.lists, drop_unlisted=False, key=None),
    )


def snapshot(station: Any, inference: Errands) -> np.ndarray[Any, Any]:
    answer = actions_of(station, inference).table()["snapshot"]("gate")
    (message,) = station.sent
    assert answer["bytes"] == len(message.payload)
    assert message.qos == 0
    image = cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[:2] == (answer["height"], answer["width"])
    return image


def test_a_snapshot_shows_all_of_the_picture_and_goes_while_no_event_waits(
    inference: Errands,
) -> None:
    station = Station()
    image = snapshot(station, inference)
    assert np.abs(image.astype(int) - make_frame(0.0).image).max() <= 8
    assert station.asked == 0, "inference has better things to do"


def test_where_plates_are_dropped_a_snapshot_has_them_covered(inference: Errands) -> None:
    station = Station()
    station.lists = (STAFF,)
    image = snapshot(station, inference)
    quad = make_plate(600.0, 300.0, 100.0).quad
    assert quad is not None
    x, y = quad.mean(axis=0).astype(int)
    assert np.abs(image[y - 5 : y + 6, x - 20 : x + 21].astype(int) - 128).max() <= 8
    assert not np.abs(image[y + 100, x].astype(int) - 128).max() <= 8


def test_where_plates_are_hidden_there_is_no_snapshot(inference: Errands) -> None:
    station = Station()
    privacy = station.settings.privacy.model_copy(update={"plates": "hmac"})
    station.settings = station.settings.model_copy(update={"privacy": privacy})
    with pytest.raises(CommandFailedError, match=r"privacy\.plates"):
        snapshot(station, inference)
    assert station.sent == []


class Publisher(Station):
    """Has parked what a broker refused; its figures are counted only now and then."""

    def __init__(self, *figures: PublisherStats, counts: bool = True) -> None:
        super().__init__()
        self.figures = list(figures)
        self.counts = counts

    def stats(self) -> PublisherStats:
        return self.figures[0]

    def offer_parked_again(self) -> threading.Event:
        publisher = self

        class Counted(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                if publisher.counts:
                    publisher.figures.pop(0)
                return publisher.counts

        return Counted()


def test_a_flush_does_not_take_the_refusal_of_before_for_the_answer() -> None:
    publisher = Publisher(
        PublisherStats(parked=4, last_refusal="alpr/gate/plates: Not authorized"),
        PublisherStats(published=4),
    )
    answer = actions_of(publisher, Errands()).table()["flush"](None)
    assert answer == {"sent": 4, "waiting": 0, "parked": 0}


def test_a_flush_that_is_refused_again_says_why() -> None:
    parked = PublisherStats(parked=4, last_refusal="alpr/gate/plates: Not authorized")
    publisher = Publisher(parked, parked)
    with pytest.raises(CommandFailedError, match="Not authorized") as refused:
        actions_of(publisher, Errands()).table()["flush"](None)
    assert refused.value.data == {"sent": 0, "waiting": 0, "parked": 4}


def test_a_flush_of_which_nothing_was_counted_does_not_claim_that_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alprd.actions.FLUSH_TIMEOUT_S", 0.0)
    publisher = Publisher(PublisherStats(last_error="the disk is full"), counts=False)
    with pytest.raises(CommandFailedError, match="the disk is full"):
        actions_of(publisher, Errands()).table()["flush"](None)
