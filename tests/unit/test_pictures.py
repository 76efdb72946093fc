"""Which frame a picture is of, how it gets into its event, and when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import alprd.pictures
from alprd.core.lists import PlateList
from alprd.core.types import Detection, Frame, PlateRead
from alprd.ports import OutboxError
from support.observed import Gate
from support.payloads import problems_of
from support.plate_events import plate_event
from support.plates_in_frames import make_frame, make_plate, make_read
from support.replay import Rules
from support.simulation import times

ON: dict[str, Any] = {"images": {"enabled": True, "crop": "frame", "quality": 95}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


class Street:
    """Drives plates through a gate; every frame's brightness tells its number."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.number = 0

    def frame(self, t_s: float) -> Frame:
        self.number += 1
        image = np.full((720, 1280, 3), 5 * self.number % 250, np.uint8)
        return replace(make_frame(t_s), image=image)

    def show(self, t_s: float, *seen: tuple[Detection, PlateRead], camera: str = "gate") -> int:
        """One frame; the brightness of it."""
        frame, line = self.frame(t_s), self.gate.lines[camera]
        chosen = line.select(frame, [plate for plate, _ in seen])
        reads = [next(read for plate, read in seen if plate is each) for each in chosen]
        self.gate.store(line.step(frame, [plate for plate, _ in seen], reads))
        return int(frame.image[0, 0, 0])

    def show_all(self, t_s: float, detections: list[Detection]) -> None:
        """One frame without a plate."""
        frame = self.frame(t_s)
        assert self.gate.line.select(frame, detections) == []
        self.gate.store(self.gate.line.step(frame, detections, []))

    def drive(self, text: str = "LS15EBC", best: int = 7) -> int:
        """A pass whose plate is read best in one frame; the brightness of that one."""
        brightness = 0
        for k, t in enumerate(times(0.0, 2.0, 10.0)):
            width = 115.0 if k == best else 100.0
            shown = self.show(t, (make_plate(400 + 20 * k, 300 + 5 * k, width), make_read(text)))
            brightness = shown if k == best else brightness
        for t in times(2.0, 6.0, 10.0):
            self.show(t)
        return brightness


@pytest.fixture
def gate(folder: Path) -> Iterator[Gate]:
    made = Gate(folder, ON)
    with made.worker:
        yield made


def brightness(folder: Path, file: str) -> int:
    image = cv2.imread(str(folder / file))
    assert image is not None
    return int(image[0, 0, 0])


def test_the_picture_is_of_the_frame_that_the_event_is_of(gate: Gate, folder: Path) -> None:
    best = Street(gate).drive(best=7)
    (event,) = gate.disk.events
    assert event.image is not None
    assert event.image.captured_at == event.captured_at
    assert abs(brightness(folder, event.image.file) - best) <= 2
    assert problems_of(event) == []
    assert (event.image.topic, gate.pictures) == (None, [])


def test_nothing_stays_in_memory_when_nobody_is_in_view(gate: Gate) -> None:
    Street(gate).drive()
    assert gate.album._memory_bytes == 0
    assert gate.line._album._cuts == {}
    assert (len(gate.album._chosen), len(gate.album._made)) == (0, 0)


def test_what_was_misread_first_does_not_choose_the_picture(gate: Gate, folder: Path) -> None:
    street = Street(gate)
    right = 0
    for k, t in enumerate(times(0.0, 2.0, 10.0)):
        # Large, and wrong: seen for a moment at the start.
        text, width = ("LS15E8C", 112.0) if k < 2 else ("LS15EBC", 100.0 + (k == 9) * 10.0)
        shown = street.show(t, (make_plate(400 + 20 * k, 300, width), make_read(text)))
        right = shown if k == 9 else right
    for t in times(2.0, 6.0, 10.0):
        street.show(t)
    (event,) = gate.disk.events
    assert event.plate == "LS15EBC"
    assert event.image is not None
    assert abs(brightness(folder, event.image.file) - right) <= 2


def test_two_vehicles_at_once_have_a_picture_each(gate: Gate) -> None:
    street = Street(gate)
    for k, t in enumerate(times(0.0, 2.0, 10.0)):
        ours = (make_plate(300 + 10 * k, 300), make_read("LS15EBC"))
        theirs = (make_plate(900 - 10 * k, 500), make_read("AB12CDE"))
        street.show(t, ours, theirs)
    gate.store(gate.line.finish())
    images = [event.image for event in gate.disk.events]
    assert len({image.file for image in images if image is not None}) == 2


