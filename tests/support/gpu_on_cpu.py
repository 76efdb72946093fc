"""The GPU's detector and reader over tiny models, their kernels compiled for this CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.types import Detection, PlateRead
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
from alprd.inference.reader import NetworkReader, reader_outputs
from alprd.inference.trt_models import BATCHES_HELD
from support import tiny_models
from support.cuda_on_cpu import CpuDevice, CpuNetwork

MAX_BATCH = 3
READER_BATCH = 4
SLOTS = BATCHES_HELD * MAX_BATCH

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


@contextmanager
def tiny_backend(tmp_path: Path, device: CpuDevice, *, rows: int = MAX_BATCH) -> Iterator[Backend]:
    """Both ways, over models in this folder; in the end nothing may be left on the device.

    The detector's network takes so many rows.
    """
    tiny_models.write_models(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    found, found_folder = load_detector_manifest(names[0], tmp_path)
    read, read_folder = load_reader_manifest(names[1], tmp_path)

    def network(manifest: Any, folder: Path, outputs: Any, most: int) -> OnnxNetwork:
        return OnnxNetwork(
            load_onnx(manifest, folder),
            path=folder,
            spec=manifest.input,
            outputs=outputs,
            max_batch=most,
            threads=1,
        )

    detecting = network(found, found_folder, detector_outputs(found), rows)
    reading = network(read, read_folder, reader_outputs(read), READER_BATCH)
    networks = {
        "detect": CpuNetwork(detecting, found.input, device),
        "read": CpuNetwork(reading, read.input, device),
    }
    frames = GpuFrames(device, SLOTS, helpers=1)
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
    try:
        yield made
    finally:
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
