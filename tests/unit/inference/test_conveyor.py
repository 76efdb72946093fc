"""What overlaps: frames are begun, looked at and read by turns, and no camera's are mixed up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from alprd.core.types import Detection, EndOfStream, Frame, FrameImage, PlateRead
from alprd.inference.batches import Batch, Lookout
from alprd.inference.conveyor import Conveyor
from alprd.inference.figures import StageFigures
from alprd.inference.preprocess import ImageError
from alprd.ports import EngineError
from support.inference import FakeClock, frame
from support.plates_in_frames import make_plate, make_read

Plates = Sequence[tuple[FrameImage, Detection, float]]


class Gpu:
    """Detector and reader that work by themselves; a picture's first value is its number.

    A frame whose number is in `unsure` is looked at again, one in `empty` has no plate. `fails` is
    what goes wrong, `refuses` the frame that is no picture. `pending` counts what was begun and not
    asked for yet.
    """

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.unsure: set[int] = set()
        self.empty: set[int] = set()
        self.fails = ""
        self.refuses: int | None = None
        self.pending = {"detect": 0, "read": 0}
        self.most_pending = dict(self.pending)

    def note(self, what: str, numbers: Sequence[int]) -> None:
        self.log.append(f"{what} {','.join(map(str, numbers))}")
        if self.fails == self.log[-1]:
            raise EngineError(self.fails)

    def begin(self, what: str) -> None:
        self.pending[what] += 1
        self.most_pending[what] = max(self.most_pending[what], self.pending[what])

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        numbers = [number_of(image) for image in images]
        if self.refuses in numbers:
            raise ImageError("no picture")
        self.note("detect", numbers)
        return [[] if number in self.empty else [make_plate()] for number in numbers]

    def submit_detect(self, images: Sequence[FrameImage]) -> PendingDetections:
        numbers = [number_of(image) for image in images]
        if self.refuses in numbers:
            raise ImageError("no picture")
        self.note("begin", numbers)
        self.begin("detect")
        return PendingDetections(self, numbers)

    def read(self, plates: Plates) -> list[PlateRead]:
        return [make_read(f"T{number_of(image)}", t_s=t_s) for image, _, t_s in plates]

    def submit_read(self, plates: Plates) -> PendingReads:
        self.note("read", [number_of(image) for image, _, _ in plates])
        self.begin("read")
        return PendingReads(self, plates)


class PendingDetections:
    def __init__(self, gpu: Gpu, numbers: Sequence[int]) -> None:
        self.gpu = gpu
        self.numbers = numbers

    def result(self) -> list[list[Detection]]:
        self.gpu.pending["detect"] -= 1
        self.gpu.note("detected", self.numbers)
        return [[] if number in self.gpu.empty else [make_plate()] for number in self.numbers]


class PendingReads:
    def __init__(self, gpu: Gpu, plates: Plates) -> None:
        self.gpu = gpu
        self.plates = plates
        self.numbers = [number_of(image) for image, _, _ in plates]
        self.asked = False

    def known(self) -> list[PlateRead | None]:
        self.gpu.note("known", self.numbers)
        if not self.gpu.unsure & {*self.numbers}:
            self.gpu.pending["read"] -= 1
        return [
            None if number in self.gpu.unsure else read
            for number, read in zip(self.numbers, self.gpu.read(self.plates), strict=True)
        ]

    def result(self) -> list[PlateRead]:
        self.gpu.pending["read"] -= 1
        self.gpu.note("reads", self.numbers)
        return self.gpu.read(self.plates)


class Detector:
    def __init__(self, gpu: Gpu) -> None:
        self.detect, self.submit = gpu.detect, gpu.submit_detect


class Reader:
    def __init__(self, gpu: Gpu) -> None:
        self.read, self.submit = gpu.read, gpu.submit_read


class Road:
    """What becomes of the frames; notes it in the same log."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        self.log.append(f"select {frame.seq}")
        return list(detections)

    def follow(
        self,
        frame: Frame,
        detections: Sequence[Detection],
        reads: Sequence[PlateRead],
        taken_s: float,
    ) -> None:
        assert [read.text for read in reads] == [f"T{frame.seq}"] * len(detections)
        self.log.append(f"follow {frame.seq}")

    def conclude(self, batch: Batch) -> None:
        self.log += [f"end {camera_id}" for camera_id in batch.ended]


