"""Who decodes a camera."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alprd.cameras import decoding, gpu_driver, nvdec_decoder
from alprd.cameras.decoding import decided
from alprd.cameras.nvdec_decoder import NvdecRefused
from alprd.config.models import CameraSettings

STREAM, FILE = "rtsp://10.0.0.7/main", "/data/clip.mp4"
PIPELINE, DEVICE = "rtspsrc location=x ! appsink", "/dev/video0"


def camera(source: str, decode: str = "auto", **more: object) -> CameraSettings:
    return CameraSettings.model_validate({"id": "gate", "source": source, "decode": decode, **more})


def installed(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    monkeypatch.setattr(decoding, "find_spec", lambda _: object() if there else None)


@pytest.mark.parametrize("source", [STREAM, FILE])
def test_auto_takes_nvdec_where_inference_takes_frames_from_the_gpu_and_the_module_is_there(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    installed(monkeypatch, there=True)
    assert decided(camera(source), frames_on_gpu=True).decode == "nvdec"
    assert decided(camera(source), frames_on_gpu=False).decode == "auto"
    assert decided(camera(source, rotate_deg=90), frames_on_gpu=True).decode == "auto"
    installed(monkeypatch, there=False)
    assert decided(camera(source), frames_on_gpu=True).decode == "auto"


@pytest.mark.parametrize("source", [PIPELINE, DEVICE])
def test_auto_leaves_pipelines_and_devices_as_they_are(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    installed(monkeypatch, there=True)
    assert decided(camera(source), frames_on_gpu=True).decode == "auto"


def test_nvdec_without_inference_on_the_gpu_is_ffmpeg_with_a_word_in_the_log() -> None:
    with capture_logs() as logs:
        assert decided(camera(STREAM, "nvdec"), frames_on_gpu=False).decode == "ffmpeg"
    assert [entry["event"] for entry in logs] == ["camera.decode_fallback"]
    assert logs[0]["camera"] == "gate"
    assert "inference.backend" in logs[0]["reason"]


def test_ffmpeg_stays_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, there=True)
    assert decided(camera(STREAM, "ffmpeg"), frames_on_gpu=True).decode == "ffmpeg"


@pytest.mark.parametrize(
    ("decode", "source", "remedy"),
    [
        ("gstreamer", STREAM, "needs a GStreamer pipeline"),
        ("gstreamer", FILE, "needs a GStreamer pipeline"),
        ("gstreamer", DEVICE, "needs a GStreamer pipeline"),
        ("nvdec", PIPELINE, "nvv4l2decoder"),
        ("ffmpeg", PIPELINE, "nvv4l2decoder"),
        ("nvdec", DEVICE, 'set decode = "auto"'),
        ("ffmpeg", DEVICE, 'set decode = "auto"'),
        ("cuda", STREAM, "'auto', 'nvdec', 'gstreamer' or 'ffmpeg'"),
    ],
)
def test_a_decoder_that_does_not_go_with_the_source_is_refused(
    decode: str, source: str, remedy: str
) -> None:
    with pytest.raises(ValueError, match=remedy):
        camera(source, decode)


@pytest.mark.parametrize(
    ("decode", "source"),
    [
        ("gstreamer", PIPELINE),
        ("nvdec", STREAM),
        ("nvdec", FILE),
        ("nvdec", "file:///data/clip.mp4"),
        ("ffmpeg", STREAM),
        ("auto", PIPELINE),
        ("auto", DEVICE),
    ],
)
def test_a_decoder_that_goes_with_the_source_is_taken(decode: str, source: str) -> None:
    assert camera(source, decode).decode == decode


def test_a_module_that_is_not_installed_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, nvdec_decoder.MODULE, None)
    nvdec_decoder.gpu_decoding.cache_clear()
    with pytest.raises(NvdecRefused, match="PyNvVideoCodec"):
        nvdec_decoder.gpu_decoding()


def test_a_module_that_finds_no_driver_is_refused_with_its_first_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / f"{nvdec_decoder.MODULE}.py").write_text(
        "raise RuntimeError('Failed to load NVENC library\\n\\n=== TROUBLESHOOTING STEPS ===')"
    )
    monkeypatch.delitem(sys.modules, nvdec_decoder.MODULE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    nvdec_decoder.gpu_decoding.cache_clear()
    with pytest.raises(
        NvdecRefused, match=r"Failed to load NVENC library.*LD_LIBRARY_PATH"
    ) as said:
        nvdec_decoder.gpu_decoding()
    assert "TROUBLESHOOTING" not in str(said.value)


def test_a_machine_without_the_driver_is_told_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_driver, "LIBRARY", "libcuda-of-no-machine.so.1")
    with pytest.raises(gpu_driver.GpuError, match=r"no NVIDIA driver .*install it"):
        gpu_driver.CudaDriver()