def test_a_plate_that_the_policy_drops_has_no_picture(folder: Path) -> None:
    staff = PlateList(name="staff", plates=frozenset({"LS15EBC"}), drop=True)
    gate = Gate(folder, ON, lists=[staff])
    with gate.worker:
        Street(gate).drive("LS15EBC")
        Street(gate).drive("AB12CDE")
    (event,) = gate.disk.events
    assert event.image is not None
    assert event.image.plates == "own", "the dropped one may stand beside it"
    assert [path.stem for path in folder.rglob("*.jpg")] == [event.event_id]
    assert gate.album._memory_bytes == 0


def test_where_plates_are_hidden_they_are_covered_whatever_the_settings_say(folder: Path) -> None:
    gate = Gate(folder, ON, key=b"k" * 32)
    with gate.worker:
        Street(gate).drive()
    (event,) = gate.disk.events
    assert event.image is not None
    assert event.image.plates == "covered"


def test_a_picture_is_sent_after_its_event_when_that_is_wanted(folder: Path) -> None:
    gate = Gate(folder, {"images": {**ON["images"], "publish": True}})
    with gate.worker:
        Street(gate).drive()
    (event,), (message,) = gate.disk.events, gate.pictures
    assert event.image is not None
    assert message.topic == event.image.topic == "alpr/gate/snapshot"
    assert message.payload == (folder / event.image.file).read_bytes()
    assert message.user["event_id"] == event.event_id
    assert (message.qos, message.retain, message.expiry_s) == (0, False, 60)


def test_an_event_that_waits_for_the_disk_keeps_its_picture_and_makes_no_other(
    folder: Path,
) -> None:
    gate = Gate(folder, ON)
    with gate.worker:
        refused: list[Any] = []
        store = gate.sink.add

        def keep_trying(events: Any) -> None:  # as the inference thread does
            refused.extend(events)
            try:
                store(tuple(refused))
            except OutboxError:
                return
            refused.clear()

        gate.sink.add = keep_trying  # type: ignore[method-assign]
        gate.disk.full = True
        Street(gate).drive("LS15EBC")
        Street(gate).drive("AB12CDE")
        assert len(refused) == 2
        gate.disk.full = False
        Street(gate).drive("K7XLS")
    assert [event.plate for event in gate.disk.events] == ["LS15EBC", "AB12CDE", "K7XLS"]
    files = {event.image.file for event in gate.disk.events if event.image is not None}
    assert len(files) == 3
    assert len(list(folder.rglob("*.jpg"))) == 3


def test_a_picture_whose_event_is_dropped_while_it_waits_is_deleted(folder: Path) -> None:
    gate = Gate(folder, ON)
    with gate.worker:
        gate.disk.full = True
        with pytest.raises(OutboxError):
            Street(gate).drive("LS15EBC")
        (event_id,) = gate.album._made
        assert len(list(folder.rglob("*.jpg"))) == 1
        gate.disk.full = False
        gate.lists = (PlateList(name="staff", plates=frozenset({"LS15EBC"}), drop=True),)
        gate.store([replace(plate_event(1), event_id=event_id, plate="LS15EBC")])
    assert gate.disk.events == []
    assert list(folder.rglob("*.jpg")) == []


