"""Batches that a thread of the detector's own copies and begins, while the caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from alprd.core.types import DeviceSurface
from alprd.inference.copying import Copiers
from alprd.inference.cuda_graphs import STILLNESS
from alprd.ports import EngineError, EngineUnavailable, ImageU8
from support.cuda_on_cpu import CpuStream, LateDevice, compiler
from support.gpu_on_cpu import (
    MAX_BATCH,
    Backend,
    Image,
    assert_same_detections,
    assert_same_reads,
    scene,
    tiny_backend,
    warm,
)

pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="no C++ compiler here"),
    pytest.mark.timeout(60),
]

NAME = "alprd-upload"
Copying = Callable[
    [Copiers, Sequence[tuple[ImageU8, ImageU8]]], AbstractContextManager[Iterator[int]]
]


class Gate:
    """Holds up the thread's copying while it is shut."""

    def __init__(self, copying: Copying) -> None:
        self._copying = copying
        self.open = threading.Event()
        self.reached = threading.Event()

    @contextmanager
    def copied(
        self, copiers: Copiers, pairs: Sequence[tuple[ImageU8, ImageU8]]
    ) -> Iterator[Iterator[int]]:
        if threading.current_thread().name == NAME:
            self.reached.set()
            self.open.wait()
        with self._copying(copiers, pairs) as copied:
            yield copied


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(Copiers.copying)

    def copying(
        copiers: Copiers, pairs: Sequence[tuple[ImageU8, ImageU8]]
    ) -> AbstractContextManager[Iterator[int]]:
        return made.copied(copiers, pairs)

    monkeypatch.setattr(Copiers, "copying", copying)
    yield made
    made.open.set()


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, gate: Gate) -> Iterator[Backend]:
    with tiny_backend(tmp_path, LateDevice(integrated=request.param), aside=True) as made:
        warm(made)
        yield made
        gate.open.set()
    assert not any(thread.name == NAME for thread in threading.enumerate())


def batch(seed: int) -> list[Image]:
    return [scene(f"AB{seed}{k}", (400, 240), seed=10 * seed + k) for k in range(MAX_BATCH)]


def test_a_batch_is_submitted_before_its_frames_are_copied(backend: Backend, gate: Gate) -> None:
    images = batch(1)
    begun = len(backend.networks["detect"].counts)
    pending = backend.detector.submit(images)
    gate.reached.wait()
    assert len(backend.networks["detect"].counts) == begun
    gate.open.set()
    assert_same_detections(pending.result(), backend.cpu_detector.detect(images))


def test_the_reader_sees_its_frames_while_those_of_the_next_batch_are_copied(
    backend: Backend, gate: Gate
) -> None:
    images, following = batch(1), batch(2)
    gate.open.set()
    pending = backend.detector.submit(images)
    found = pending.result()
    gate.open.clear()
    gate.reached.clear()
    begun = backend.detector.submit(following)
    gate.reached.wait()
    backend.device.uploaded.clear()
    plates = backend.plates(images)
    assert_same_reads(backend.reader.read(plates), backend.cpu_reader.read(plates))
    assert not any(size > 100_000 for size in backend.device.uploaded)
    gate.open.set()
    assert_same_detections(found, backend.cpu_detector.detect(images))
    assert_same_detections(begun.result(), backend.cpu_detector.detect(following))


def test_frames_that_are_being_copied_can_be_read_already(backend: Backend, gate: Gate) -> None:
    images = batch(1)
    pending = backend.detector.submit(images)
    gate.reached.wait()
    plates = backend.plates(images)
    assert_same_reads(backend.reader.read(plates), backend.cpu_reader.read(plates))
    gate.open.set()
    assert_same_detections(pending.result(), backend.cpu_detector.detect(images))
    assert_same_reads(backend.reader.read(plates), backend.cpu_reader.read(plates))


def test_a_call_that_finds_no_room_waits_for_the_frames_that_are_being_copied(
    backend: Backend, gate: Gate
) -> None:
    """Six frames are kept; three of them are the thread's, and the reader wants them all."""
    pending = backend.detector.submit(batch(1))
    gate.reached.wait()
    plates = backend.plates([scene(f"P{number}", (400, 240)) for number in range(6)])
    expected = backend.cpu_reader.read(plates)
    opening = threading.Timer(0.2, gate.open.set)
    opening.start()
    assert_same_reads(backend.reader.read(plates[::2]), expected[::2])
    assert gate.open.is_set()
    assert_same_reads(backend.reader.read(plates[1::2]), expected[1::2])
    opening.join()
    assert_same_detections(pending.result(), backend.cpu_detector.detect(batch(1)))


