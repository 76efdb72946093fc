"""Annotated pictures and clips: drawn where the marks are, written where nothing is lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.annotate import AnnotateError, ClipWriter, Mark, OutputFolder, draw, write_picture

SQUARE = ((40.0, 60.0), (140.0, 60.0), (140.0, 100.0), (40.0, 100.0))


def test_the_outline_is_drawn_and_the_picture_itself_is_left_alone() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image.setflags(write=False)

    drawn = draw(image, [Mark(corners=SQUARE, colour=0)])

    assert not image.any()
    assert drawn[60, 90].any()
    assert drawn[80, 140].any()
    assert not drawn[80, 90].any()


@pytest.mark.parametrize("corner", [(0.0, 0.0), (290.0, 190.0), (-50.0, -50.0), (500.0, 500.0)])
def test_a_label_is_always_inside_the_picture(corner: tuple[float, float]) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    x, y = corner
    corners = ((x, y), (x + 5, y), (x + 5, y + 5), (x, y + 5))

    drawn = draw(image, [Mark(corners=corners, label="AB12", colour=1)])

    assert np.count_nonzero(drawn.any(axis=2)) > 500


def test_one_vehicle_keeps_its_colour_and_its_neighbour_has_another() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    first, again, other = (
        draw(image, [Mark(corners=SQUARE, colour=colour)])[60, 90].tolist() for colour in (1, 1, 2)
    )

    assert first == again != other


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2)])
def test_a_picture_of_any_size_can_be_drawn_into(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)

    assert draw(image, [Mark(corners=SQUARE, label="X", colour=0)]).shape == image.shape


def test_files_of_one_name_from_different_folders_do_not_overwrite_each_other(
    tmp_path: Path,
) -> None:
    output = OutputFolder(tmp_path / "new" / "out")

    names = [
        output.picture_path(Path("a/car.jpg")).name,
        output.picture_path(Path("b/car.jpeg")).name,
        output.picture_path(Path("b/car.png")).name,
        output.clip_path(Path("a/car.avi")).name,
    ]

    assert names == [
        "car-annotated.jpg",
        "car-annotated-2.jpg",
        "car-annotated.png",
        "car-annotated.mp4",
    ]


def test_an_annotated_file_is_never_written_over_a_source(tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("car.jpg", "car-annotated.jpg", "car-annotated-2.jpg")]
    (tmp_path / "sub").mkdir()
    output = OutputFolder(tmp_path / "sub" / "..", sources)

    names = [output.picture_path(source).name for source in sources]

    assert names == [
        "car-annotated-3.jpg",
        "car-annotated-annotated.jpg",
        "car-annotated-2-annotated.jpg",
    ]


def test_a_link_to_a_source_is_not_written_through(tmp_path: Path) -> None:
    source = tmp_path / "car.mp4"
    source.write_bytes(b"the user's own")
    (tmp_path / "car-annotated.mp4").symlink_to(source)

    assert OutputFolder(tmp_path, [source]).clip_path(source).name == "car-annotated-2.mp4"


def test_an_output_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")

    with pytest.raises(AnnotateError, match=r"file/out: cannot create the folder .*--annotate"):
        OutputFolder(tmp_path / "file" / "out")


def test_a_picture_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    image = np.zeros((10, 10, 3), np.uint8)

    with pytest.raises(AnnotateError, match=r"gone/x\.jpg: cannot be written .*free space"):
        write_picture(tmp_path / "gone" / "x.jpg", image)


def test_a_written_png_is_the_picture_to_the_pixel(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)

    write_picture(tmp_path / "x.png", image)

    assert np.array_equal(cv2.imread(str(tmp_path / "x.png")), image)


def test_a_written_clip_has_every_frame_also_one_of_another_size(tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "x.mp4", (64, 48), 25.0) as clip:
        for size in ((48, 64), (48, 64), (96, 128)):
            clip.write(np.full((*size, 3), 200, np.uint8))

    capture = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    shapes = []
    while True:
        fine, image = capture.read()
        if not fine:
            break
        shapes.append(image.shape)
    capture.release()
    assert shapes == [(48, 64, 3)] * 3
    assert clip.codec in ("avc1", "mp4v")


@pytest.mark.parametrize("fps", [0.0011, 66.6667, 97.3871, 333.333, 999.99, 5000.0])
def test_a_clip_of_any_frame_rate_can_be_written(tmp_path: Path, fps: float) -> None:
    with ClipWriter(tmp_path / "x.mp4", (64, 48), fps) as clip:
        clip.write(np.zeros((48, 64, 3), np.uint8))

    capture = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    assert capture.read()[0]
    expected = min(1000.0, max(0.01, fps))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(expected, rel=1e-3)
    capture.release()


@pytest.mark.parametrize(
    ("size", "written"),
    [((9000, 45), (8190, 40)), ((60, 12_000), (40, 8190)), ((1, 1), (2, 2)), ((65, 47), (64, 46))],
)
def test_frames_of_a_size_that_no_codec_takes_are_scaled(
    tmp_path: Path, size: tuple[int, int], written: tuple[int, int]
) -> None:
    with ClipWriter(tmp_path / "x.mp4", size, 25.0) as clip:
        clip.write(np.zeros((size[1], size[0], 3), np.uint8))

    capture = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    fine, image = capture.read()
    capture.release()
    assert fine
    assert (image.shape[1], image.shape[0]) == written


def test_a_clip_that_no_codec_takes_is_not_blamed_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.annotate._CODECS", ("none",))

    with pytest.raises(
        AnnotateError, match=r"x\.mp4: this OpenCV encodes no clip of 64 x 48"
    ) as it:
        ClipWriter(tmp_path / "x.mp4", (64, 48), 25.0)

    assert "rights" not in str(it.value)
    assert not (tmp_path / "x.mp4").exists()


def test_a_picture_too_large_for_its_format_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="70000 x 1 pixels cannot be encoded") as it:
        write_picture(tmp_path / "x.jpg", np.zeros((1, 70_000, 3), np.uint8))

    assert "rights" not in str(it.value)


def test_a_clip_that_cannot_be_created_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match=r"gone/x\.mp4: cannot be written"):
        ClipWriter(tmp_path / "gone" / "x.mp4", (64, 48), 25.0)
