"""`alprd bench` on real networks: small ones on ONNX Runtime, for a moment."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from time import thread_time
from typing import Any

import cv2
import numpy as np
import pytest
import structlog

from alprd.bench import streams
from alprd.cameras.files import VideoFileSource
from alprd.cameras.frames import FrameMaker, ignore_grab, utc_now
from alprd.cameras.pacing import FileAxis
from alprd.cli import main
from alprd.config.models import CameraSettings
from alprd.ports import CameraError
from support import tiny_models
from support.tiny_models import blank_picture, box_quad, draw_plate

BRIEF = ["--seconds", "0.05", "--rounds", "2", "--threads", "1", "--backend", "onnxruntime"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def pictures(folder: Path) -> list[str]:
    """A plate, and nothing, as the options that name them."""
    plate = blank_picture((640, 384))
    draw_plate(plate, "AB12CDE", box_quad(200, 150, 400, 220))
    cv2.imwrite(str(folder / "plate.png"), plate)
    cv2.imwrite(str(folder / "street.png"), blank_picture((640, 384)))
    return ["--positive", str(folder / "plate.png"), "--negative", str(folder / "street.png")]


def street_clip(folder: Path) -> Path:
    """Twelve frames of a plate that passes."""
    clip = folder / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (640, 384))
    for number in range(12):
        picture = blank_picture((640, 384))
        x = 60 + 15 * number
        draw_plate(picture, "AB12CDE", box_quad(x, 150, x + 200, 220))
        writer.write(picture)
    writer.release()
    return clip


def test_the_figures_are_those_of_the_daemons_own_pipeline(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--models-dir", str(models), "--batch", "2", "--rate", "0", "0.5", "1", "--json"]

    assert main(["bench", *pictures(tmp_path), *options, *BRIEF]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "alprd.bench/1"
    assert report["backend"]["name"] == "onnxruntime"
    assert report["pictures"]["size"] == [640, 384]
    assert report["memory"]["peak_rss_mib"] > 20.0
    runs = report["runs"]
    assert [run["rate"] for run in runs] == [0.0, 0.5, 1.0]
    # Every plate of every frame that shows one was read, and nothing else.
    assert [run["plates_per_frame"] for run in runs] == [0.0, 0.5, 1.0]
    assert [run["stages_ms"]["read"] is None for run in runs] == [True, False, False]
    for run in runs:
        assert run["rounds"] == 2
        assert run["fps"]["min"] <= run["fps"]["median"] <= run["fps"]["max"]
        assert 1.0 <= run["mean_batch"] <= 2.0
        assert run["limit"]["upload_fps"] is None
        assert 0.0 < run["limit"]["reached"] < 2.0
        assert run["networks"]["whole_to_own"] > 1.0


def test_the_figures_are_printed_as_a_table(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--models-dir", str(models), "--batch", "1", "2", "--loops", "6"]

    assert main(["bench", *pictures(tmp_path), *options, *BRIEF]) == 0

    text = capsys.readouterr().out
    assert "640x384" in text
    assert len([line for line in text.splitlines() if " sequential " in line]) == 2


def test_what_is_the_same_on_the_cpu_is_measured_once(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--models-dir", str(models), "--batch", "1", "--loops", "4", "--json"]

    both = ["--parallel", "--sequential"]
    assert main(["bench", *pictures(tmp_path), *options, *both, *BRIEF]) == 0

    assert [run["mode"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["sequential"]


def test_opening_the_cameras_is_not_measured(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = street_clip(tmp_path)

    class Slow(VideoFileSource):
        def open(self) -> None:
            super().open()
            until_s = thread_time() + 0.3
            while thread_time() < until_s:
                pass

    def slow(settings: CameraSettings, **more: Any) -> Slow:
        maker = FrameMaker(settings, now=utc_now, on_grab=more.get("on_grab", ignore_grab))
        return Slow(settings, maker, FileAxis(), clip)

    monkeypatch.setattr(streams, "open_source", slow)
    options = ["--models-dir", str(models), "--source", str(clip), "--cameras", "2"]

    assert main(["bench", *options, *BRIEF, "--rounds", "1", "--json"]) == 0

    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert run["frames"] == 24
    assert run["cpu_ms_per_frame"] * 24 < 600.0, "opening the two took as much"


def test_a_clip_that_fails_while_cameras_wait_for_each_other_ends_the_bench(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = street_clip(tmp_path)
    opened: list[str] = []

    class Failing(VideoFileSource):
        def open(self) -> None:
            opened.append("")
            if len(opened) == 3:
                raise CameraError("the second camera has no decoder")
            super().open()

    def failing(settings: CameraSettings, **more: Any) -> Failing:
        maker = FrameMaker(settings, now=utc_now, on_grab=more.get("on_grab", ignore_grab))
        return Failing(settings, maker, FileAxis(), clip)

    monkeypatch.setattr(streams, "open_source", failing)
    options = ["--models-dir", str(models), "--source", str(clip), "--cameras", "2"]

    assert main(["bench", *options, *BRIEF, "--rounds", "1"]) == 1

    assert "has no decoder" in capsys.readouterr().err


def test_whole_streams_are_read_decoded_and_told(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = street_clip(tmp_path)
    options = ["--models-dir", str(models), "--source", str(clip), "--cameras", "1", "2"]

    assert main(["bench", *options, *BRIEF, "--json"]) == 0

    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(run["cameras"], run["frames"]) for run in runs] == [(1, 12), (2, 24)]
    assert [run["events"] for run in runs] == [["AB12CDE"], ["AB12CDE", "AB12CDE"]]
    assert all(run["same_events_in_all_rounds"] for run in runs)
    assert all(run["plates_per_frame"] == 1.0 for run in runs)
    assert not any(run["decoded_on_gpu"] for run in runs)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--positive", "missing.jpg"], "missing.jpg"),
        (["--source", "missing.mp4"], "missing.mp4"),
        (["--detector", "nothing"], "nothing"),
        (["--backend", "tensorrt"], "tensorrt"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_1(
    models: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [*BRIEF, "--models-dir", str(models), *options]

    assert main(["bench", *chosen]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("alprd: ")
    assert says in said.err.lower()


def test_pictures_of_two_sizes_are_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = pictures(tmp_path)
    cv2.imwrite(str(tmp_path / "street.png"), np.zeros((100, 100, 3), np.uint8))

    assert main(["bench", *options, *BRIEF, "--models-dir", str(models)]) == 1
    assert "100x100" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--batch", "0"], ["--batch", "65"], ["--rate", "1.1"], ["--rounds", "x"]]
)
def test_options_out_of_range_are_wrong_usage(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *options]) == 2
    assert options[0] in capsys.readouterr().err