class Works:
    """A conveyor and everything around it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.gpu = Gpu(self.log)
        self.beats = 0
        clock = FakeClock()
        lookout = Lookout(
            Detector(self.gpu),
            Reader(self.gpu),
            figures=StageFigures(clock),
            clock=clock,
            complain=lambda frame, _error: self.log.append(f"bad {frame.seq}"),
        )
        self.road = Road(self.log)
        self.conveyor = Conveyor(lookout, self.road, self.beat)

    def beat(self) -> None:
        self.beats += 1

    def advance(self, *items: Frame | EndOfStream) -> list[str]:
        """What happens when these come."""
        before = len(self.log)
        self.conveyor.advance(items)
        return self.log[before:]

    def followed(self) -> list[int]:
        return [int(line.split()[1]) for line in self.log if line.startswith("follow")]


def picture(number: int, camera_id: str = "gate") -> Frame:
    image = np.full((8, 8, 3), number, np.uint8)
    return frame(camera_id, seq=number, t_s=float(number), image=image)


def number_of(image: FrameImage) -> int:
    return int(np.asarray(image)[0, 0, 0])


@pytest.fixture
def works() -> Works:
    return Works()


def test_plates_are_being_read_while_the_next_frames_are_begun(works: Works) -> None:
    assert works.advance(picture(1)) == ["begin 1"]
    assert works.advance(picture(2)) == ["begin 2", "detected 1", "select 1", "read 1"]
    assert works.advance(picture(3)) == [
        "begin 3",
        "known 1",
        "follow 1",
        "detected 2",
        "select 2",
        "read 2",
    ]


def test_what_needs_no_reading_is_followed_at_once(works: Works) -> None:
    works.gpu.empty = {1}
    works.advance(picture(1))
    assert works.advance(picture(2)) == ["begin 2", "detected 1", "select 1", "follow 1"]


def test_the_next_batch_is_looked_at_while_the_reader_looks_again(works: Works) -> None:
    works.gpu.unsure = {1}
    works.advance(picture(1), picture(11, "ramp"))
    works.advance(picture(2))
    assert works.advance(picture(3)) == [
        "begin 3",
        "known 1,11",
        "follow 11",
        "detected 2",
        "reads 1,11",
        "follow 1",
        "select 2",
        "read 2",
    ]


def test_a_batch_waits_for_no_other_to_come(works: Works) -> None:
    works.advance(picture(1))
    assert works.advance() == ["detected 1", "select 1", "read 1"]
    assert works.advance() == ["known 1", "follow 1"]
    assert not works.conveyor.busy
    assert works.advance() == []


def test_a_cameras_frame_is_followed_before_its_next_one_is_selected(works: Works) -> None:
    works.gpu.unsure, works.gpu.empty = {2, 5, 6}, {4}
    for number in range(1, 9):
        works.advance(picture(number))
    works.conveyor.drain()
    order = [line for line in works.log if line.startswith(("select", "follow"))]
    assert order == [f"{what} {number}" for number in range(1, 9) for what in ("select", "follow")]


def test_however_many_batches_come_few_are_on_their_way(works: Works) -> None:
    works.gpu.unsure = {3, 4}
    for number in range(1, 9):
        works.advance(picture(number))
    assert works.gpu.most_pending == {"detect": 2, "read": 1}
    assert works.followed() == [1, 2, 3, 4, 5, 6], "the last two are on their way"


def test_a_camera_is_on_its_way_until_its_frame_is_followed(works: Works) -> None:
    works.advance(picture(1, "ramp"))
    assert works.conveyor.has("ramp")
    works.advance(picture(2))
    assert works.conveyor.has("ramp")
    assert works.conveyor.has("gate")
    works.advance()
    assert not works.conveyor.has("ramp")
    assert works.conveyor.has("gate")


def test_a_frame_that_is_bad_keeps_no_camera_on_its_way(works: Works) -> None:
    works.gpu.refuses = 12
    works.advance(picture(1), picture(12, "ramp"))
    assert works.conveyor.has("gate")
    assert not works.conveyor.has("ramp")


def test_a_stream_ends_after_its_last_frame_was_followed(works: Works) -> None:
    works.advance(picture(1))
    works.advance(EndOfStream(camera_id="gate"))
    works.conveyor.drain()
    assert works.log[-2:] == ["follow 1", "end gate"]


def test_a_batch_that_cannot_be_begun_does_not_overtake_those_before_it(works: Works) -> None:
    works.advance(picture(1))
    works.advance(picture(2))
    works.gpu.refuses = 3
    works.advance(picture(3), picture(13, "ramp"))
    assert works.followed() == [1, 2]
    works.conveyor.drain()
    assert works.followed() == [1, 2, 13]
    assert "bad 3" in works.log


@pytest.mark.parametrize("fails", ["begin 3", "detected 2"])
def test_what_fails_costs_no_frame_that_was_read_before(works: Works, fails: str) -> None:
    works.gpu.unsure = {1}
    works.advance(picture(1), picture(11, "ramp"))
    works.advance(picture(2))
    works.gpu.fails = fails
    with pytest.raises(EngineError, match=fails):
        works.advance(picture(3))
    assert works.followed() == [11, 1]
    works.conveyor.drain()
    assert works.followed() == ([11, 1, 2] if fails == "begin 3" else [11, 1])


def test_it_beats_before_every_frame_is_followed(works: Works) -> None:
    beats: list[int] = []
    works.road.follow = lambda *_: beats.append(works.beats)  # type: ignore[method-assign]
    works.advance(picture(1), picture(11, "ramp"), picture(12, "yard"))
    works.conveyor.drain()
    assert beats == sorted({*beats})
