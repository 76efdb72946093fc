"""Cameras that the GPU decodes: everything but the GPU itself, for which a stand-in decodes."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from alprd.cameras import CameraSource, open_source
from alprd.cameras import nvdec as nvdec_module
from alprd.cameras.capture import Capture
from alprd.cameras.frames import FrameMaker, utc_now
from alprd.cameras.gpu_driver import GpuError
from alprd.cameras.live import LiveSource
from alprd.cameras.nvdec import NvdecCapture
from alprd.cameras.nvdec_decoder import NvdecRefused
from alprd.config.models import CameraSettings
from alprd.core.types import DeviceSurface, Frame
from alprd.ports import CameraError
from alprd.stillness import STILLNESS
from support.clips import number_of, write_clip
from support.fake_nvdec import FakeGpu

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "10")
REORDERED = ("-c:v", "libx264", "-preset", "fast", "-bf", "3", "-g", "12")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    made = FakeGpu()
    monkeypatch.setattr(nvdec_module, "gpu_decoding", lambda: made)
    return made


def opened(source: Path, decode: str = "nvdec", **settings: object) -> CameraSource:
    camera = CameraSettings.model_validate(
        {"id": "gate", "source": str(source), "decode": decode, **settings}
    )
    made = open_source(camera)
    made.open()
    return made


class SlowPackets(Capture):
    """Packets that come ten a second, by a clock that nothing else moves."""

    now_s = 0.0

    def grab(self) -> bool:
        SlowPackets.now_s += 0.1
        return super().grab()


class Joined(LiveSource):
    """A clip as if it were a stream."""

    def _connect(self) -> None:
        assert self._capture.open(self._settings.source, cv2.CAP_FFMPEG)


def joined(
    monkeypatch: pytest.MonkeyPatch, clip: Path, read_timeout_s: float
) -> tuple[Joined, list[float]]:
    """The stream, and when something was taken from it."""
    monkeypatch.setattr(nvdec_module, "Capture", SlowPackets)
    SlowPackets.now_s = 0.0
    settings = CameraSettings(id="gate", source=str(clip), read_timeout_s=read_timeout_s)
    taken: list[float] = []
    maker = FrameMaker(settings, now=utc_now, on_grab=lambda: taken.append(SlowPackets.now_s))
    source = Joined(settings, maker, lambda: SlowPackets.now_s, NvdecCapture(live=True))
    source.open()
    return source, taken


def read_all(source: CameraSource, at_most: int = 1000) -> list[Frame]:
    frames = []
    while len(frames) < at_most and (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.host_image()) for frame in frames]


def decoding_order(clip: Path) -> list[int]:
    """The packets' numbers in the order in which their pictures are shown."""
    packets = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    shown_ms = []
    while packets.grab():
        shown_ms.append(packets.get(cv2.CAP_PROP_POS_MSEC))
    packets.release()
    return [int(index) for index in np.argsort(shown_ms, kind="stable")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("codec", [H264, REORDERED], ids=["in order", "reordered"])
def test_frames_stay_on_the_gpu_and_come_once_in_order_at_the_times_that_ffmpeg_gives_them(
    tmp_path: Path, gpu: FakeGpu, suffix: str, codec: tuple[str, ...]
) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", frames=25, codec=codec)
    gpu.shown = decoding_order(clip)
    if codec is REORDERED:
        assert gpu.shown != list(range(25)), "the clip proves nothing"
    frames = read_all(opened(clip))
    assert all(isinstance(frame.image, DeviceSurface) for frame in frames)
    assert gpu.driver.fetches == 0, "nobody wanted them in memory"
    assert {frame.size for frame in frames} == {(320, 240)}
    assert numbers(frames) == list(range(25))
    expected = read_all(opened(clip, "ffmpeg"))
    times = [frame.t_s for frame in expected]
    assert [frame.t_s for frame in frames] == pytest.approx(times, abs=1e-6)
    assert [frame.seq for frame in frames] == list(range(25))


def test_a_decoder_that_is_refused_gives_back_what_was_made_for_it(
    tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera tries again for ever."""

    def full(**_: object) -> None:
        raise RuntimeError("cuvidCreateDecoder failed:\n  CUDA_ERROR_OUT_OF_MEMORY")

    clip = write_clip(tmp_path / "clip.mp4", frames=5, codec=H264)
    monkeypatch.setattr(gpu.module, "CreateDecoder", full)
    capture = NvdecCapture(live=False)
    for _ in range(2):
        with pytest.raises(NvdecRefused, match="OUT_OF_MEMORY"):
            capture.open(str(clip), cv2.CAP_FFMPEG)
        assert gpu.driver.streams == 0

    def broken(stream: int) -> None:
        raise GpuError(f"stream {stream} cannot be given back")

    monkeypatch.setattr(gpu.driver, "destroy_stream", broken)
    with pytest.raises(NvdecRefused, match="OUT_OF_MEMORY"):  # so that FFmpeg can take over
        capture.open(str(clip), cv2.CAP_FFMPEG)
    capture.close()


def test_a_decoder_begins_and_ends_while_no_graph_is_recorded(tmp_path: Path, gpu: FakeGpu) -> None:
    """Later on recordings need not wait: there would be no time without some camera's packet."""
    clip = write_clip(tmp_path / "clip.mp4", frames=25, codec=REORDERED)
    gpu.shown = decoding_order(clip)
    native: list[Any] = []
    asked: dict[str, list[bool]] = {"create": [], "decode": [], "end": []}

    def ask(what: str) -> None:
        with STILLNESS.captured() as still:
            asked[what].append(still)

    class Watched:
        def __init__(self, **options: object) -> None:
            ask("create")
            native.append(created(**options))
            weakref.finalize(self, ask, "end")

        def Decode(self, packet: object) -> object:  # noqa: N802 -- the module's
            ask("decode")
            return native[0].Decode(packet)

    created, gpu.module.CreateDecoder = gpu.module.CreateDecoder, Watched
    assert len(read_all(opened(clip))) == 25
    gc.collect()
    assert asked["create"] == asked["end"] == [False]
    first, *later = asked["decode"]
    assert not first
    assert len(later) >= 24
    assert all(later)
    with STILLNESS.captured() as still:
        assert still


def test_a_frame_is_copied_into_memory_once_and_cannot_be_written(
    tmp_path: Path, gpu: FakeGpu
) -> None:
    frame = read_all(opened(write_clip(tmp_path / "clip.mp4", codec=H264)), 1)[0]
    image = frame.host_image()
    assert frame.host_image() is image
    assert gpu.driver.fetches == 1
    assert (image.shape, image.dtype, image.flags.writeable) == ((240, 320, 3), np.uint8, False)


def test_a_frame_that_is_held_stays_as_it_is_and_memory_of_the_others_is_used_again(
    tmp_path: Path, gpu: FakeGpu
) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", codec=H264), loop=True)
    held = source.read()
    assert held is not None
    for _ in range(200):
        source.read()
    source.close()
    gc.collect()
    assert number_of(held.host_image()) == 0
    assert gpu.driver.allocated <= 3, "the held one, the one before and the newest"
    assert gpu.driver.streams == 0


def test_a_looped_file_goes_on_in_time_with_every_frame(tmp_path: Path, gpu: FakeGpu) -> None:
    frames = read_all(
        opened(write_clip(tmp_path / "clip.mp4", frames=10, codec=H264), loop=True), 25
    )
    assert len(gpu.decoders) == 3
    steps = np.diff([frame.t_s for frame in frames])
    assert steps == pytest.approx(np.full(24, 0.04), abs=2e-3)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_a_camera_says_how_bright_its_luma_is_at_any_time(
    tmp_path: Path, gpu: FakeGpu, encoder: str
) -> None:
    parts = []
    for name in ("tv", "pc"):
        options = ("-c:v", encoder, "-color_range", name, "-preset", "fast", "-bf", "0")
        quiet = ("-x265-params", "log-level=none") if encoder == "libx265" else ()
        part = write_clip(tmp_path / f"{name}.ts", frames=5, codec=(*options, *quiet))
        parts.append(part.read_bytes())
    changing = tmp_path / "changing.ts"
    changing.write_bytes(b"".join(parts))
    formats = [
        frame.image.format
        for frame in read_all(opened(changing))
        if isinstance(frame.image, DeviceSurface)
    ]
    assert formats == ["nv12"] * 5 + ["nv12-full"] * 5


def test_frames_that_the_rate_limit_drops_are_not_copied(tmp_path: Path, gpu: FakeGpu) -> None:
    frames = read_all(opened(write_clip(tmp_path / "clip.mp4", codec=H264), max_fps=5.0))
    assert numbers(frames) == [0, 5, 10, 15, 20]
    assert gpu.driver.copies == 2 * len(frames)


def test_a_turned_camera_is_turned_in_memory(tmp_path: Path, gpu: FakeGpu) -> None:
    clip = write_clip(tmp_path / "clip.mp4", codec=H264)
    frame = read_all(opened(clip, rotate_deg=90), 1)[0]
    assert isinstance(frame.image, np.ndarray)
    assert frame.size == (240, 320)
    assert gpu.packets


def test_a_cut_off_file_gives_what_it_holds_and_says_so(tmp_path: Path, gpu: FakeGpu) -> None:
    whole = write_clip(tmp_path / "whole.ts", frames=25, repeats=3, codec=H264)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = opened(cut)
    assert 25 < len(read_all(source)) < 75
    assert source.warning is None or "cut off or damaged" in source.warning


@pytest.mark.parametrize(
    ("codec", "reason"),
    [
        (("-c:v", "mpeg4"), "not H.264 or H.265"),
        (("-c:v", "mjpeg"), "not H.264 or H.265"),
    ],
)
def test_what_nvdec_does_not_decode_the_cpu_does_and_the_log_says_why(
    tmp_path: Path, gpu: FakeGpu, codec: tuple[str, ...], reason: str
) -> None:
    clip = write_clip(tmp_path / "clip.avi", codec=codec)
    with capture_logs() as logs:
        frames = read_all(opened(clip))
    assert numbers(frames) == list(range(25))
    assert all(isinstance(frame.image, np.ndarray) for frame in frames)
    fallback = [entry for entry in logs if entry["event"] == "camera.decode_fallback"]
    assert [entry["camera"] for entry in fallback] == ["gate"]
    assert reason in fallback[0]["reason"]
    assert not gpu.decoders


def test_without_a_gpu_or_its_module_the_cpu_decodes_and_no_frame_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here() -> FakeGpu:
        raise NvdecRefused("PyNvVideoCodec is not installed")

    monkeypatch.setattr(nvdec_module, "gpu_decoding", none_here)
    with capture_logs() as logs:
        frames = read_all(opened(write_clip(tmp_path / "clip.mp4", codec=H264)))
    assert numbers(frames) == list(range(25))
    assert [frame.seq for frame in frames] == list(range(25))
    assert logs[0]["reason"] == "PyNvVideoCodec is not installed"


@pytest.mark.parametrize("broken", ["the decoder", "the layout"])
def test_a_decoder_that_refuses_the_first_picture_leaves_all_of_them_to_the_cpu(
    tmp_path: Path, gpu: FakeGpu, broken: str
) -> None:
    if broken == "the decoder":
        gpu.fails_at = frozenset([0])
    else:
        gpu.layout = "P016"
    with capture_logs() as logs:
        frames = read_all(opened(write_clip(tmp_path / "clip.mp4", codec=H264)))
    assert numbers(frames) == list(range(25))
    assert [entry["event"] for entry in logs] == ["camera.decode_fallback"]
    assert gpu.driver.streams == 0


def test_after_a_fault_another_decoder_goes_on_at_the_next_key_frame(
    tmp_path: Path, gpu: FakeGpu
) -> None:
    gpu.fails_at = frozenset([13])
    frames = read_all(opened(write_clip(tmp_path / "clip.mp4", frames=25, codec=H264)))
    shown = [round(frame.t_s * 25) for frame in frames]
    assert shown == [*range(13), *range(20, 25)], "a key frame is every tenth"
    assert len(gpu.decoders) == 2
    assert gpu.driver.streams == 0


def test_a_key_frame_that_a_decoder_does_not_take_goes_to_another_one(
    tmp_path: Path, gpu: FakeGpu
) -> None:
    """So it is at a change of resolution."""
    gpu.fails_at = frozenset([10])
    frames = read_all(opened(write_clip(tmp_path / "clip.mp4", frames=25, codec=H264)))
    assert [round(frame.t_s * 25) for frame in frames] == list(range(25))
    assert len(gpu.decoders) == 2


def test_a_decoder_that_fails_for_good_loses_the_camera_with_one_line(
    tmp_path: Path, gpu: FakeGpu
) -> None:
    gpu.fails_at = frozenset(range(5, 1000))
    source = opened(write_clip(tmp_path / "clip.mp4", frames=25, repeats=3, codec=H264))
    for _ in range(5):
        assert source.read() is not None
    with pytest.raises(CameraError, match="NVDEC cannot decode this stream: cuvid") as caught:
        read_all(source)
    assert "\n" not in str(caught.value)
    source.close()
    assert gpu.driver.streams == 0


def test_a_closed_capture_gives_its_decoder_back_at_once(tmp_path: Path, gpu: FakeGpu) -> None:
    source = opened(write_clip(tmp_path / "clip.mp4", codec=H264))
    assert source.read() is not None
    assert gpu.driver.streams == 1
    source.close()
    assert gpu.driver.streams == 0
    with pytest.raises(CameraError, match="closed"):
        source.read()
    source.close()


@pytest.mark.parametrize("content", [b"", b"no video" * 100])
def test_a_file_that_is_no_video_is_refused_as_without_nvdec(
    tmp_path: Path, gpu: FakeGpu, content: bytes
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    said = []
    for decode in ("nvdec", "ffmpeg"):
        with pytest.raises(CameraError) as caught:
            opened(path, decode)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_stream_joined_long_before_its_next_key_frame_is_waited_for(
    tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_clip(
        tmp_path / "whole.ts", frames=200, fps=10, codec=(*H264[:-2], "-bf", "0", "-g", "150")
    )
    late = tmp_path / "late.ts"
    content = whole.read_bytes()
    late.write_bytes(content[len(content) // 188 // 10 * 188 :])
    source, taken = joined(monkeypatch, late, read_timeout_s=2.0)
    frame = source.read()
    assert frame is not None
    assert SlowPackets.now_s > 10.0, "the clip proves nothing"
    assert np.diff(taken).max() < 0.2, "whoever watches would take it for hung"
    source.read()
    assert taken[-1] - taken[-2] == pytest.approx(0.1)
    source.close()


def test_a_live_stream_whose_packets_never_become_pictures_is_refused(
    tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvdec_module, "PACKETS_WITHOUT_PICTURE", 40)
    gpu.shown = [1000]
    clip = write_clip(tmp_path / "clip.ts", frames=50, codec=H264)
    source, _ = joined(monkeypatch, clip, read_timeout_s=2.0)
    with pytest.raises(NvdecRefused, match="no picture came out of 40 packets"):
        source.read()
    source.close()


def test_a_live_stream_that_ends_is_lost(
    tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=5, codec=H264)
    source, _ = joined(monkeypatch, clip, read_timeout_s=5.0)
    for _ in range(5):
        assert source.read() is not None
    with pytest.raises(CameraError, match="ended or the connection was lost"):
        source.read()
    source.close()
