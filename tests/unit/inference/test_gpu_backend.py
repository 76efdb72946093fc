"""The GPU's detector and reader, their kernels compiled for this CPU, against the CPU's own."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.types import DeviceSurface
from alprd.inference.gpu_detector import GpuDetector
from alprd.inference.gpu_reader import GpuReader
from alprd.inference.preprocess import ImageError
from alprd.inference.second_look import SecondLook
from alprd.ports import EngineUnavailable, SubmittingDetector
from support import tiny_models
from support.cuda_on_cpu import CpuDevice, compiler
from support.gpu_on_cpu import (
    SLOTS,
    Backend,
    Image,
    assert_same_detections,
    assert_same_reads,
    scene,
    tiny_backend,
)

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with tiny_backend(tmp_path, CpuDevice(integrated=request.param)) as made:
        yield made


def scenes() -> list[Image]:
    """Of several sizes, more than fit into one call; one of them is a view."""
    large = scene("AB12CDE", (900, 500), seed=1)
    return [
        scene("XYZ123", seed=2),
        large,
        scene("QQ99", (641, 385), seed=3),
        large[20:, 30:],
        scene("TT1", (683, 387), seed=4),
    ]


def test_detections_are_those_of_the_cpu(backend: Backend) -> None:
    images = scenes()
    expected = backend.cpu_detector.detect(images)
    assert all(len(found) == 3 for found in expected)
    assert_same_detections(backend.detector.detect(images), expected)
    assert backend.networks["detect"].counts == [3, 2]


def test_reads_are_those_of_the_cpu_in_one_call_up_to_the_networks_maximum(
    backend: Backend,
) -> None:
    plates = backend.plates(scenes())
    expected = backend.cpu_reader.read(plates)
    assert {read.text for read in expected} >= {"XYZ123", "AB12CDE"}
    assert_same_reads(backend.reader.read(plates), expected)
    assert backend.networks["read"].counts == [4, 4, 2]


def test_a_second_look_sees_the_same_on_the_gpu(backend: Backend) -> None:
    plates = backend.plates(scenes())
    expected = SecondLook(backend.cpu_reader, 1.1).read(plates)
    assert_same_reads(SecondLook(backend.reader, 1.1).read(plates), expected)


def test_a_frame_is_uploaded_once_for_detector_and_reader(backend: Backend) -> None:
    images = scenes()[:3]
    plates = backend.plates(images)
    backend.device.uploaded.clear()
    backend.detector.detect(images)
    SecondLook(backend.reader, 1.1).read(plates)
    frames = [size for size in backend.device.uploaded if size > 100_000]
    wanted = [] if backend.device.integrated else [image.nbytes for image in images]
    assert sorted(frames) == sorted(wanted)


def test_a_frame_that_is_detected_again_is_looked_at_again(backend: Backend) -> None:
    image = scene("XYZ123")
    assert len(backend.detector.detect([image])[0]) == 3
    image[:] = tiny_models.blank_picture((640, 384))
    assert backend.detector.detect([image]) == [[]]


def test_frames_on_the_gpu_keep_no_picture_in_the_hosts_memory(backend: Backend) -> None:
    image = scene("XYZ123")
    backend.detector.detect([image])
    gone = weakref.ref(image)
    del image
    assert gone() is None


def test_a_frame_is_not_taken_for_one_that_had_its_identity(backend: Backend) -> None:
    """Python gives the memory of a picture that is gone to the next one."""
    plates = backend.plates([scene("XYZ123")])
    for text in ("AAA111", "BBB222", "CCC333"):
        image = scene(text)
        reads = backend.reader.read([(image, plate, t_s) for _, plate, t_s in plates])
        assert [read.text for read in reads] == [
            read.text
            for read in backend.cpu_reader.read([(image, plate, 0.0) for _, plate, _ in plates])
        ]
        del image


def test_the_reader_uploads_what_is_not_there(backend: Backend) -> None:
    plates = backend.plates([scene("XYZ123"), scene("AB1")])
    expected = backend.cpu_reader.read(plates)
    assert_same_reads(backend.reader.read(plates), expected)  # nothing was detected before


def test_plates_of_more_frames_than_stay_on_the_gpu_are_read(backend: Backend) -> None:
    images = [scene(f"P{number}") for number in range(SLOTS + 3)]
    plates = backend.plates(images)
    assert_same_reads(backend.reader.read(plates), backend.cpu_reader.read(plates))


def test_results_may_be_asked_for_in_any_order_and_late(backend: Backend) -> None:
    images = scenes()
    first, second = backend.detector.submit(images[:2]), backend.detector.submit(images[2:4])
    third = backend.detector.submit(images[4:])  # there is room for two: the first is finished now
    expected = backend.cpu_detector.detect(images)
    assert_same_detections(third.result(), expected[4:])
    assert_same_detections(second.result(), expected[2:4])
    assert_same_detections(first.result(), expected[:2])


def test_a_batch_that_nobody_asks_for_costs_the_next_nothing(backend: Backend) -> None:
    images = scenes()[:2]
    for _ in range(5):
        backend.detector.submit(images)
    assert_same_detections(backend.detector.detect(images), backend.cpu_detector.detect(images))


def test_the_detector_can_be_overlapped(backend: Backend) -> None:
    assert isinstance(backend.detector, SubmittingDetector)


def test_nothing_is_nothing(backend: Backend) -> None:
    assert backend.detector.detect([]) == []
    assert backend.reader.read([]) == []


def test_no_memory_is_allocated_once_everything_was_seen(backend: Backend) -> None:
    images = scenes()
    plates = backend.plates(images)
    largest = [images[1].copy() for _ in range(SLOTS)]
    backend.detector.detect(largest)  # each slot has held the largest of them then
    backend.detector.detect(images)
    backend.reader.read(plates)
    allocations = backend.device.allocations
    for _ in range(3):
        backend.detector.detect([image.copy() for image in images])
        backend.reader.read(plates)
    assert backend.device.allocations == allocations


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))]
)
def test_a_bad_frame_is_refused_and_the_others_can_go_on(
    backend: Backend, bad: NDArray[Any]
) -> None:
    good = scene("XYZ123")
    for images in ([good, bad], [good, good.copy(), good.copy(), bad]):  # of the second call, too
        with pytest.raises(ImageError, match="no \\(height, width, 3\\) uint8 picture"):
            backend.detector.submit(images)
    with pytest.raises(ImageError, match="no \\(height, width, 3\\) uint8 picture"):
        backend.reader.read([(bad, *backend.plates([good])[0][1:])])
    assert len(backend.detector.detect([good])[0]) == 3


def test_memory_that_runs_out_is_told_and_leaves_all_as_it_was(backend: Backend) -> None:
    small, large = scene("XYZ123"), scene("AB12CDE", (2560, 1440))
    expected = backend.detector.detect([small])
    backend.device.left = 1_000_000
    with pytest.raises(EngineUnavailable, match="out of memory"):
        backend.detector.detect([large])
    assert_same_detections(backend.detector.detect([small]), expected)
    backend.device.left = None
    assert len(backend.detector.detect([large])[0]) == 3


def test_too_little_memory_at_the_start_leaves_nothing_behind(backend: Backend) -> None:
    backend.device.left = 5_000
    before = set(backend.device.blocks)
    with pytest.raises(EngineUnavailable):
        GpuDetector(backend.manifest, backend.networks["detect"], backend.frames, backend.device)
    assert set(backend.device.blocks) == before
    with pytest.raises(EngineUnavailable):
        GpuReader(backend.read_manifest, backend.networks["read"], backend.frames, backend.device)
    assert set(backend.device.blocks) == before


def test_a_crowd_of_candidates_comes_back_whole(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are copied at once."""
    monkeypatch.setattr("alprd.inference.gpu_candidates._USUAL", 1)
    images = scenes()
    with closing(
        GpuDetector(backend.manifest, backend.networks["detect"], backend.frames, backend.device)
    ) as detector:
        assert_same_detections(detector.detect(images), backend.cpu_detector.detect(images))