def test_batches_are_begun_in_the_order_in_which_they_came(backend: Backend, gate: Gate) -> None:
    counts = backend.networks["detect"].counts
    for count in (1, 2):
        for _ in range(4):
            backend.detector.detect(batch(1)[:count])
    counts.clear()
    pending = [backend.detector.submit(batch(n)[: 3 - n]) for n in (0, 1)]
    gate.reached.wait()
    assert counts == []
    gate.open.set()
    for n in (1, 0):
        expected = backend.cpu_detector.detect(batch(n)[: 3 - n])
        assert_same_detections(pending[n].result(), expected)
    gate.open.clear()
    begun = backend.detector.submit(batch(3)[:2])
    opening = threading.Timer(0.2, gate.open.set)
    opening.start()
    found = backend.detector.detect(batch(2)[:1])  # by this thread, once the other one is begun
    opening.join()
    assert counts == [3, 2, 2, 1]
    assert_same_detections(found, backend.cpu_detector.detect(batch(2)[:1]))
    assert_same_detections(begun.result(), backend.cpu_detector.detect(batch(3)[:2]))


def test_what_fails_while_a_batch_is_begun_is_told_to_who_asks_for_it_and_to_nobody_else(
    backend: Backend, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.open.set()

    def fails(count: int, _stream: object) -> None:
        raise EngineError(f"no batch of {count}")

    enqueue = backend.networks["detect"].enqueue
    calls = iter([enqueue, fails, enqueue, fails, enqueue, enqueue])

    def next_call(count: int, stream: CpuStream) -> None:
        next(calls)(count, stream)

    monkeypatch.setattr(backend.networks["detect"], "enqueue", next_call)
    first, failed = (backend.detector.submit(batch(n)) for n in (1, 2))
    assert_same_detections(first.result(), backend.cpu_detector.detect(batch(1)))
    third = backend.detector.submit(batch(3))
    with pytest.raises(EngineError, match="no batch of 3"):
        failed.result()
    assert_same_detections(third.result(), backend.cpu_detector.detect(batch(3)))
    pending = [backend.detector.submit(batch(n)) for n in (4, 5, 6)]  # nobody asks for the first
    for n in (5, 6):
        assert_same_detections(pending[n - 4].result(), backend.cpu_detector.detect(batch(n)))


def test_memory_that_runs_out_is_told_with_the_result_and_costs_no_other_batch(
    backend: Backend, gate: Gate
) -> None:
    before = backend.detector.submit(batch(1))
    gate.reached.wait()  # so it has its memory
    gate.open.set()
    backend.device.left = 1_000_000
    large = [scene("AB12CDE", (2560, 1440)), *batch(2)[1:]]
    failed = backend.detector.submit(large)
    assert_same_detections(before.result(), backend.cpu_detector.detect(batch(1)))
    with pytest.raises(EngineUnavailable, match="out of memory"):
        failed.result()
    backend.device.left = None
    pending = [backend.detector.submit(batch(n)) for n in (1, 2)]
    for n, each in zip((1, 2), pending, strict=True):
        assert_same_detections(each.result(), backend.cpu_detector.detect(batch(n)))
    found = backend.detector.submit(large).result()
    assert_same_detections(found, backend.cpu_detector.detect(large))


def test_closing_waits_for_what_is_copied_and_drops_the_rest(backend: Backend, gate: Gate) -> None:
    backend.detector.submit(batch(1))
    gate.reached.wait()
    dropped = backend.detector.submit(batch(2))
    opening = threading.Timer(0.05, gate.open.set)
    opening.start()
    backend.detector.close()
    opening.join()
    assert gate.open.is_set()
    assert not any(thread.name == NAME for thread in threading.enumerate())
    with pytest.raises(EngineError, match="closed"):
        dropped.result()


def test_frames_that_a_decoder_left_on_the_gpu_are_begun_by_the_caller(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_by = []
    enqueue = backend.networks["detect"].enqueue

    def told(count: int, stream: CpuStream) -> None:
        begun_by.append(threading.current_thread().name)
        enqueue(count, stream)

    monkeypatch.setattr(backend.networks["detect"], "enqueue", told)
    images = batch(1)
    surfaces = [
        DeviceSurface(
            format="bgr",
            width=400,
            height=240,
            pointers=(image.ctypes.data,),
            pitch=1200,
            owner=image,
            to_host=lambda: images[0],
        )
        for image in images
    ]
    found = backend.detector.submit(surfaces).result()
    assert begun_by == [threading.current_thread().name]
    assert_same_detections(found, backend.cpu_detector.detect(images))


def test_what_a_network_has_yet_to_load_or_capture_is_left_to_the_thread_that_has_the_models(
    backend: Backend, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture of one engine and the loading of another must not meet on two threads."""
    told: list[tuple[str, bool]] = []
    enqueue = backend.networks["detect"].enqueue

    def telling(count: int, stream: CpuStream) -> None:
        with STILLNESS.captured() as may_be_captured:
            told.append((threading.current_thread().name, may_be_captured))
        enqueue(count, stream)

    monkeypatch.setattr(backend.networks["detect"], "enqueue", telling)
    gate.open.set()
    images = batch(1)[:2]
    for _ in range(9):
        backend.detector.submit(images).result()
    here, aside = (threading.current_thread().name, True), (NAME, False)
    assert told == [here, here, aside, here, aside, aside, aside, here, aside]
