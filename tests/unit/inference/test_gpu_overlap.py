"""Batches that overlap on a GPU that does everything as late, or as early, as it may.

A wait that is missing between two streams, or between a stream and the caller, gives wrong plates
here; on a real GPU it would do so once in a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from alprd.core.types import Detection, Frame, PlateRead
from alprd.inference.batches import Batch, Lookout
from alprd.inference.conveyor import Conveyor
from alprd.inference.figures import StageFigures
from alprd.inference.second_look import SecondLook, looking_twice
from alprd.ports import Detector, EngineError, PlateReader, SubmittingReader
from support import tiny_models
from support.cuda_on_cpu import CpuDevice, CpuEvent, LateDevice, compiler
from support.gpu_on_cpu import (
    MAX_BATCH,
    SLOTS,
    Backend,
    Image,
    assert_same_detections,
    assert_same_reads,
    scene,
    tiny_backend,
)
from support.inference import FakeClock, frame

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

SIZE = (400, 240)
BATCHES = 4
FRAMES, DETECTOR, READER = 0, 1, 4
"""The streams, as the backend makes them; two and three belong to the detector's sets."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Batches, and what the CPU says of them."""

    batches: list[list[Image]]
    found: list[list[list[Detection]]]
    read: list[list[PlateRead]]

    def plates(self, n: int, images: Sequence[Image]) -> list[tuple[Image, Detection, float]]:
        return [
            (image, plate, 0.0)
            for image, found in zip(images, self.found[n], strict=True)
            for plate in found
            if plate.label == "plate"
        ]


@pytest.fixture(scope="module")
def told_by_the_cpu(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Traffic]]:
    """Of frames of these sizes in turn; worked out once."""
    with tiny_backend(tmp_path_factory.mktemp("models"), CpuDevice()) as backend:

        @cache
        def traffic(*sizes: tuple[int, int]) -> Traffic:
            batches = [
                [
                    scene(f"AB{n}{k}CDE", sizes[n % len(sizes)], seed=10 * n + k)
                    for k in range(MAX_BATCH)
                ]
                for n in range(BATCHES)
            ]
            found = [backend.cpu_detector.detect(batch) for batch in batches]
            made = Traffic(batches=batches, found=found, read=[])
            for n, batch in enumerate(batches):
                made.read.append(backend.cpu_reader.read(made.plates(n, batch)))
            assert all(len(each) == 2 * MAX_BATCH for each in made.read)
            return made

        yield traffic


@pytest.fixture
def wanted(told_by_the_cpu: Callable[..., Traffic]) -> Traffic:
    return told_by_the_cpu(SIZE)


def made(folder: Path, *, integrated: bool, hasty: int | None) -> Iterator[Backend]:
    device = LateDevice(integrated=integrated, hasty=hasty)
    with tiny_backend(folder, device) as backend:
        yield backend


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def integrated(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(
    params=[None, FRAMES, DETECTOR, READER],
    ids=["all-late", "hasty-copies", "hasty-detector", "hasty-reader"],
)
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, *, integrated: bool
) -> Iterator[Backend]:
    yield from made(tmp_path, integrated=integrated, hasty=request.param)


def uploads(device: CpuDevice) -> int:
    return sum(size > 100_000 for size in device.uploaded)


def drive(backend: Backend, wanted: Traffic) -> None:
    """As the inference thread does it: the next batch is begun before this one is looked at."""
    images = [image.copy() for image in wanted.batches[0]]
    pending = backend.detector.submit(images)
    for n in range(BATCHES):
        following = [image.copy() for image in wanted.batches[(n + 1) % BATCHES]]
        begun = backend.detector.submit(following)
        assert_same_detections(pending.result(), wanted.found[n])
        assert_same_reads(backend.reader.read(wanted.plates(n, images)), wanted.read[n])
        images, pending = following, begun
    pending.result()


def test_batches_that_overlap_give_what_the_cpu_gives(backend: Backend, wanted: Traffic) -> None:
    drive(backend, wanted)


