"""The GPU's detector and reader, their kernels compiled for this CPU, against the CPU's own."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.types import Detection, DeviceSurface, PlateRead
from alprd.inference.detector import NetworkDetector, detector_outputs
from alprd.inference.gpu_detector import GpuDetector
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.gpu_reader import GpuReader
from alprd.inference.manifest import (
    DetectorManifest,
    ReaderManifest,
    load_detector_manifest,
    load_onnx,
    load_reader_manifest,
)
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.preprocess import ImageError
from alprd.inference.reader import NetworkReader, reader_outputs
from alprd.inference.second_look import SecondLook
from alprd.ports import EngineUnavailable, SubmittingDetector
from support import tiny_models
from support.cuda_on_cpu import CpuDevice, CpuNetwork, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

MAX_BATCH = 3
READER_BATCH = 4
SLOTS = 6

Image = NDArray[np.uint8]


@dataclass(kw_only=True)
class Backend:
    """Both ways to run the tiny models."""

    device: CpuDevice
    networks: dict[str, CpuNetwork]
    frames: GpuFrames
    detector: GpuDetector
    reader: GpuReader
    cpu_detector: NetworkDetector
    cpu_reader: NetworkReader
    manifest: DetectorManifest
    read_manifest: ReaderManifest

    def plates(self, images: Sequence[Image]) -> list[tuple[Image, Detection, float]]:
        """Every plate in them, with times of its own."""
        return [
            (image, plate, float(index))
            for index, (image, found) in enumerate(
                zip(images, self.cpu_detector.detect(images), strict=True)
            )
            for plate in found
            if plate.label == "plate"
        ]


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    tiny_models.write_models(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    found, found_folder = load_detector_manifest(names[0], tmp_path)
    read, read_folder = load_reader_manifest(names[1], tmp_path)
    device = CpuDevice(integrated=request.param)

    def network(manifest: Any, folder: Path, outputs: Any, rows: int) -> OnnxNetwork:
        return OnnxNetwork(
            load_onnx(manifest, folder),
            path=folder,
            spec=manifest.input,
            outputs=outputs,
            max_batch=rows,
            threads=1,
        )

    detecting = network(found, found_folder, detector_outputs(found), MAX_BATCH)
    reading = network(read, read_folder, reader_outputs(read), READER_BATCH)
    networks = {
        "detect": CpuNetwork(detecting, found.input, device),
        "read": CpuNetwork(reading, read.input, device),
    }
    frames = GpuFrames(device, SLOTS, copiers=2)
    made = Backend(
        device=device,
        networks=networks,
        frames=frames,
        detector=GpuDetector(found, networks["detect"], frames, device),
        reader=GpuReader(read, networks["read"], frames, device),
        cpu_detector=NetworkDetector(found, detecting),
        cpu_reader=NetworkReader(read, reading),
        manifest=found,
        read_manifest=read,
    )
    yield made
    made.detector.close()
    made.reader.close()
    made.frames.close()
    assert device.blocks == {}  # nothing is left
    assert device.depth == 0


def scene(text: str, size: tuple[int, int] = (640, 384), seed: int = 0) -> Image:
    """A picture with two plates and a car."""
    image = tiny_models.blank_picture(size)
    width, height = size
    random = np.random.default_rng(seed)
    shake = random.uniform(-4, 4, (4, 2)).astype(np.float32)
    quad = np.array(tiny_models.box_quad(0.1, 0.2, 0.45, 0.42), np.float32) * (width, height)
    tiny_models.draw_plate(image, text, quad + shake)
    quad = np.array(tiny_models.box_quad(0.55, 0.6, 0.9, 0.82), np.float32) * (width, height)
    tiny_models.draw_plate(image, text[::-1], quad - shake, marker=1)
    box = (int(width * 0.6), int(height * 0.05), int(width * 0.95), int(height * 0.4))
    tiny_models.draw_vehicle(image, "car", box)
    return image


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


def assert_same_detections(
    found: Sequence[Sequence[Detection]], expected: Sequence[Sequence[Detection]]
) -> None:
    assert [[each.label for each in image] for image in found] == [
        [each.label for each in image] for image in expected
    ]
    for ours, theirs in zip(
        (each for image in found for each in image),
        (each for image in expected for each in image),
        strict=True,
    ):
        assert ours.score == pytest.approx(theirs.score, abs=0.01)
        assert ours.box == pytest.approx(theirs.box, abs=0.5)
        assert (ours.quad is None) == (theirs.quad is None)
        if ours.quad is not None and theirs.quad is not None:
            np.testing.assert_allclose(ours.quad, theirs.quad, atol=0.5)


def assert_same_reads(found: Sequence[PlateRead], expected: Sequence[PlateRead]) -> None:
    assert [read.text for read in found] == [read.text for read in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.t_s, ours.score) == (theirs.t_s, theirs.score)
        assert ours.quality == pytest.approx(theirs.quality, abs=0.01)
        assert ours.sharpness == pytest.approx(theirs.sharpness, rel=0.01)
        np.testing.assert_allclose(ours.quad, theirs.quad, atol=0.5)
        np.testing.assert_allclose(ours.char_probs, theirs.char_probs, atol=0.02)
        assert (ours.refined is None) == (theirs.refined is None)
        if ours.refined is not None and theirs.refined is not None:
            np.testing.assert_allclose(ours.refined, theirs.refined, atol=0.5)
        assert [code for code, _ in ours.regions] == [code for code, _ in theirs.regions]


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
    assert frames == wanted


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
    for _ in range(SLOTS):  # each slot has held the largest of them then
        backend.detector.detect([image.copy() for image in images])
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
