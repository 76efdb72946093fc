"""The kernels as the driver compiles them for this GPU, against OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.decode import letterbox, stretch
from alprd.inference.cuda import Cuda
from alprd.inference.gpu_cuts import plan_cuts
from alprd.inference.gpu_layout import BLOCK, FIT, Row, bgr, halvings, target, tiles
from alprd.inference.gpu_memory import Memory
from alprd.inference.manifest import InputSpec
from alprd.inference.preprocess import InputBatch, rectify, sharpness
from support.gpu import Image

pytestmark = pytest.mark.gpu

SIZES = [
    (1280, 720),
    (1920, 1080),
    (3840, 2160),
    (1280, 768),  # exactly twice the input
    (640, 384),
    (641, 361),
    (1283, 727),
    (2563, 1441),
    (5000, 60),
    (100, 4000),
    (333, 211),
    (31, 17),
    (3, 3),
    (1, 50),
    (70, 1),
    (1, 1),
]


class Bench:
    """Puts arrays on the GPU and takes them back."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.stream = cuda.stream()
        self.memory = Memory(cuda, "a test")

    def put(self, values: NDArray[np.generic]) -> int:
        address = self.memory.on_device(values.nbytes)
        self.cuda.upload(address, np.ascontiguousarray(values), self.stream)
        return address

    def room(self, shape: tuple[int, ...], kind: object) -> int:
        size = prod(shape) * np.dtype(kind).itemsize  # type: ignore[call-overload]
        return self.put(np.full(size, 0xA5, np.uint8))

    def take(self, address: int, shape: tuple[int, ...], kind: object) -> NDArray[np.generic]:
        size = prod(shape) * np.dtype(kind).itemsize  # type: ignore[call-overload]
        pinned = self.memory.pinned(size)
        self.cuda.download(pinned[:size], address, self.stream)
        self.stream.synchronize()
        found: NDArray[np.generic] = pinned[:size].view(kind).reshape(shape).copy()  # type: ignore[call-overload]
        return found

    def fitted(self, spec: InputSpec, source: Row) -> NDArray[np.generic]:
        width, height = source[3], source[4]
        place = letterbox if spec.resize == "letterbox" else stretch
        placed = place((width, height), (spec.width, spec.height))
        fit = np.zeros(1, FIT)
        fit["source"] = [source]
        for index, shift in enumerate((1, 2)):
            size = (width >> shift, height >> shift)
            fit["half"][0, index] = bgr(self.room((3 * size[0] * size[1] + 4,), np.uint8), *size)
        fit["x"], fit["y"] = placed.offset_x, placed.offset_y
        fit["width"], fit["height"] = placed.width, placed.height
        fits, to = self.put(fit.view(np.uint8)), self.put(target(spec).view(np.uint8))
        out = self.room(spec.shape, spec.type)
        for step in range(halvings(width, height, placed)):
            grid = tiles(width >> (step + 1), height >> (step + 1), 1)
            self.cuda.launch("halve", grid, BLOCK, self.stream, (fits, step))
        grid = tiles(spec.width, spec.height, 1)
        self.cuda.launch("fit", grid, BLOCK, self.stream, (fits, to, out))
        return self.take(out, spec.shape, spec.type)


@pytest.fixture
def bench(cuda: Cuda) -> Iterator[Bench]:
    with cuda.current():
        made = Bench(cuda)
        yield made
    made.memory.close()


