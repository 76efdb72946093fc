"""NVDEC beside FFmpeg: the same frames, times and events; no memory that grows."""

from __future__ import annotations

import ctypes
import gc
import resource
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from alprd.cameras import CameraSource, CameraThread, FrameMux, open_source
from alprd.cameras.gpu_driver import LIBRARY, CudaDriver, GpuError
from alprd.cameras.nvdec_decoder import MODULE
from alprd.config.models import CameraSettings, InferenceSettings, TrackingSettings
from alprd.core.types import DeviceSurface, EndOfStream, Frame
from alprd.inference.models import load_models
from alprd.pipeline import CameraPipeline
from alprd.pipelines import new_event_id
from alprd.ports import CameraError
from support.boards import RecordingBoard
from support.clips import number_of
from support.gpu_clips import RECIPES, RESIZED, real_clips, rendered_clip


def reason_without_nvdec() -> str | None:
    if find_spec(MODULE) is None:
        return f"needs the Python module {MODULE}"
    try:
        CudaDriver()
    except GpuError as error:
        return str(error)
    return None


MISSING = reason_without_nvdec()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.once,
    pytest.mark.timeout(300),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]

DECODED = [name for name in RECIPES if not name.startswith("mpeg4")]


def opened(source: Path | str, decode: str = "nvdec", **settings: object) -> CameraSource:
    camera = CameraSettings.model_validate(
        {"id": "gate", "source": str(source), "decode": decode, **settings}
    )
    made = open_source(camera)
    made.open()
    return made


