"""What commands do in a running daemon: the snapshot."""

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


def snapshot(station: Any, inference: Errands) -> np.ndarray[Any, Any]:
    actions = Actions(
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
    answer = actions.table()["snapshot"]("gate")
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