def spec(**changes: object) -> InputSpec:
    plain: dict[str, object] = {
        "name": "images",
        "layout": "NCHW",
        "colour": "RGB",
        "width": 640,
        "height": 384,
        "resize": "letterbox",
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return InputSpec.model_validate({**plain, **changes})


def picture(width: int, height: int, seed: int = 1) -> Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.8) if width > 60 else noise, np.uint8)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_frame_of_any_size_is_fitted_as_opencv_does_it(
    bench: Bench, width: int, height: int, resize: str
) -> None:
    wanted = spec(resize=resize)
    image = picture(width, height)
    batch = InputBatch(wanted, 1)
    batch.fill_fitted(0, image)
    found = bench.fitted(wanted, bgr(bench.put(image), width, height))
    difference = np.abs(found - batch.rows[0])
    assert difference.max() <= 1.0
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAY"])
def test_every_kind_of_input_is_normalised_to_the_bit(
    bench: Bench, colour: str, layout: str
) -> None:
    channels = 1 if colour == "GRAY" else 3
    wanted = spec(
        colour=colour,
        layout=layout,
        scale=1 / 255,
        mean=(0.4, 0.5, 0.45)[:channels],
        std=(0.21, 0.22, 0.27)[:channels],
    )
    image = picture(640, 384)
    batch = InputBatch(wanted, 1)
    batch.fill_fitted(0, image)
    found = bench.fitted(wanted, bgr(bench.put(image), 640, 384))
    np.testing.assert_array_equal(found, batch.rows[0])


@pytest.mark.parametrize(("width", "height"), [(640, 384), (1280, 720), (1920, 1080), (66, 42)])
def test_nv12_becomes_the_colours_that_opencv_makes_of_it(
    bench: Bench, width: int, height: int
) -> None:
    pitch = (width + 255) // 256 * 256
    memory = np.random.default_rng(3).integers(0, 256, (height * 3 // 2, pitch), np.uint8)
    colours = cv2.cvtColor(np.ascontiguousarray(memory[:, :width]), cv2.COLOR_YUV2BGR_NV12)
    batch = InputBatch(spec(), 1)
    batch.fill_fitted(0, np.asarray(colours, np.uint8))
    luma = bench.put(memory)
    found = bench.fitted(spec(), (luma, luma + pitch * height, pitch, width, height, 2))
    assert np.abs(found - batch.rows[0]).max() <= 1.0


def test_plates_are_cut_out_as_opencv_does_it(bench: Bench) -> None:
    random = np.random.default_rng(5)
    image = picture(1920, 1080)
    corners = []
    for _ in range(64):
        wide = random.choice([6.0, 30.0, 90.0, 160.0, 400.0, 900.0])
        box = np.array([[-1, -0.25], [1, -0.25], [1, 0.25], [-1, 0.25]]) * wide / 2
        corners.append(
            random.uniform((-10, -10), (1930, 1090)) + box + random.normal(0, wide * 0.04, (4, 2))
        )
    quads = np.array(corners, np.float32)
    wanted = spec(width=160, height=64, scale=1 / 255, resize="stretch")
    row = bgr(bench.put(image), 1920, 1080)
    cuts = bench.put(plan_cuts([row] * 64, quads, (160, 64), (0.04, 0.08)).view(np.uint8))
    to = bench.put(target(wanted).view(np.uint8))
    rows = bench.room((64, *wanted.shape), np.float32)
    crops = bench.room((64, 64, 160, 3), np.uint8)
    sums = bench.room((64, 64, 2), np.int64)
    pointers = (cuts, to, rows, crops)
    bench.cuda.launch("rectify", tiles(160, 64, 64), BLOCK, bench.stream, pointers)
    arguments = (crops, 160, 64, sums)
    bench.cuda.launch("laplacian", (1, 1, 64), (64, 1, 1), bench.stream, arguments)
    found = bench.take(crops, (64, 64, 160, 3), np.uint8).astype(int)
    values = bench.take(rows, (64, *wanted.shape), np.float32)
    totals = bench.take(sums, (64, 64, 2), np.int64)
    batch = InputBatch(wanted, 1)
    for index, quad in enumerate(quads):
        expected = rectify(image, quad, (160, 64), (0.04, 0.08)).astype(int)
        difference = np.abs(found[index] - expected)
        assert (difference > 1).mean() < 0.001
        assert (difference > 0).mean() < 0.01
        crop = found[index].astype(np.uint8)
        batch.fill(0, crop)
        np.testing.assert_array_equal(values[index], batch.rows[0])
        mean, squares = totals[index].sum(axis=0) / (160 * 64)
        assert squares - mean * mean == pytest.approx(sharpness(crop))
