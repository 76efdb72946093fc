"""The CUDA kernels, compiled for this CPU, against OpenCV: the same pictures to a grey level."""

from __future__ import annotations

import hashlib
import re

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.decode import letterbox, stretch
from alprd.inference.gpu_cuts import plan_cuts
from alprd.inference.gpu_layout import BLOCK, FIT, Row, bgr, halvings, target, tiles
from alprd.inference.manifest import InputSpec
from alprd.inference.preprocess import ImageError, InputBatch, rectify, sharpness
from support.cuda_on_cpu import CpuDevice, CpuStream, compiler, kernels_folder

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

SIZES = [
    (1280, 720),
    (1920, 1080),
    (128, 80),  # exactly twice the input
    (64, 40),  # exactly the input
    (63, 39),
    (641, 361),
    (1283, 727),
    (257, 161),
    (100, 700),
    (5000, 60),
    (31, 17),
    (3, 3),
    (1, 50),
    (70, 1),
    (1, 1),
]


def spec(**changes: object) -> InputSpec:
    plain: dict[str, object] = {
        "name": "images",
        "layout": "NCHW",
        "colour": "BGR",
        "width": 64,
        "height": 40,
        "resize": "letterbox",
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return InputSpec.model_validate({**plain, **changes})


def picture(width: int, height: int, seed: int = 1) -> NDArray[np.uint8]:
    """Noise, the hardest to average; a little blurred where it is large enough to be a scene."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.8) if width > 60 else noise, np.uint8)


def fitted(wanted: InputSpec, source: Row) -> NDArray[np.generic]:
    """What the kernels write for one frame."""
    _, _, _, width, height, _ = source
    place = letterbox if wanted.resize == "letterbox" else stretch
    placed = place((width, height), (wanted.width, wanted.height))
    halves = [np.zeros(3 * width * height, np.uint8) for _ in range(2)]
    fit = np.zeros(1, FIT)
    fit["source"] = [source]
    for index, (memory, shift) in enumerate(zip(halves, (1, 2), strict=True)):
        fit["half"][0, index] = bgr(memory.ctypes.data, width >> shift, height >> shift)
    fit["x"], fit["y"] = placed.offset_x, placed.offset_y
    fit["width"], fit["height"] = placed.width, placed.height
    to = target(wanted)
    found = np.zeros(wanted.shape, wanted.type)
    device, stream = CpuDevice(), CpuStream()
    with device.current():
        for step in range(halvings(width, height, placed)):
            grid = tiles(width >> (step + 1), height >> (step + 1), 1)
            device.launch("halve", grid, BLOCK, stream, (fit.ctypes.data, step))
        grid = tiles(wanted.width, wanted.height, 1)
        pointers = (fit.ctypes.data, to.ctypes.data, found.ctypes.data)
        device.launch("fit", grid, BLOCK, stream, pointers)
    return found


@needs_compiler
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_frame_of_any_size_is_fitted_as_opencv_does_it(
    width: int, height: int, resize: str
) -> None:
    wanted = spec(resize=resize)
    image = picture(width, height)
    batch = InputBatch(wanted, 1)
    batch.fill_fitted(0, image)
    found = fitted(wanted, bgr(image.ctypes.data, width, height))
    difference = np.abs(found - batch.rows[0])
    assert difference.max() <= 1.0
    assert (difference > 0).mean() < 0.002


@needs_compiler
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAY"])
def test_every_kind_of_input_is_normalised_to_the_bit(colour: str, layout: str) -> None:
    channels = 1 if colour == "GRAY" else 3
    wanted = spec(
        colour=colour,
        layout=layout,
        scale=1 / 255,
        mean=(0.4, 0.5, 0.45)[:channels],
        std=(0.21, 0.22, 0.27)[:channels],
    )
    image = picture(64, 40)
    batch = InputBatch(wanted, 1)
    batch.fill_fitted(0, image)
    np.testing.assert_array_equal(
        fitted(wanted, bgr(image.ctypes.data, 64, 40)), batch.rows[0], strict=True
    )


@needs_compiler
@pytest.mark.parametrize(("width", "height"), [(64, 40), (66, 42), (128, 80)])
def test_nv12_becomes_the_colours_that_opencv_makes_of_it(width: int, height: int) -> None:
    pitch = width + 32
    memory = np.random.default_rng(3).integers(0, 256, (height * 3 // 2, pitch), np.uint8)
    colours = cv2.cvtColor(np.ascontiguousarray(memory[:, :width]), cv2.COLOR_YUV2BGR_NV12)
    batch = InputBatch(spec(), 1)
    batch.fill_fitted(0, np.asarray(colours, np.uint8))
    luma = memory.ctypes.data
    found = fitted(spec(), (luma, luma + pitch * height, pitch, width, height, 2))
    assert np.abs(found - batch.rows[0]).max() <= 1.0


@needs_compiler
@pytest.mark.parametrize(("width", "height"), [(64, 40), (66, 42)])
def test_nv12_of_full_range_becomes_the_colours_that_opencv_makes_of_it(
    width: int, height: int
) -> None:
    pitch = width + 32
    memory = np.random.default_rng(3).integers(0, 256, (height * 3 // 2, pitch), np.uint8)
    u, v = (memory[height:, at:width:2].repeat(2, 0).repeat(2, 1) for at in (0, 1))
    planes = np.dstack([memory[:height, :width], v, u])
    batch = InputBatch(spec(), 1)
    batch.fill_fitted(0, np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR), np.uint8))
    luma = memory.ctypes.data
    found = fitted(spec(), (luma, luma + pitch * height, pitch, width, height, 3))
    assert np.abs(found - batch.rows[0]).max() <= 1.0


def quads(count: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Plates of every size and some perspective, some of them half outside."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(count):
        centre = random.uniform((-10, -10), (size[0] + 10, size[1] + 10))
        wide = random.choice([6.0, 30.0, 90.0, 160.0, 400.0, 900.0])
        corners = np.array([[-1, -0.25], [1, -0.25], [1, 0.25], [-1, 0.25]]) * wide / 2
        found.append(centre + corners + random.normal(0, wide * 0.04, (4, 2)))
    return np.array(found, np.float32)


@needs_compiler
@pytest.mark.parametrize("format_", ["bgr", "rgb"])
def test_plates_are_cut_out_as_opencv_does_it(format_: str) -> None:
    image = picture(1280, 720)
    stored = np.ascontiguousarray(image if format_ == "bgr" else image[..., ::-1])
    wanted = spec(width=160, height=64, colour="RGB", scale=1 / 255, resize="stretch")
    margins, corners = (0.04, 0.08), quads(60, (1280, 720))
    row = (*bgr(stored.ctypes.data, 1280, 720)[:5], 0 if format_ == "bgr" else 1)
    cuts = plan_cuts([row] * len(corners), corners, (160, 64), margins)
    crops = np.zeros((len(corners), 64, 160, 3), np.uint8)
    rows = np.zeros((len(corners), *wanted.shape), np.float32)
    sums = np.zeros((len(corners), 64, 2), np.int64)
    device, stream, to = CpuDevice(), CpuStream(), target(wanted)
    with device.current():
        pointers = (cuts.ctypes.data, to.ctypes.data, rows.ctypes.data, crops.ctypes.data)
        device.launch("rectify", tiles(160, 64, len(corners)), BLOCK, stream, pointers)
        arguments = (crops.ctypes.data, 160, 64, sums.ctypes.data)
        device.launch("laplacian", (2, 1, len(corners)), (48, 1, 1), stream, arguments)
    for index, quad in enumerate(corners):
        expected = rectify(image, quad, (160, 64), margins).astype(int)
        difference = np.abs(crops[index] - expected)
        # Where a place falls right between two 32nds of a pixel, either may be taken.
        assert (difference > 1).mean() < 0.001
        assert (difference > 0).mean() < 0.01
        batch = InputBatch(wanted, 1)
        batch.fill(0, crops[index])
        np.testing.assert_array_equal(rows[index], batch.rows[0])
        mean, squares = sums[index].sum(axis=0) / (160 * 64)
        assert squares - mean * mean == pytest.approx(sharpness(crops[index]))


@needs_compiler
@pytest.mark.parametrize(
    "quad",
    [
        [[5, 5], [5, 5], [5, 5], [5, 5]],
        [[5, 5], [9, 9], [13, 13], [17, 17]],
        [[1e9, 1e9], [2e9, 1e9], [2e9, 2e9], [1e9, 2e9]],
        [[-1e30, 0], [1e30, 0], [1e30, 9], [-1e30, 9]],
    ],
)
def test_corners_that_enclose_nothing_read_no_memory_but_the_frame(
    quad: list[list[float]],
) -> None:
    image = np.full((20, 30, 3), 77, np.uint8)
    corners = np.array([quad], np.float32)
    cuts = plan_cuts([bgr(image.ctypes.data, 30, 20)], corners, (160, 64), (0.0, 0.0))
    wanted = spec(width=160, height=64)
    crop, rows = np.zeros((64, 160, 3), np.uint8), np.zeros(wanted.shape, np.float32)
    device, to = CpuDevice(), target(wanted)
    with device.current():
        pointers = (cuts.ctypes.data, to.ctypes.data, rows.ctypes.data, crop.ctypes.data)
        device.launch("rectify", tiles(160, 64, 1), BLOCK, CpuStream(), pointers)
    assert (crop == 77).all()


def test_corners_that_are_no_numbers_are_refused() -> None:
    corners = np.full((1, 4, 2), np.nan, np.float32)
    with pytest.raises(ImageError, match="no numbers"):
        plan_cuts([bgr(0, 30, 20)], corners, (160, 64), (0.0, 0.0))


def test_the_committed_kernels_were_compiled_from_this_source() -> None:
    """Otherwise: packaging/build-kernels."""
    ptx = (kernels_folder() / "kernels.ptx").read_text()
    source = (kernels_folder() / "kernels.cu").read_bytes()
    assert hashlib.sha256(source).hexdigest() in ptx.partition("\n")[0]


def test_the_drivers_of_jetpack_5_take_the_kernels() -> None:
    """CUDA 11.4 knows PTX 7.4; a Xavier has compute capability 7.2."""
    ptx = (kernels_folder() / "kernels.ptx").read_text()
    version = re.search(r"^\.version (\d+)\.(\d+)$", ptx, re.MULTILINE)
    device = re.search(r"^\.target sm_(\d+)$", ptx, re.MULTILINE)
    assert version is not None
    assert device is not None
    assert (int(version[1]), int(version[2])) <= (7, 4)
    assert int(device[1]) <= 72
    assert "fma" not in ptx  # it rounds once where the CPU rounds twice