class Collected:
    """A follower that reads every plate."""

    def __init__(self) -> None:
        self.reads: list[list[PlateRead]] = []

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        return [each for each in detections if each.label == "plate"]

    def follow(
        self,
        frame: Frame,
        detections: Sequence[Detection],
        reads: Sequence[PlateRead],
        taken_s: float,
    ) -> None:
        self.reads.append(list(reads))

    def conclude(self, batch: Batch) -> None:
        pass


BELOW = 1.1
"""Every plate is looked at again."""


def conveyed(detector: Detector, reader: PlateReader, batches: Sequence[list[Image]]) -> Collected:
    """The same batches as the inference thread moves them on."""
    clock = FakeClock()
    lookout = Lookout(
        detector,
        looking_twice(reader, BELOW),
        figures=StageFigures(clock),
        clock=clock,
        complain=lambda _frame, error: pytest.fail(str(error)),
    )
    found = Collected()
    conveyor = Conveyor(lookout, found, lambda: None)
    for batch in batches:
        conveyor.advance([frame(f"c{k}", image=image.copy()) for k, image in enumerate(batch)])
    conveyor.drain()
    return found


def test_batches_on_the_conveyor_give_what_the_cpu_gives_and_are_uploaded_once(
    backend: Backend, wanted: Traffic
) -> None:
    batches = [*wanted.batches, *wanted.batches]
    expected = conveyed(backend.cpu_detector, backend.cpu_reader, batches)
    backend.device.uploaded.clear()
    found = conveyed(backend.detector, backend.reader, batches)
    assert len(found.reads) == len(expected.reads) == len(batches) * MAX_BATCH
    for ours, theirs in zip(found.reads, expected.reads, strict=True):
        assert_same_reads(ours, theirs)
    if not backend.device.integrated:
        assert uploads(backend.device) == len(batches) * MAX_BATCH


def test_memory_that_grows_under_way_is_given_back_only_when_nobody_works_on_it(
    backend: Backend, told_by_the_cpu: Callable[..., Traffic]
) -> None:
    drive(backend, told_by_the_cpu((330, 200), SIZE, (500, 300), (700, 420)))


