"""The rendered street: what is drawn, where the plates truly are, and what is left on disk."""

from __future__ import annotations

import string
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.demo.clip import (
    DEMO_CARS,
    DEMO_SECONDS,
    FPS,
    clip_path,
    remove_clips,
    render_frames,
    write_clip,
)
from alprd.demo.glyphs import render_text
from alprd.demo.plates import WHITE_EU, render_plate
from alprd.demo.scene import PinholeCamera, plate_quad_px

SMALL = PinholeCamera(width_px=320, height_px=180, focal_px=375.0)


def test_every_letter_and_digit_has_a_glyph_of_its_own() -> None:
    drawn = {c: render_text(c, 40).tobytes() for c in string.ascii_uppercase + string.digits}
    assert all(any(picture) for picture in drawn.values())
    assert len(set(drawn.values())) == len(drawn)


def test_a_glyph_is_coverage_between_0_and_1_of_the_height_asked_for() -> None:
    coverage = render_text("AB 12", 30)
    assert coverage.shape[0] == 30
    assert coverage.dtype == np.float32
    assert coverage.min() == 0.0
    assert coverage.max() == 1.0


@pytest.mark.parametrize("text", ["É1", "ab", "A-1", "", "  "])
def test_what_cannot_be_drawn_is_an_error_that_says_what_can(text: str) -> None:
    with pytest.raises(ValueError, match="A-Z, 0-9"):
        render_text(text, 30)


def test_a_text_too_wide_for_its_plate_is_condensed_and_leaves_its_margin_free() -> None:
    plate = render_plate("WWWWWWWWWWWWWWWW", WHITE_EU)
    assert plate.shape == (220, 1040, 3)
    middle = plate[60:160]  # between the borders above and below
    assert (middle[:, 1029:1031] == WHITE_EU.ground).all()
    assert (middle[:, 500:540] == WHITE_EU.ink).any()


def test_every_plate_is_once_whole_in_the_picture_and_large_enough_to_be_read() -> None:
    camera = PinholeCamera()
    for car in DEMO_CARS:
        widths_px = []
        for number in range(round(DEMO_SECONDS * FPS)):
            t_s = number / FPS
            if not car.visible(t_s):
                continue
            quad = plate_quad_px(camera, car, t_s)
            inside = (quad >= 0).all() and (quad < (camera.width_px, camera.height_px)).all()
            if inside:
                assert quad[1, 0] > quad[0, 0]  # clockwise from the top left
                assert quad[2, 1] > quad[1, 1]
                widths_px.append(quad[1, 0] - quad[0, 0])
        assert max(widths_px) > 80.0, car.plate


def test_the_plate_is_drawn_where_its_corners_are_said_to_be() -> None:
    camera, car = PinholeCamera(), DEMO_CARS[3]  # yellow
    t_s = car.enters_s + 0.4
    frames = render_frames([car], seconds=t_s + 1 / FPS, camera=camera)
    last = list(frames)[round(t_s * FPS)].astype(int)
    mask = np.zeros(last.shape[:2], np.uint8)
    quad = plate_quad_px(camera, car, round(t_s * FPS) / FPS)
    cv2.fillConvexPoly(mask, np.round(quad).astype(np.int32), 1)
    yellow = (last[..., 2] - last[..., 0] > 120) & (last[..., 1] > 120)
    assert yellow[mask == 1].mean() > 0.5
    assert yellow[mask == 0].mean() < 0.001


def test_the_same_seed_gives_the_same_frames_and_another_does_not() -> None:
    def frames(seed: int) -> list[bytes]:
        made = render_frames(DEMO_CARS, seconds=0.4, camera=SMALL, seed=seed)
        return [frame.tobytes() for frame in made]

    assert frames(7) == frames(7)
    assert frames(7) != frames(8)


def test_a_clip_holds_every_frame_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, seconds=0.4, camera=SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    capture.release()


def test_a_clip_that_cannot_be_finished_does_not_replace_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the one before")
    impossible = [DEMO_CARS[0].__class__(plate="?")]
    with pytest.raises(ValueError, match="cannot draw"):
        write_clip(path, impossible, seconds=0.4, camera=SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"the one before"


def test_a_full_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # OpenCV reports no failed write, so what counts is how many frames the file gives back.
    monkeypatch.setattr(cv2.VideoWriter, "write", lambda *_: None)
    with pytest.raises(OSError, match="full"):
        write_clip(tmp_path / "clip.mp4", seconds=0.4, camera=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_clip(tmp_path / "nowhere" / "clip.mp4", seconds=0.2, camera=SMALL)


def test_only_clips_of_other_code_are_taken_away(tmp_path: Path) -> None:
    mine = tmp_path / "holiday.mp4"
    old = tmp_path / "demo-01234567.mp4"
    mine.touch()
    old.touch()
    remove_clips(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["holiday.mp4"]
    assert clip_path(tmp_path) == clip_path(tmp_path)
    assert clip_path(tmp_path).name != old.name