def read_all(source: CameraSource, at_most: int = 100_000) -> list[Frame]:
    frames = []
    while len(frames) < at_most and (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def gpu_used_bytes() -> int:
    free, all_of_it = ctypes.c_size_t(), ctypes.c_size_t()
    with CudaDriver().current():
        ask = ctypes.CDLL(LIBRARY).cuMemGetInfo_v2
        assert ask(ctypes.byref(free), ctypes.byref(all_of_it)) == 0
    return all_of_it.value - free.value


def assert_same(clip: Path) -> None:
    """The same frames at the same times, one by one, so that few are held."""
    on_gpu, on_cpu = opened(clip), opened(clip, "ffmpeg")
    count = 0
    while (expected := on_cpu.read()) is not None:
        frame = on_gpu.read()
        assert frame is not None, f"{count} frames, and FFmpeg has more"
        assert isinstance(frame.image, DeviceSurface), "the CPU decoded it"
        assert (frame.seq, frame.size) == (expected.seq, expected.size)
        assert frame.t_s == pytest.approx(expected.t_s, abs=1e-6)
        apart = np.abs(frame.host_image().astype(np.int16) - expected.host_image())
        # FFmpeg's way from YUV to BGR rounds and clips its own way where colours are strong.
        assert apart.mean() <= 2.0, (count, apart.mean())
        assert np.percentile(apart, 95) <= 5.0, count
        assert np.percentile(apart, 99) <= 10.0, count
        count += 1
    assert on_gpu.read() is None
    assert on_gpu.warning is None
    on_gpu.close()
    on_cpu.close()
    assert count >= 30


@pytest.mark.parametrize("name", DECODED)
def test_a_rendered_clip_is_the_same_as_with_ffmpeg(tmp_path: Path, name: str) -> None:
    assert_same(rendered_clip(name, tmp_path))


def test_real_clips_are_the_same_as_with_ffmpeg() -> None:
    clips = real_clips()
    if not clips:
        pytest.skip("the real clips are not here")
    for clip in clips:
        assert_same(clip)


def test_a_codec_that_is_not_for_nvdec_goes_to_ffmpeg(tmp_path: Path) -> None:
    clip = rendered_clip("mpeg4.avi", tmp_path)
    with capture_logs() as logs:
        frames = read_all(opened(clip))
    assert [number_of(frame.host_image()) for frame in frames] == list(range(30))
    assert [entry["event"] for entry in logs] == ["camera.decode_fallback"]


@pytest.mark.parametrize("name", ["in-order.mp4", "reordered.mp4", "hevc.ts"])
def test_a_looped_clip_has_every_frame_in_every_round(tmp_path: Path, name: str) -> None:
    frames = read_all(opened(rendered_clip(name, tmp_path), loop=True), 90)
    assert [number_of(frame.host_image()) for frame in frames] == [*range(30)] * 3
    assert np.diff([frame.t_s for frame in frames]) == pytest.approx(np.full(89, 0.04), abs=5e-3)


def test_a_cut_off_clip_gives_what_it_holds(tmp_path: Path) -> None:
    whole = rendered_clip("reordered.ts", tmp_path).read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    frames, expected = read_all(opened(cut)), read_all(opened(cut, "ffmpeg"))
    assert abs(len(frames) - len(expected)) <= 2
    assert len(frames) >= 10


def test_damage_inside_a_clip_ends_nothing(tmp_path: Path) -> None:
    data = bytearray(rendered_clip("in-order.mp4", tmp_path).read_bytes())
    place = len(data) // 3
    data[place : place + 60] = bytes(range(60))
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(bytes(data))
    numbers = [number_of(frame.host_image()) for frame in read_all(opened(hurt))]
    assert len(numbers) >= 20
    assert numbers[-3:] == [27, 28, 29]


def test_a_change_of_resolution_changes_the_frames(tmp_path: Path) -> None:
    frames = read_all(opened(rendered_clip(RESIZED, tmp_path)))
    sizes = [frame.size for frame in frames]
    assert sizes[0] == (320, 240)
    assert sizes[-1] == (640, 480)
    assert sizes == sorted(sizes)
    for frame in frames:
        assert frame.host_image().shape[:2] == frame.size[::-1]
    assert number_of(frames[-1].host_image()) == 29
    assert len(frames) >= 48, "at most those up to the next key frame are missing"


def test_no_video_and_no_file_are_told_as_without_nvdec(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    for content in (None, b"", b"no video" * 1000):
        if content is not None:
            path.write_bytes(content)
        said = []
        for decode in ("nvdec", "ffmpeg"):
            with pytest.raises(CameraError) as caught:
                opened(path, decode)
            said.append(str(caught.value))
        assert said[0] == said[1]


def test_two_thousand_frames_leave_memory_as_it_was(tmp_path: Path) -> None:
    clip = (real_clips() or [rendered_clip("reordered.mp4", tmp_path)])[0]
    source = opened(clip, loop=True)
    before: tuple[int, int] | None = None
    for number in range(2_400):
        frame = source.read()
        assert frame is not None
        if number % 50 == 0:
            frame.host_image()
        if number == 400:
            gc.collect()
            before = gpu_used_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.collect()
    assert before is not None
    assert gpu_used_bytes() - before[0] <= 16 * 1024**2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[1] <= 24 * 1024
    source.close()


def test_held_frames_are_not_written_over(tmp_path: Path) -> None:
    source = opened(rendered_clip("reordered.mp4", tmp_path), loop=True)
    held = read_all(source, 30)
    other = read_all(opened(rendered_clip("hevc.mp4", tmp_path), loop=True), 300)
    del other
    assert [number_of(frame.host_image()) for frame in held] == list(range(30))


def test_cameras_decode_beside_each_other(tmp_path: Path) -> None:
    clip = rendered_clip("reordered.mp4", tmp_path)
    names = [f"gate-{number}" for number in range(8)]
    mux, board = FrameMux(names), RecordingBoard()
    cameras = [
        CameraThread(
            CameraSettings(id=name, source=str(clip), decode="nvdec"), mux, board, lambda: None
        )
        for name in names
    ]
    seen: dict[str, list[int]] = {name: [] for name in names}
    ended = 0
    for camera in cameras:
        camera.__enter__()
    while ended < len(names):
        items = mux.take(8, 20.0)
        assert items, "the cameras stopped"
        for item in items:
            if isinstance(item, EndOfStream):
                ended += 1
            else:
                assert isinstance(item.image, DeviceSurface)
                seen[item.camera_id].append(number_of(item.host_image()))
    for camera in cameras:
        camera.close()
    assert all(numbers == list(range(30)) for numbers in seen.values())


class _Stream(BaseHTTPRequestHandler):
    clip = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        self.wfile.write(self.clip)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[str]:
    """A camera that hangs up after each delivery of a clip."""
    handler = type("Handler", (_Stream,), {"clip": rendered_clip("hevc.ts", tmp_path).read_bytes()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/live.ts"
        server.shutdown()
        thread.join()


def test_a_stream_that_is_lost_comes_back_on_the_gpu(stream: str) -> None:
    mux, board = FrameMux(["gate"]), RecordingBoard()
    settings = CameraSettings(id="gate", source=stream, decode="nvdec", retry_max_s=1.0)
    with CameraThread(settings, mux, board, lambda: None, jitter=lambda: 0.0):
        rounds, last_seq, last_number = 0, -1, -1
        while rounds < 4:
            items = mux.take(1, 20.0)
            assert items, "it did not come back"
            (item,) = items
            assert isinstance(item, Frame)
            assert isinstance(item.image, DeviceSurface)
            if item.seq <= last_seq:
                rounds, last_number = rounds + 1, -1
            number = number_of(item.host_image())
            # It is decoded without delay, and yet in the order in which it is shown.
            assert number > last_number
            last_seq, last_number = item.seq, number
    assert "online" in board.states
    assert "offline" in board.states


def test_events_are_the_same_as_with_ffmpeg() -> None:
    clips = real_clips()
    if not clips:
        pytest.skip("the real clips are not here")
    models = load_models(InferenceSettings(backend="onnxruntime", threads=8))

    def events(decode: str) -> list[tuple[str | None, str | None]]:
        pipeline = CameraPipeline("gate", TrackingSettings(), None, new_event_id=new_event_id)
        made = []
        source = opened(clips[0], decode)
        while (frame := source.read()) is not None:
            (found,) = models.detector.detect([frame.image])
            chosen = pipeline.select(frame, found)
            reads = models.reader.read([(frame.image, plate, frame.t_s) for plate in chosen])
            made += pipeline.step(frame, found, reads)
        source.close()
        made += pipeline.finish()
        return [(e.plate, None if e.direction is None else e.direction.label) for e in made]

    on_gpu = events("nvdec")
    assert on_gpu == events("ffmpeg")
    assert on_gpu
