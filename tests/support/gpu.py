"""What tests on a GPU share: engines, built once per machine, pictures, and both backends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from itertools import chain
from pathlib import Path
from tempfile import gettempdir

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.config.models import InferenceSettings
from alprd.core.types import PLATE_LABEL, Detection
from alprd.demo.clip import DEMO_CARS, DEMO_SECONDS, render_frames
from alprd.inference.backend_models import BackendModels
from alprd.inference.building import build_engine
from alprd.inference.engines import Device, configured_engines, find_device
from alprd.inference.manifest import (
    builtin_models_dir,
    load_detector_manifest,
    load_reader_manifest,
)
from alprd.inference.onnx_models import load_onnx_models
from alprd.inference.plans import PlanStore
from alprd.inference.trt_build import BuildProgress
from alprd.inference.trt_models import load_trt_models
from alprd.ports import EngineError, PendingDetections, SubmittingDetector

Image = NDArray[np.uint8]

PHOTOGRAPHS = Path(
    os.environ.get("ALPRD_TEST_PHOTOGRAPHS", Path(__file__).parents[2].parent / "shared" / "data")
)
"""Real pictures; no part of the repository."""


def tell(**figures: object) -> None:
    """Keep what was measured, for people, where they ask for it."""
    path = os.environ.get("ALPRD_TEST_FIGURES")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")


def gpu() -> Device:
    """The GPU; without one the test is skipped, or fails where one is required."""
    try:
        return find_device()
    except EngineError as error:
        reason = f"no GPU with TensorRT: {error}"
        if os.environ.get("ALPRD_TEST_GPU") == "required":
            pytest.fail(reason)
        pytest.skip(reason)


def settings(**changes: object) -> InferenceSettings:
    """For TensorRT, with engines in a folder that outlives the tests: building takes minutes."""
    folder = os.environ.get("ALPRD_TEST_ENGINES_DIR", str(Path(gettempdir()) / "alprd-engines"))
    plain = {"backend": "tensorrt", "engines_dir": folder, "max_batch": 8, "second_look": 0.0}
    return InferenceSettings.model_validate({**plain, **changes})


def build_missing(wanted: InferenceSettings) -> Device:
    """The device, with engines that fit it."""
    device = gpu()
    store = PlanStore(wanted.engines_dir)
    missing = [
        engine
        for engine in configured_engines(wanted)
        if store.fits(engine.name, engine.identity(device)) is not None
    ]
    if not missing:  # others may be looking, too
        return device
    with store.building():
        for engine in missing:
            build_engine(
                engine,
                device,
                store,
                progress=BuildProgress(lambda _share, _phase: None),
                log=lambda _severity, _text: None,
                clock=time.monotonic,
                now=lambda: datetime.now(timezone.utc),
            )
    return device


@dataclass(frozen=True, kw_only=True)
class Both:
    """The same two models on the GPU and, in FP32, on the CPU."""

    gpu: BackendModels
    cpu: BackendModels


@contextmanager
def both_backends(wanted: InferenceSettings) -> Iterator[Both]:
    build_missing(wanted)
    found = load_detector_manifest(wanted.detector, wanted.models_dir)
    read = load_reader_manifest(wanted.reader, wanted.models_dir)
    with ExitStack() as stack:
        gpu = load_trt_models(wanted, found, read)
        stack.callback(gpu.close)
        cpu = load_onnx_models(wanted, found, read, lambda _task, network: network)
        stack.callback(cpu.close)
        yield Both(gpu=gpu, cpu=cpu)


def overlapped(models: BackendModels, batches: Iterable[Sequence[Image]]) -> Iterator[list[str]]:
    """What is read in each batch, as the inference thread does it: the next one is begun first."""
    detector = models.detector
    assert isinstance(detector, SubmittingDetector)
    waiting: tuple[Sequence[Image], PendingDetections] | None = None
    for images in chain(batches, (None,)):
        begun = None if images is None else (images, detector.submit(images))
        if waiting is not None:
            yield read_texts(models, waiting[0], waiting[1].result())
        waiting = begun


def read_texts(
    models: BackendModels, images: Sequence[Image], found: Sequence[Sequence[Detection]]
) -> list[str]:
    """Of every plate, in order."""
    wanted = [
        (image, plate, 0.0)
        for image, each in zip(images, found, strict=True)
        for plate in each
        if plate.label == PLATE_LABEL
    ]
    return [read.text for read in models.reader.read(wanted)]


@lru_cache(maxsize=1)
def rendered(count: int = 48) -> tuple[Image, ...]:
    """Frames of a street: drawn ones, and the models' known pictures seen in many ways."""
    drawn = render_frames(DEMO_CARS, seconds=DEMO_SECONDS, fps=count / DEMO_SECONDS)
    frames: list[Image] = list(drawn)
    random = np.random.default_rng(7)
    for name in ("plate-detector", "plate-detector-small"):
        known = cv2.imread(str(builtin_models_dir() / name / "selftest.png"))
        for _ in range(count // 4):
            height, width = known.shape[:2]
            scale, angle = random.uniform(0.8, 2.6), random.uniform(-6, 6)
            size = (int(width * random.uniform(0.8, 2.2)), int(height * random.uniform(0.8, 2.2)))
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
            turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
            seen = cv2.warpAffine(known, turn, size, borderMode=cv2.BORDER_REFLECT)
            light = cv2.convertScaleAbs(seen, alpha=random.uniform(0.6, 1.2))
            frames.append(np.asarray(light, np.uint8))
    return tuple(frames)


@lru_cache(maxsize=1)
def photographs(count: int = 400) -> tuple[Image, ...]:
    """Real pictures of vehicles with plates, evenly from all folders; none where there are none."""
    paths = [
        path
        for folder in ("plates-ro", "plates-openimages", "plates-mixed")
        for path in sorted((PHOTOGRAPHS / folder).glob("*.jpg"))
    ]
    chosen = paths[:: max(1, len(paths) // count)]
    found = (cv2.imread(str(path)) for path in chosen)
    return tuple(np.asarray(image, np.uint8) for image in found if image is not None)
