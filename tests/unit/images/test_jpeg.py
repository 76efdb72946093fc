"""What a picture shows, and which plates on it can be read."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.geometry import Quad
from alprd.images.jpeg import Cut, Jpeg, JpegError, cut_out, encode_cut, encode_jpeg
from support.plates_in_frames import make_frame
from support.surfaces import surface_of

SIZE = (640, 360)


def quad(x: float, y: float, width: float = 80.0, height: float = 20.0) -> Quad:
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


OWN, OTHER = quad(300, 240), quad(60, 240)
VEHICLE = (240.0, 100.0, 440.0, 280.0)


def picture() -> NDArray[np.uint8]:
    """A dark street with two white plates that have black stripes."""
    image = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
    for (x, y), _, (x2, y2), _ in (OWN, OTHER):
        image[int(y) : int(y2), int(x) : int(x2)] = 255
        image[int(y) + 4 : int(y2) - 4, int(x) + 6 : int(x2) - 6 : 8] = 0
    return image


def cut(crop: str, *, vehicle: tuple[float, float, float, float] | None = VEHICLE) -> Cut:
    frame = replace(make_frame(size=SIZE), image=picture())
    return cut_out(frame, crop, plate=OWN, vehicle=vehicle, plates=[OWN, OTHER])


def encode(made: Cut, plates: str = "shown", max_width_px: int = 4000) -> NDArray[np.uint8]:
    jpeg = encode_cut(made, plates=plates, max_width_px=max_width_px, quality=95)
    image = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[:2] == (jpeg.height_px, jpeg.width_px)
    return np.asarray(image, np.uint8)


def can_be_read(image: NDArray[np.uint8], plate: Quad, origin: tuple[int, int]) -> bool:
    (x1, y1), (x2, y2) = plate[0], plate[2]
    part = image[
        max(0, int(y1) - origin[1]) : int(y2) - origin[1],
        max(0, int(x1) - origin[0]) : int(x2) - origin[0],
    ]
    return int(part.max()) - int(part.min()) > 60


def test_a_cut_of_a_frame_on_the_gpu_asks_for_it_and_holds_no_surface() -> None:
    frame = replace(make_frame(size=SIZE), image=surface_of(picture()))
    made = cut_out(frame, "plate", plate=OWN, vehicle=None, plates=[OWN])
    assert (made.image == cut("plate").image).all()
    assert (cut_out(frame, "frame", plate=OWN, vehicle=None, plates=[]).image == picture()).all()


def test_the_whole_frame_is_kept_without_a_copy() -> None:
    frame = make_frame()
    made = cut_out(frame, "frame", plate=OWN, vehicle=None, plates=[])
    assert made.image is frame.image
    assert made.captured_at is frame.captured_at


@pytest.mark.parametrize(
    ("crop", "vehicle", "size"),
    [
        ("vehicle", VEHICLE, (220, 198)),
        ("vehicle", None, (320, 280)),  # the plate's surroundings, inside the picture
        ("plate", VEHICLE, (128, 32)),
        ("frame", VEHICLE, SIZE),
    ],
)
def test_a_picture_shows_what_is_asked_for(
    crop: str, vehicle: tuple[float, float, float, float] | None, size: tuple[int, int]
) -> None:
    made = cut(crop, vehicle=vehicle)
    assert (made.image.shape[1], made.image.shape[0]) == pytest.approx(size, abs=2)
    assert can_be_read(encode(made), OWN, made.origin)


def test_a_box_outside_the_picture_gives_the_whole_picture() -> None:
    assert cut("vehicle", vehicle=(-500.0, -500.0, -100.0, -100.0)).image.shape[:2] == SIZE[::-1]


@pytest.mark.parametrize(
    ("plates", "own", "other"),
    [("shown", True, True), ("own", True, False), ("covered", False, False)],
)
def test_only_the_plates_that_may_be_shown_can_be_read(
    plates: str,
    own: bool,
    other: bool,
) -> None:
    made = cut("frame")
    before = made.image.copy()
    image = encode(made, plates)
    assert can_be_read(image, OWN, (0, 0)) is own
    assert can_be_read(image, OTHER, (0, 0)) is other
    assert (made.image == before).all(), "the frame belongs to others too"


def test_ones_own_plate_stays_visible_when_its_corners_were_mended_or_it_was_found_twice() -> None:
    frame = replace(make_frame(size=SIZE), image=picture())
    mended = quad(296, 238, 88, 24)
    made = cut_out(frame, "frame", plate=mended, vehicle=None, plates=[OWN, quad(310, 242, 60, 16)])
    assert can_be_read(encode(made, "own"), OWN, (0, 0))
    assert not can_be_read(encode(made, "covered"), OWN, (0, 0))


def test_of_a_vehicle_without_a_plate_of_its_own_all_plates_are_others() -> None:
    frame = replace(make_frame(size=SIZE), image=picture())
    made = cut_out(frame, "vehicle", plate=None, vehicle=VEHICLE, plates=[OWN, OTHER])
    assert not can_be_read(encode(made, "own"), OWN, made.origin)


def test_a_plate_is_covered_beyond_its_corners_and_in_a_cut() -> None:
    made = cut("vehicle")
    slightly_off = replace(made, own=quad(304, 242, 74, 17), plates=())
    assert not can_be_read(encode(slightly_off, "covered"), OWN, made.origin)


def test_a_wide_picture_is_scaled_down_in_its_proportions() -> None:
    assert encode(cut("frame"), max_width_px=320).shape[:2] == (180, 320)


def test_what_cannot_be_encoded_is_an_error_of_ours() -> None:
    with pytest.raises(JpegError):
        encode_jpeg(np.zeros((0, 10, 3), np.uint8), 80)
    assert isinstance(encode_cut(cut("plate"), plates="own", max_width_px=32, quality=10), Jpeg)
