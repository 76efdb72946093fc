"""Pictures become network inputs exactly as the manifest says."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.inference.manifest import InputSpec
from alprd.inference.preprocess import (
    ImageError,
    InputBatch,
    inset,
    on_host,
    perspective,
    rectify,
    sharpness,
    unrectified,
)
from support.surfaces import lost_surface, surface_of


def spec(**changes: object) -> InputSpec:
    values: dict[str, Any] = {
        "name": "images",
        "layout": "NCHW",
        "colour": "RGB",
        "width": 64,
        "height": 32,
        "resize": "letterbox",
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return InputSpec.model_validate({**values, **changes})


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image.setflags(write=False)  # as frames are
    return image


def smooth(width: int, height: int) -> NDArray[np.uint8]:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = np.stack((x, y, 255 - x), axis=2).round().astype(np.uint8)
    image.setflags(write=False)
    return image


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_every_channel_is_scaled_shifted_and_ordered_as_the_manifest_says(
    layout: str, colour: str
) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    batch = InputBatch(
        spec(layout=layout, colour=colour, scale=1 / 255, mean=mean, std=std), max_batch=2
    )
    picture = noise(64, 32)

    batch.fill(1, picture)

    expected = picture.astype(np.float64)
    if colour == "RGB":
        expected = expected[:, :, ::-1]
    expected = (expected / 255 - np.array(mean)) / np.array(std)
    if layout == "NCHW":
        expected = expected.transpose(2, 0, 1)
    assert batch.rows.dtype == np.float32
    assert np.allclose(batch.rows[1], expected, atol=1e-5)
    assert not batch.rows[0].any()


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (1, 32, 64)), ("NHWC", (32, 64, 1))])
def test_a_grey_network_gets_one_channel(layout: str, shape: tuple[int, ...]) -> None:
    grey = spec(layout=layout, colour="GRAY", scale=0.5, mean=(10.0,), std=(2.0,))
    batch = InputBatch(grey, max_batch=1)
    picture = noise(64, 32)

    batch.fill(0, picture)

    weights = np.array([0.114, 0.587, 0.299])
    assert batch.rows[0].shape == shape
    expected = ((picture @ weights) * 0.5 - 10.0) / 2.0
    assert np.allclose(batch.rows[0].reshape(32, 64), expected, atol=0.26)


def test_a_letterboxed_frame_keeps_its_aspect_and_is_framed_by_padding() -> None:
    batch = InputBatch(spec(pad_value=7), max_batch=1)

    placed = batch.fill_fitted(0, np.full((100, 100, 3), 200, np.uint8))

    assert (placed.offset_x, placed.offset_y, placed.width, placed.height) == (16, 0, 32, 32)
    row = batch.rows[0]
    assert (row[:, :, 16:48] == 200).all()
    assert (row[:, :, :16] == 7).all()
    assert (row[:, :, 48:] == 7).all()


@pytest.mark.parametrize("size", [(20, 100), (100, 20)])
def test_padding_is_clean_again_after_a_frame_of_another_shape(size: tuple[int, int]) -> None:
    batch = InputBatch(spec(pad_value=7), max_batch=1)
    fresh = InputBatch(spec(pad_value=7), max_batch=1)

    batch.fill_fitted(0, noise(64, 32))
    batch.fill_fitted(0, noise(*size))
    fresh.fill_fitted(0, noise(*size))

    assert np.array_equal(batch.rows, fresh.rows)


def test_a_stretched_frame_fills_the_input() -> None:
    batch = InputBatch(spec(resize="stretch"), max_batch=1)

    batch.fill_fitted(0, np.full((100, 100, 3), 200, np.uint8))

    assert (batch.rows == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (5000, 3), (3, 5000), (64, 32), (1280, 720), (650, 333)])
def test_a_frame_of_any_size_is_fitted(size: tuple[int, int]) -> None:
    batch = InputBatch(spec(), max_batch=1)

    placed = batch.fill_fitted(0, np.full((size[1], size[0], 3), 200, np.uint8))

    left, top = placed.offset_x, placed.offset_y
    inside = batch.rows[0, :, top : top + placed.height, left : left + placed.width]
    assert (inside == 200).all()


def test_fine_detail_of_a_large_frame_is_averaged_not_sampled() -> None:
    batch = InputBatch(spec(), max_batch=1)
    stripes = np.zeros((32 * 8, 64 * 8, 3), np.uint8)
    stripes[:, ::8] = 255  # one bright column in eight

    batch.fill_fitted(0, stripes)

    assert np.allclose(batch.rows[0], 255 / 8, atol=2.0)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused_with_its_shape(image: NDArray[Any]) -> None:
    batch = InputBatch(spec(), max_batch=1)

    with pytest.raises(ImageError, match=r"a frame of shape .* is no \(height, width, 3\) uint8"):
        batch.fill_fitted(0, image)


def test_a_rectified_plate_is_the_inverse_of_painting_it() -> None:
    flat = smooth(160, 64)
    frame = np.zeros((400, 600, 3), np.uint8)
    quad = np.array([[210, 130], [395, 160], [390, 240], [205, 205]], np.float32)
    source = np.array([[0, 0], [160, 0], [160, 64], [0, 64]], np.float32) - np.float32(0.5)
    cv2.warpPerspective(
        flat,
        cv2.getPerspectiveTransform(source, quad - np.float32(0.5)),
        (600, 400),
        dst=frame,
        borderMode=cv2.BORDER_TRANSPARENT,
    )

    crop = rectify(frame, quad, (160, 64))

    difference = np.abs(crop.astype(int) - flat.astype(int))[3:-3, 3:-3]
    assert difference.max() <= 6


def test_a_crop_of_an_upright_box_is_that_part_of_the_frame_to_the_pixel() -> None:
    frame = noise(400, 300)
    quad = np.array([[50, 40], [210, 40], [210, 104], [50, 104]], np.float32)

    assert np.array_equal(rectify(frame, quad, (160, 64)), frame[40:104, 50:210])


def test_a_plate_upside_down_is_turned_upright() -> None:
    frame = noise(400, 300)
    quad = np.array([[210, 104], [50, 104], [50, 40], [210, 40]], np.float32)

    assert np.array_equal(rectify(frame, quad, (160, 64)), frame[40:104, 50:210][::-1, ::-1])


def test_margins_show_a_little_of_what_is_around_the_plate() -> None:
    frame = np.full((300, 400, 3), 10, np.uint8)
    frame[100:164, 100:260] = 200
    quad = np.array([[100, 100], [260, 100], [260, 164], [100, 164]], np.float32)

    crop = rectify(frame, quad, (200, 80), margins=(0.1, 0.1))

    assert (crop[10:70, 22:178] == 200).all()
    assert (crop[:6] == 10).all()
    assert (crop[:, :18] == 10).all()


def test_a_plate_much_larger_than_the_crop_is_averaged_not_sampled() -> None:
    frame = np.zeros((600, 1400, 3), np.uint8)
    frame[:, ::8] = 255  # one bright column in eight
    quad = np.array([[16, 16], [1296, 16], [1296, 528], [16, 528]], np.float32)

    crop = rectify(frame, quad, (160, 64))

    assert np.allclose(crop[4:-4, 4:-4], 255 / 8, atol=6.0)


def test_a_quad_that_leaves_the_frame_is_filled_from_the_frames_edge() -> None:
    frame = np.full((100, 100, 3), 77, np.uint8)
    quad = np.array([[-60, 20], [60, 20], [60, 60], [-60, 60]], np.float32)

    assert (rectify(frame, quad, (160, 64)) == 77).all()


def test_a_plate_at_the_far_end_of_a_very_wide_panorama_is_rectified() -> None:
    frame = np.zeros((80, 40_000, 3), np.uint8)
    frame[10:74, 39_800:39_960] = noise(160, 64)
    quad = np.array([[39800, 10], [39960, 10], [39960, 74], [39800, 74]], np.float32)

    assert np.array_equal(rectify(frame, quad, (160, 64)), noise(160, 64))


def test_a_blurred_crop_is_less_sharp() -> None:
    crop = noise(160, 64)

    assert sharpness(cv2.GaussianBlur(crop, (0, 0), 2.0)) < 0.1 * sharpness(crop)
    assert sharpness(np.full((64, 160, 3), 128, np.uint8)) == 0.0


QUAD = np.array([[2010.5, 1004], [2090, 1011], [2086.25, 1039], [2008, 1030]], np.float32)


def test_the_corners_of_a_crop_go_back_to_where_it_was_cut_out() -> None:
    margins = (0.04, 0.08)
    [found] = unrectified(inset(margins)[None], QUAD[None], margins)
    assert found == pytest.approx(QUAD, abs=1e-3)
    [found] = unrectified(inset((0.0, 0.0))[None], QUAD[None], (0.0, 0.0))
    assert found == pytest.approx(QUAD, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_points_of_many_crops_go_back_where_opencv_says_and_each_by_its_own_corners(
    seed: int,
) -> None:
    random, margins = np.random.default_rng(seed), (0.04, 0.08)
    shape = np.array([[0, 0], [1, 0], [1, 0.3], [0, 0.3]]) * random.uniform(15, 400, (20, 1, 1))
    shaken = shape * (1 + random.uniform(-0.2, 0.2, (20, 4, 2))) + random.normal(0, 2, (20, 4, 2))
    quads = (shaken + random.uniform(-50, 3000, (20, 1, 2))).astype(np.float32)
    points = random.uniform(-0.3, 1.3, (20, 4, 2)).astype(np.float32)
    quads[7] = quads[7, 0]  # encloses nothing

    found = unrectified(points, quads, margins)

    assert found.dtype == np.float32
    assert (found[7] == quads[7]).all()
    for index in {*range(20)} - {7}:
        low = quads[index].min(axis=0)
        back = cv2.getPerspectiveTransform(inset(margins), quads[index] - low)
        expected = cv2.perspectiveTransform(points[index][None].astype(np.float64), back)[0] + low
        assert found[index] == pytest.approx(expected, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_plate_whose_corners_are_no_numbers_is_refused(poison: float) -> None:
    quad = QUAD.copy()
    quad[2, 1] = poison
    with pytest.raises(ImageError, match="no numbers"):
        rectify(np.zeros((40, 60, 3), np.uint8), quad, (160, 64))


def test_a_rectangles_corners_are_mapped_onto_the_quads() -> None:
    found = np.array(perspective((10.0, 20.0), (30.0, 5.0), QUAD.tolist())).reshape(3, 3)
    corners = np.array([[10, 20, 1], [40, 20, 1], [40, 25, 1], [10, 25, 1]]) @ found.T
    assert corners[:, :2] / corners[:, 2:] == pytest.approx(QUAD)


@pytest.mark.parametrize(
    "quad",
    [
        [(5.0, 5.0)] * 4,
        [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)],
        [(-3e38, 0.0), (3e38, 0.0), (3e38, 1e300), (-3e38, -1e300)],
    ],
)
def test_corners_that_enclose_nothing_or_too_much_are_mapped_by_zeros(
    quad: list[tuple[float, float]],
) -> None:
    assert perspective((0.0, 0.0), (1.0, 1.0), quad) == (0.0,) * 9


def test_a_point_seen_in_a_crop_is_found_where_the_frame_shows_it() -> None:
    frame = np.zeros((400, 600, 3), np.uint8)
    cv2.circle(frame, (251, 141), 3, (255, 255, 255), -1)  # pixel 251 covers 251 to 252
    quad = np.array([[200, 100], [300, 130], [296, 170], [196, 150]], np.float32)
    crop = rectify(frame, quad, (160, 64), (0.04, 0.08))
    rows, columns = np.nonzero(crop[..., 0] > 127)
    seen = np.array([[(columns.mean() + 0.5) / 160, (rows.mean() + 0.5) / 64]], np.float32)
    [[found]] = unrectified(seen[None], quad[None], (0.04, 0.08))
    assert found == pytest.approx([251.5, 141.5], abs=0.3)


def test_a_surface_is_asked_for_its_picture_and_one_that_is_lost_is_a_bad_frame() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    assert on_host(picture) is picture
    assert on_host(surface_of(picture)) is picture
    with pytest.raises(ImageError, match="does not give"):
        on_host(lost_surface())
