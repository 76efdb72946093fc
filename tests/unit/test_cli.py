"""The command line: exit codes, one-line errors, nothing heavy before it is needed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from alprd import __version__
from alprd.cli import build_parser, main
from alprd.commands import version
from alprd.commands.common import CommandError, quiet_native_libraries, write_error

COMMANDS = ("run", "check-config", "recognize", "bench", "watch", "demo", "version")


def failing(error: BaseException) -> object:
    def run(_arguments: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: alprd {command}")
    assert command in build_parser().format_help()


@pytest.mark.parametrize("arguments", [[], ["walk"], ["run", "--confg", "x"], ["recognize"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "usage: alprd" in said.err


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "much"])
def test_a_confidence_outside_0_to_1_is_wrong_usage(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recognize", "car.jpg", f"--min-confidence={value}"]) == 2
    assert "--min-confidence" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"alprd {__version__}\n"
    assert main(["version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_an_expected_failure_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "run", failing(CommandError("no such thing; make it", 78)))
    assert main(["version"]) == 78
    said = capsys.readouterr()
    assert said.err == "alprd: no such thing; make it\n"
    assert said.out == ""


def test_every_problem_has_a_line_of_its_own_and_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_error("first\nsecond rtsp://u:hush@h/x")
    assert capsys.readouterr().err == "alprd: first\nalprd: second rtsp://u:***@h/x\n"


def test_ctrl_c_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "run", failing(KeyboardInterrupt()))
    assert main(["version"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    # The pipe's other end closes before anything is written.
    command = f"{sys.executable} -m alprd version | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_what_the_operator_asked_of_the_native_libraries_is_left_alone() -> None:
    environ = {"OPENCV_LOG_LEVEL": "DEBUG"}
    quiet_native_libraries(environ)
    assert environ["OPENCV_LOG_LEVEL"] == "DEBUG"
    assert environ["OPENCV_FFMPEG_LOGLEVEL"] == "-8"


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    script = (
        "import sys, alprd.cli; alprd.cli.build_parser();"
        "print([m for m in ('cv2', 'onnxruntime', 'numpy', 'pydantic', 'paho', 'rich', 'structlog')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_command_reads_the_file_that_config_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it changes holds for the whole process, which is the tests' here.
    monkeypatch.setattr("alprd.commands.run.stacks_on_abort", nullcontext)
    missing = tmp_path / "missing.toml"
    for command in ("run", "check-config", "watch"):
        assert main([command, "--config", str(missing)]) == 78
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(missing) in said


def test_no_command_lets_onnx_runtime_report_to_its_maker(tmp_path: Path) -> None:
    """Its first session writes an identifier of the device into the cache folder otherwise."""
    picture = next(Path(__file__).parents[2].glob("engines/plate-detector/selftest.png"))
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-m", "alprd", "recognize", "--quiet", str(picture)],
        env=environ,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert list(tmp_path.iterdir()) == []