def test_a_crowd_of_candidates_comes_back_whole_though_the_next_batch_is_under_way(
    tmp_path: Path, wanted: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.inference.gpu_candidates._USUAL", 1)
    for hasty in (None, DETECTOR):
        for backend in made(tmp_path / str(hasty), integrated=False, hasty=hasty):
            drive(backend, wanted)


@pytest.mark.parametrize("kept", [False, True])
def test_each_frame_is_uploaded_once_though_the_next_batch_comes_before_it_is_read(
    tmp_path: Path, wanted: Traffic, *, kept: bool
) -> None:
    """Also where somebody keeps them all, as for pictures of an event."""
    album = []
    with tiny_backend(tmp_path, LateDevice()) as backend:
        images = [image.copy() for image in wanted.batches[0]]
        pending = backend.detector.submit(images)
        told = []
        for n in range(BATCHES):
            album += images if kept else []
            backend.device.uploaded.clear()
            following = [image.copy() for image in wanted.batches[(n + 1) % BATCHES]]
            begun = backend.detector.submit(following)
            submitted = uploads(backend.device)
            pending.result()
            SecondLook(backend.reader, 1.1).read(wanted.plates(n, images))
            told.append((submitted, uploads(backend.device) - submitted))
            images, pending = following, begun
        pending.result()
        assert told == [(MAX_BATCH, 0)] * BATCHES


def test_frames_are_copied_while_the_batch_before_is_still_to_be_looked_at(
    tmp_path: Path, wanted: Traffic
) -> None:
    device = LateDevice(hasty=FRAMES)
    with tiny_backend(tmp_path, device) as backend:
        images = [image.copy() for image in wanted.batches[0]]
        pending = backend.detector.submit(images)
        for n in range(BATCHES):
            following = [image.copy() for image in wanted.batches[(n + 1) % BATCHES]]
            begun = backend.detector.submit(following)
            assert device.streams[FRAMES].idle
            assert len(backend.networks["detect"].done) == n
            pending.result()
            backend.reader.read(wanted.plates(n, images))
            images, pending = following, begun
        pending.result()


def test_few_cameras_take_the_memory_of_few(tmp_path: Path, wanted: Traffic) -> None:
    with tiny_backend(tmp_path, LateDevice(integrated=True)) as backend:
        before = set(backend.device.blocks)
        image = wanted.batches[0][0].copy()
        pending = backend.detector.submit([image])
        for _ in range(3 * SLOTS):
            following = image.copy()
            begun = backend.detector.submit([following])
            pending.result()
            image, pending = following, begun
        pending.result()
        taken = [block for key, block in backend.device.blocks.items() if key not in before]
        assert [block.nbytes for block in taken] == [image.nbytes] * 2


def test_frames_that_somebody_still_has_stay_while_there_are_others_to_go(
    tmp_path: Path, wanted: Traffic
) -> None:
    for backend in made(tmp_path, integrated=False, hasty=None):
        kept = [image.copy() for image in wanted.batches[0]]
        backend.detector.detect(kept)
        for n in range(1, BATCHES):
            backend.detector.detect([image.copy() for image in wanted.batches[n]])
        backend.device.uploaded.clear()
        assert_same_reads(backend.reader.read(wanted.plates(0, kept)), wanted.read[0])
        assert uploads(backend.device) == 0


def test_a_frame_that_is_read_while_it_is_looked_at_may_be_uploaded_again(
    backend: Backend, wanted: Traffic
) -> None:
    """Its memory is written to only when both have seen it."""
    image = wanted.batches[0][0].copy()
    looked = backend.detector.submit([image])
    backend.reader.read(wanted.plates(0, [image, *wanted.batches[0][1:]])[:2])
    image[:] = tiny_models.blank_picture(SIZE)
    again = backend.detector.submit([image])
    assert_same_detections(looked.result(), wanted.found[0][:1])
    assert again.result() == [[]]


def test_plates_are_read_while_the_next_batch_is_begun_and_the_next_plates_wait(
    backend: Backend, wanted: Traffic
) -> None:
    reader = backend.reader
    assert isinstance(reader, SubmittingReader)
    images = [image.copy() for image in wanted.batches[0]]
    pending = backend.detector.submit(images)
    for n in range(BATCHES):
        assert_same_detections(pending.result(), wanted.found[n])
        plates = wanted.plates(n, images)
        first = reader.submit(plates)
        following = [image.copy() for image in wanted.batches[(n + 1) % BATCHES]]
        pending = backend.detector.submit(following)
        nobody_asks = reader.submit(plates[:1])
        second = reader.submit(plates[::-1])
        assert first.known() == [None] * len(plates)
        assert_same_reads(second.result(), wanted.read[n][::-1])
        assert_same_reads(first.result(), wanted.read[n])
        assert_same_reads(first.result(), wanted.read[n])
        assert_same_reads(nobody_asks.result(), wanted.read[n][:1])
        images = following
    pending.result()


def test_batches_that_nobody_asks_for_disturb_no_other(backend: Backend, wanted: Traffic) -> None:
    for batch in wanted.batches:
        backend.detector.submit([image.copy() for image in batch])
    assert_same_detections(backend.detector.detect(wanted.batches[1]), wanted.found[1])


def test_a_network_that_takes_one_frame_at_a_time_is_not_waited_for_either(
    tmp_path: Path, wanted: Traffic
) -> None:
    device = LateDevice()
    with tiny_backend(tmp_path, device, rows=1) as backend:
        first, second = (backend.detector.submit(wanted.batches[n]) for n in (0, 1))
        assert backend.networks["detect"].counts == [1] * 2 * MAX_BATCH
        assert backend.networks["detect"].done == []
        assert_same_detections(first.result(), wanted.found[0])
        assert backend.networks["detect"].done == [1] * MAX_BATCH
        assert_same_detections(second.result(), wanted.found[1])


def fails(count: int, _stream: object) -> None:
    raise EngineError(f"no batch of {count}")


def test_a_batch_that_the_network_fails_at_costs_no_other(
    backend: Backend, wanted: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backend.detector.submit(wanted.batches[0])
    with monkeypatch.context() as failing:
        failing.setattr(backend.networks["detect"], "enqueue", fails)
        with pytest.raises(EngineError, match="no batch of 3"):
            backend.detector.submit(wanted.batches[1])
    third = backend.detector.submit(wanted.batches[2])
    assert_same_detections(first.result(), wanted.found[0])
    assert_same_detections(third.result(), wanted.found[2])


def test_plates_that_the_network_fails_at_cost_no_others(
    backend: Backend, wanted: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(backend.networks["read"], "enqueue", fails)
        with pytest.raises(EngineError, match="no batch of 4"):
            backend.reader.read(wanted.plates(0, wanted.batches[0]))
    pending = [backend.detector.submit(wanted.batches[n]) for n in (1, 2)]
    assert_same_reads(backend.reader.read(wanted.plates(0, wanted.batches[0])), wanted.read[0])
    for n in (1, 2):
        assert_same_detections(pending[n - 1].result(), wanted.found[n])


def refuses_to_wait() -> None:
    raise EngineError("the GPU has failed")


def test_a_failed_wait_for_plates_is_told_to_who_asked_for_them_and_costs_no_others(
    backend: Backend, wanted: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    plates = wanted.plates(0, wanted.batches[0])
    first = backend.reader.submit(plates[:2])
    with monkeypatch.context() as failing:
        failing.setattr(backend.reader._done, "synchronize", refuses_to_wait)
        second = backend.reader.submit(plates[2:4])  # waits for the first ones
    assert_same_reads(second.result(), wanted.read[0][2:4])
    for _ in range(2):
        with pytest.raises(EngineError, match="the GPU has failed"):
            first.result()


def test_a_failed_wait_for_detections_is_told_to_who_asked_for_them_and_costs_no_others(
    backend: Backend, wanted: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = backend.detector
    first = detector.submit(wanted.batches[0])
    with monkeypatch.context() as failing:
        failing.setattr(detector._sets[0].done, "synchronize", refuses_to_wait)
        others = [detector.submit(wanted.batches[n]) for n in (1, 2, 3)][: len(detector._sets)]
    for n, other in enumerate(others, 1):
        assert_same_detections(other.result(), wanted.found[n])
    for _ in range(2):
        with pytest.raises(EngineError, match="the GPU has failed"):
            first.result()


def test_plates_of_more_frames_than_stay_are_read_while_others_are_looked_at(
    backend: Backend, wanted: Traffic
) -> None:
    images = [image for batch in wanted.batches for image in batch]
    assert len(images) > SLOTS
    pending = backend.detector.submit(images[:MAX_BATCH])
    plates = [plate for n, batch in enumerate(wanted.batches) for plate in wanted.plates(n, batch)]
    reads = backend.reader.read(plates)
    assert_same_reads(reads, [read for batch in wanted.read for read in batch])
    assert_same_detections(pending.result(), wanted.found[0])


@pytest.mark.parametrize("hasty", [None, 0, 1])
def test_the_stand_in_shows_a_wait_that_is_missing_and_keeps_one_that_is_there(
    hasty: int | None,
) -> None:
    device = LateDevice(hasty=hasty)
    with device.current():
        writer, reader, event = device.stream(), device.stream(), device.event()
        source, target = device.pinned(4, "a test"), device.pinned(4, "a test")
        memory = device.allocate(4, "a test")
        for waits in (True, False):
            device.zero(memory, 4, writer)
            device.synchronize()
            source[:] = 7
            device.upload(memory, source, writer)
            writer.record(event)
            if waits:
                reader.wait(event)
            device.download(target, memory, reader)
            reader.synchronize()
            assert (target[0] == 7) == (waits or hasty == 0)
        assert isinstance(event, CpuEvent)
        event.synchronize()
        np.testing.assert_array_equal(device.blocks[memory], 7)
