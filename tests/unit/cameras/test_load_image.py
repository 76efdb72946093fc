"""Pictures of every kind become upright 8-bit BGR, or one line that names the remedy."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.cameras.images import as_bgr_u8, list_pictures, load_image, natural_key
from alprd.cameras.imagesize import declared_size
from alprd.ports import CameraError

RAMP = np.linspace(0, 255, 64 * 32).astype(np.uint8).reshape(32, 64)
COLOUR = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 64)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def jpeg_with_orientation(image: NDArray[np.uint8], orientation: int) -> bytes:
    plain = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IH", 8, 1)
    tiff += struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack("<I", 0)
    body = b"Exif\0\0" + tiff
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".jpg"])
def test_colour_pictures_of_every_format_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plate{suffix}"
    cv2.imwrite(str(path), COLOUR)
    image = load_image(path)
    assert (image.shape, image.dtype) == ((32, 64, 3), np.uint8)
    assert np.abs(image.astype(int) - COLOUR).mean() < (40 if suffix in (".jpg", ".webp") else 1)
    assert declared_size(path.read_bytes()) == (64, 32)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_16_bit_picture_is_scaled_over_its_full_range(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep{suffix}"
    deep = COLOUR.astype(np.uint16) * 257
    cv2.imwrite(str(path), deep)
    assert np.array_equal(load_image(path), COLOUR)


def test_a_grey_16_bit_picture_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey16.png"
    cv2.imwrite(str(path), RAMP.astype(np.uint16) * 257)
    assert np.array_equal(load_image(path), np.dstack([RAMP] * 3))


def test_a_grey_picture_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), RAMP)
    assert np.array_equal(load_image(path), np.dstack([RAMP] * 3))


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    alpha = np.full_like(RAMP, 255)
    alpha[:, :32] = 0
    cv2.imwrite(str(path), np.dstack([COLOUR, alpha]))
    image = load_image(path)
    assert (image[:, :32] == 255).all()
    assert np.array_equal(image[:, 32:], COLOUR[:, 32:])


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_the_exif_orientation_is_honoured(tmp_path: Path, orientation: int, turns: int) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:16, :16] = 255
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg_with_orientation(np.rot90(upright, -turns).copy(), orientation))
    image = load_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 3


def test_a_picture_of_one_pixel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    cv2.imwrite(str(path), np.full((1, 1, 3), 7, np.uint8))
    assert load_image(path).tolist() == [[[7, 7, 7]]]


def test_a_panorama_12000_pixels_wide_is_read(tmp_path: Path) -> None:
    path = tmp_path / "panorama.jpg"
    cv2.imwrite(str(path), np.full((400, 12_000, 3), 90, np.uint8))
    assert load_image(path).shape == (400, 12_000, 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "empty \\(0 bytes\\); copy"),
        ("text.jpg", b"this is no picture at all", "not a picture .* save it again"),
        ("cut.png", cv2.imencode(".png", COLOUR)[1].tobytes()[:60], "not a picture .* cut off"),
        ("bomb.png", png_that_declares(40_000, 40_000), "40000 x 40000 pixels .* scale it down"),
        ("ribbon.png", png_that_declares(150_000, 2), "150000 x 2 pixels .* scale it down"),
        ("flat.png", png_that_declares(20, 0), "not a picture"),
        ("head.jpg", b"\xff\xd8\xff", "not a picture"),
        ("head.tif", b"II*\0\xff\xff\xff\x7f", "not a picture"),
    ],
)
def test_a_bad_picture_is_one_line_that_names_the_remedy(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CameraError, match=reason) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_picture_says_so(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="No such file"):
        load_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("shape", [(4, 4, 2), (0, 4, 3), (4,)])
def test_a_shape_that_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CameraError, match="shape"):
        as_bgr_u8(np.zeros(shape, np.uint8))


def test_floating_point_pictures_are_clipped_to_their_range() -> None:
    deep = np.array([[-1.0, 0.0, 0.5, 1.0, 9.0, np.nan, np.inf]], np.float32)
    assert as_bgr_u8(deep)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 255]


def test_signed_values_are_refused() -> None:
    with pytest.raises(CameraError, match="int32"):
        as_bgr_u8(np.zeros((4, 4), np.int32))


def test_pictures_sort_as_people_count() -> None:
    names = ["img10.jpg", "img2.jpg", "IMG1.jpg", "a.jpg", "7.jpg", "img02.jpg"]
    assert sorted(names, key=natural_key) == [
        *("7.jpg", "a.jpg", "IMG1.jpg", "img02.jpg", "img2.jpg", "img10.jpg"),
    ]


def test_a_folder_lists_pictures_only(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.tif", "notes.txt", "._b.jpg", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in list_pictures(tmp_path)] == ["a.tif", "b.JPG"]
