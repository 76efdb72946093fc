"""Real video files and picture folders, sound and damaged."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.cameras import CameraSource, CameraThread, FrameMux, open_source
from alprd.config.models import CameraSettings
from alprd.core.types import EndOfStream, Frame
from alprd.ports import CameraError
from support.boards import RecordingBoard
from support.clips import number_of, numbered_frame, run_ffmpeg, write_clip

pytestmark = pytest.mark.everywhere

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


def opened(source: Path | str, **settings: object) -> CameraSource:
    camera = CameraSettings.model_validate({"id": "gate", "source": str(source), **settings})
    made = open_source(camera, now=lambda: AT)
    made.open()
    return made


def read_all(source: CameraSource, at_most: int = 1000) -> list[Frame]:
    frames = []
    while len(frames) < at_most and (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def write_pictures(folder: Path, numbers: range) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"shot {number}.png"), numbered_frame(number))
    return folder


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_every_frame_of_a_video_comes_once_in_order_with_its_time(
    tmp_path: Path, suffix: str
) -> None:
    frames = read_all(opened(write_clip(tmp_path / f"clip{suffix}", frames=25, fps=25)))
    assert [number_of(frame.image) for frame in frames] == list(range(25))
    assert [frame.seq for frame in frames] == list(range(25))
    assert np.allclose([frame.t_s for frame in frames], np.arange(25) / 25, atol=2e-3)
    assert frames[10].captured_at - AT == pytest.approx(
        timedelta(seconds=0.4), abs=timedelta(milliseconds=2)
    )
    assert not frames[0].image.flags.writeable


def test_reordered_frames_keep_increasing_times(tmp_path: Path) -> None:
    codec = ("-c:v", "libx264", "-bf", "3", "-g", "30")
    frames = read_all(opened(write_clip(tmp_path / "b.mp4", frames=30, codec=codec)))
    assert [number_of(frame.image) for frame in frames] == list(range(30))
    assert np.allclose(np.diff([frame.t_s for frame in frames]), 0.04, atol=2e-3)


def test_times_follow_the_stream_when_its_rate_varies(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "even.mp4", frames=20, fps=25)
    sparse = tmp_path / "sparse.mp4"
    run_ffmpeg(
        ["-i", str(clip), "-vf", "select='not(between(n,5,9))'", "-vsync", "vfr", str(sparse)]
    )
    times = [frame.t_s for frame in read_all(opened(sparse))]
    assert max(np.diff(times)) == pytest.approx(6 * 0.04, abs=2e-3)


def test_a_video_loops_with_an_unbroken_time_axis(tmp_path: Path) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", frames=10), loop=True)
    frames = read_all(source, at_most=25)
    assert [number_of(frame.image) for frame in frames] == [*range(10), *range(10), *range(5)]
    assert np.allclose(np.diff([frame.t_s for frame in frames]), 0.04, atol=2e-3)


def test_the_frame_rate_limit_drops_evenly(tmp_path: Path) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", frames=25, fps=25), max_fps=5.0)
    frames = read_all(source)
    assert [number_of(frame.image) for frame in frames] == [0, 5, 10, 15, 20]
    assert [frame.seq for frame in frames] == [0, 1, 2, 3, 4]


def test_a_short_loop_with_a_low_rate_limit_goes_on(tmp_path: Path) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", frames=5, fps=25), max_fps=1.0, loop=True)
    assert np.allclose([f.t_s for f in read_all(source, at_most=4)], [0, 1, 2, 3], atol=0.05)


@pytest.mark.parametrize(
    ("rotate_deg", "dark"), [(0, "left"), (90, "top"), (180, "right"), (270, "bottom")]
)
def test_rotation_is_clockwise(tmp_path: Path, rotate_deg: int, dark: str) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", frames=12), rotate_deg=rotate_deg)
    image = read_all(source)[-1].image
    height, width = image.shape[:2]
    assert (width, height) == ((320, 240) if rotate_deg % 180 == 0 else (240, 320))
    halves = {
        "left": image[:, : width // 2],
        "right": image[:, width // 2 :],
        "top": image[: height // 2],
        "bottom": image[height // 2 :],
    }
    assert min(halves, key=lambda side: halves[side].mean()) == dark


def test_a_video_cut_off_in_the_middle_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "whole.mp4", frames=30)
    fast = tmp_path / "fast.mp4"
    run_ffmpeg(["-i", str(clip), "-c", "copy", "-movflags", "+faststart", str(fast)])
    data = fast.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    source = opened(cut)
    frames = read_all(source)
    assert 0 < len(frames) < 30
    assert [number_of(frame.image) for frame in frames] == list(range(len(frames)))
    assert "of 30 frames" in (source.warning or "")


def test_a_video_damaged_in_the_middle_is_read_to_its_end(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "whole.ts", frames=30).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
    (tmp_path / "hurt.ts").write_bytes(data)
    numbers = [number_of(frame.image) for frame in read_all(opened(tmp_path / "hurt.ts"))]
    assert numbers[0] == 0
    assert 29 in numbers[-3:]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"empty \(0 bytes\); copy it again"),
        (b"this is text, no video " * 500, "not a video that can be read.*convert it"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 5000, "not a video that can be read"),
    ],
)
def test_what_is_no_video_is_one_line_that_names_the_remedy(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(CameraError, match=reason) as caught:
        opened(path)
    assert "\n" not in str(caught.value)


def test_an_mp4_without_its_index_is_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(CameraError, match="cut off before its index"):
        opened(tmp_path / "cut.mp4")


def test_a_sound_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    run_ffmpeg(["-f", "lavfi", "-i", "sine=duration=1", str(path)])
    with pytest.raises(CameraError, match="not a video"):
        opened(path)


@pytest.mark.parametrize("name", ["gone.mp4", "gone.jpg", "gone"])
def test_a_missing_file_names_the_path_and_the_remedy(tmp_path: Path, name: str) -> None:
    with pytest.raises(CameraError, match="no such file or folder; check the path") as caught:
        opened(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(CameraError, match="not a regular file"):
        opened(tmp_path / "pipe.mp4")


def test_a_change_of_size_in_the_middle_is_no_failure(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.ts", frames=10, size_px=(160, 120))
    large = write_clip(tmp_path / "large.ts", frames=10, size_px=(320, 240))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = read_all(opened(both))
    assert len(frames) >= 18
    assert frames[0].image.shape == (120, 160, 3)
    # OpenCV scales what follows to the first size: all of it is there.
    assert [number_of(frame.image) for frame in frames[-3:]] == [7, 8, 9]
    times = [frame.t_s for frame in frames]
    assert times == sorted(set(times))


def test_a_folder_plays_its_pictures_in_natural_order_at_folder_fps(tmp_path: Path) -> None:
    source = opened(write_pictures(tmp_path / "in", range(12)), folder_fps=4.0)
    frames = read_all(source)
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.t_s for frame in frames] == [n / 4 for n in range(12)]
    assert frames[4].captured_at == AT + timedelta(seconds=1)


def test_an_unreadable_picture_is_skipped_and_named(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", range(4))
    (folder / "shot 1.png").write_bytes(b"")
    (folder / "shot 2.png").write_bytes((folder / "shot 2.png").read_bytes()[:50])
    source = opened(folder, folder_fps=2.0)
    frames = read_all(source)
    assert [number_of(frame.image) for frame in frames] == [0, 3]
    assert [frame.t_s for frame in frames] == [0.0, 1.5]
    assert (source.warning or "").startswith("2 unreadable, last: ")


def test_a_looped_folder_takes_up_new_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", range(2))
    source = opened(folder, loop=True, folder_fps=5.0)
    first = [source.read() for _ in range(2)]
    write_pictures(folder, range(2, 3))
    later = [source.read() for _ in range(3)]
    numbers = [number_of(frame.image) for frame in [*first, *later] if frame is not None]
    assert numbers == [0, 1, 0, 1, 2]
    assert [round(f.t_s, 6) for f in [*first, *later] if f] == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_a_folder_of_nothing_but_rubbish_ends_with_an_error_even_when_looped(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"rubbish")
    source = opened(tmp_path, loop=True)
    with pytest.raises(CameraError, match="not one picture can be read"):
        source.read()


def test_an_empty_folder_says_what_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"no picture .*jpg.*subfolders are not searched"):
        opened(tmp_path)


def test_a_single_picture_is_a_source_of_one_frame(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", range(5, 6))
    assert [number_of(f.image) for f in read_all(opened(folder / "shot 5.png"))] == [5]


def test_closing_ends_a_looped_read(tmp_path: Path) -> None:
    for source in (
        opened(write_clip(tmp_path / "clip.mp4"), loop=True),
        opened(write_pictures(tmp_path / "in", range(2)), loop=True),
    ):
        source.read()
        source.close()
        source.close()
        with pytest.raises(CameraError, match="closed"):
            source.read()


def test_a_file_camera_runs_through_the_mux_without_loss_and_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=30)
    mux, board = FrameMux(), RecordingBoard()
    with CameraThread(CameraSettings(id="gate", source=str(clip)), mux, board, beat=lambda: None):
        numbers: list[int] = []
        while not (items := mux.take(4, 5.0)) or isinstance(items[0], Frame):
            numbers += [number_of(item.image) for item in items if isinstance(item, Frame)]
        board.wait_for_state("ended")
    assert isinstance(items[0], EndOfStream)
    assert numbers == list(range(30))
    assert board.states == ["offline", "online", "ended"]


def test_a_missing_file_is_an_offline_camera_that_starts_when_the_file_comes(
    tmp_path: Path,
) -> None:
    mux, board = FrameMux(), RecordingBoard()
    path = tmp_path / "late.mp4"
    with CameraThread(
        CameraSettings(id="gate", source=str(path)), mux, board, beat=lambda: None, tick_s=0.05
    ):
        status = board.wait_for(lambda s: s.last_error is not None)
        assert (status.state, status.last_error) == (
            "offline",
            f"{path}: no such file or folder; check the path in source "
            "(a camera is rtsp://..., /dev/videoN or a GStreamer pipeline)",
        )
        write_clip(tmp_path / "made.mp4").rename(path)
        board.wait_for_state("online")