def test_signs_that_are_read_for_hours_do_not_take_the_memory_of_cars(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_frame = 720 * 1280 * 3
    monkeypatch.setattr(alprd.pictures, "MEMORY_BYTES", 3 * a_frame)
    street = Street(gate)
    signs = [(make_plate(100 + 200 * k, 100), make_read(f"SIGN{k}", quality=0.3)) for k in range(5)]
    for t in times(0.0, 2.0, 5.0):
        street.show(t, *signs)
    for k, t in enumerate(times(2.0, 4.0, 5.0)):
        street.show(t, *signs, (make_plate(400 + 20 * k, 500), make_read("LS15EBC")))
        assert gate.album._memory_bytes <= 3 * a_frame
    for t in times(4.0, 8.0, 5.0):
        street.show(t, *signs)
    (event,) = gate.disk.events
    assert event.plate == "LS15EBC"
    assert event.image is not None


def test_without_memory_events_go_without_pictures_and_health_says_so(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alprd.pictures, "MEMORY_BYTES", 1000)
    Street(gate).drive()
    (event,) = gate.disk.events
    assert event.image is None
    assert gate.worker.figures()["missing"] == {"no_frame": 1}


def test_a_reload_that_switches_pictures_off_lets_go_of_everything(gate: Gate) -> None:
    street = Street(gate)
    for k, t in enumerate(times(0.0, 1.0, 10.0)):
        street.show(t, (make_plate(300 + 10 * k), make_read()))
    assert gate.album._memory_bytes > 0
    gate.use({})
    street.show(1.0, (make_plate(400), make_read()))
    assert gate.album._memory_bytes == 0
    gate.store(gate.line.finish())
    (event,) = gate.disk.events
    assert event.image is None


def test_a_vehicle_without_a_readable_plate_has_a_picture_too(folder: Path) -> None:
    settings = {**ON, "tracking": {"publish_unread": True}}
    gate = Gate(folder, settings, rules=Rules(publish_unread=True))
    with gate.worker:
        street = Street(gate)
        for k, t in enumerate(times(0.0, 3.0, 10.0)):
            box = (100.0 + 40 * k, 200.0, 400.0 + 40 * k, 420.0)
            street.show_all(t, [Detection(label="car", score=0.9, box=box)])
        for t in times(3.0, 7.0, 10.0):
            street.show(t)
    (event,) = gate.disk.events
    assert event.plate is None
    assert event.image is not None
    assert event.image.captured_at == event.captured_at


def test_a_later_event_of_the_same_pass_names_the_same_picture(gate: Gate, folder: Path) -> None:
    Street(gate).drive()
    (event,) = gate.disk.events
    assert event.image is not None
    gate.store([replace(plate_event(2), continues=event.event_id)])
    again = gate.disk.events[-1].image
    assert again == event.image
    assert len(list(folder.rglob("*.jpg"))) == 1


def test_plates_in_one_frame_share_its_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_frame = 720 * 1280 * 3
    monkeypatch.setattr(alprd.pictures, "MEMORY_BYTES", 4 * a_frame)
    gate = Gate(folder, ON)
    texts = ("LS15EBC", "AB12CDE", "K7XLS99", "ZZ9PZAA", "MN44OPQ", "GH77JKL")
    with gate.worker:
        street = Street(gate)
        for k, t in enumerate(times(0.0, 2.0, 5.0)):
            width = 130.0 if k == 0 else 100.0  # all are read best in the same frame
            street.show(
                t,
                *(
                    (make_plate(150 + 170 * n, 100 + 90 * n + 4 * k, width), make_read(text))
                    for n, text in enumerate(texts)
                ),
            )
        for t in times(2.0, 6.0, 5.0):
            street.show(t)
    assert len(gate.disk.events) == len(texts)
    assert [event.plate for event in gate.disk.events if event.image is None] == []
    assert (gate.album._memory_bytes, dict(gate.album._cuts_of)) == (0, {})


def test_a_picture_that_waits_for_the_disk_shows_no_more_than_a_reload_allows(
    folder: Path,
) -> None:
    gate = Gate(folder, ON)
    with gate.worker:
        gate.disk.full = True
        with pytest.raises(OutboxError):
            Street(gate).drive("LS15EBC")
        (event_id,) = gate.album._made
        gate.disk.full = False
        gate.policy.use(replace(gate.policy.policy, key=b"k" * 32))
        gate.store([replace(plate_event(1), event_id=event_id, plate="LS15EBC")])
    (event,) = gate.disk.events
    assert event.image is None
    assert list(folder.rglob("*.jpg")) == []
    assert gate.worker.figures()["missing"] == {"privacy": 1}


def test_a_later_event_does_not_name_a_picture_that_shows_more_than_it(gate: Gate) -> None:
    Street(gate).drive()
    (event,) = gate.disk.events
    gate.policy.use(replace(gate.policy.policy, key=b"k" * 32))
    gate.store([replace(plate_event(2), continues=event.event_id)])
    assert event.image is not None
    assert gate.disk.events[-1].image is None