@pytest.mark.parametrize("format_", ["nv12", "bgr", "rgb"])
def test_a_frame_that_a_decoder_left_on_the_gpu_is_not_uploaded(
    backend: Backend, format_: str
) -> None:
    image = scene("XYZ123")
    height, width = image.shape[:2]
    memory = image if format_ == "bgr" else np.ascontiguousarray(image[..., ::-1])
    pitch, pointers = 3 * width, (memory.ctypes.data,)
    if format_ == "nv12":
        planar = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
        chroma = planar[height:].reshape(2, -1).T
        memory = np.concatenate([planar[:height], chroma.reshape(-1, width)])
        image = np.asarray(cv2.cvtColor(memory, cv2.COLOR_YUV2BGR_NV12), np.uint8)
        pitch, pointers = width, (memory.ctypes.data, memory.ctypes.data + width * height)
    surface = DeviceSurface(
        format=format_,
        width=width,
        height=height,
        pointers=pointers,
        pitch=pitch,
        owner=memory,
        to_host=lambda: image,
    )
    backend.device.uploaded.clear()
    found = backend.detector.detect([surface])
    assert_same_detections(found, backend.cpu_detector.detect([image]))
    plates = [(surface, plate, 0.0) for plate in found[0] if plate.quad is not None]
    reads = backend.reader.read(plates)
    assert_same_reads(reads, backend.cpu_reader.read([(image, *rest) for _, *rest in plates]))
    assert max(backend.device.uploaded) < 100_000


def test_a_surface_of_an_unknown_format_is_a_bad_frame(backend: Backend) -> None:
    surface = DeviceSurface(
        format="p010",
        width=64,
        height=48,
        pointers=(1, 2),
        pitch=128,
        owner=None,
        to_host=lambda: tiny_models.blank_picture((64, 48)),
    )
    with pytest.raises(ImageError, match="p010"):
        backend.detector.detect([surface])
