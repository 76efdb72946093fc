"""Bad configurations: exit code 78, one line each that names the remedy, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.daemon import alprd, environment
from support.tiny_models import write_models

GOOD = '[[cameras]]\nid = "gate"\nsource = "/dev/video9"\n'


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GOOD + "[tracking]\nhold = 3.0\n", "hold_s"),
        (GOOD + '[tracking]\nhold_s = "long"\n', "hold_s"),
        ('[[cameras]]\nid = "a/b"\nsource = "/x"\n', "a/b"),
        (GOOD + GOOD, "gate"),
        (GOOD + '[mqtt]\nurl = "mqtt://broker:123456"\n', "port"),
        ("", "cameras"),
        ("this is no TOML", "TOML"),
        (GOOD + "[inference]\nthreads = " + "9" * 5000, "digits"),
        (GOOD + '[mqtt]\nurl = "mqtts://b"\nca_file = "a\\u0000b"', "NUL"),
    ],
    ids=[
        *("unknown key", "wrong type", "slash", "same id", "port", "no camera", "no TOML"),
        *("digits", "NUL"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_bad_configuration_ends_with_78_and_one_line(
    tmp_path: Path, command: str, config: str, expected: str
) -> None:
    file = tmp_path / "alprd.toml"
    file.write_text(config)
    done = alprd(command, "--config", str(file))
    assert done.returncode == 78
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("alprd: ")
    assert expected in lines[0]


@pytest.mark.parametrize("name", ["no-such-file.toml", "."], ids=["missing", "folder"])
def test_a_file_that_cannot_be_read_ends_with_78(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    done = alprd("run", "--config", str(file))
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr


LATER = (
    "import alprd.cli, alprd.config, os, sys\n"
    "if os.geteuid() == 0:\n"
    "    os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
    "sys.exit(alprd.cli.main())\n"
)
"""alprd as a user who is not root; what it imports is loaded before, from root's own folders."""


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_file_that_this_user_may_not_read_ends_with_78_and_the_remedy(command: str) -> None:
    # Not tmp_path: its folders are closed to others, and it is the file that must be.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "alprd.toml"
        file.write_text(GOOD)
        file.chmod(0o600 if os.geteuid() == 0 else 0)
        done = subprocess.run(
            [sys.executable, "-c", LATER, command, "--config", str(file)],
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
            env=environment(),
        )
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr == (
        f"alprd: {file}: may not be read by this user; let its group read it: "
        f"chgrp alprd {file} && chmod 640 {file}\n"
    )


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_backend_that_this_machine_lacks_is_refused_by_both_commands(
    tmp_path: Path, command: str
) -> None:
    models = write_models(tmp_path / "models")
    file = tmp_path / "alprd.toml"
    outbox = f'[outbox]\npath = "{tmp_path / "outbox.sqlite"}"\n'
    inference = f'[inference]\nbackend = "tensorrt"\nmodels_dir = "{models}"\n'
    file.write_text(GOOD + inference + outbox)
    done = alprd(command, "--config", str(file))
    assert done.returncode == 78
    (complaint,) = [line for line in done.stderr.splitlines() if line.startswith("alprd: ")]
    assert "the Python module tensorrt is not installed; install it" in complaint
    assert 'or set inference.backend = "onnxruntime"' in complaint


def damage_onnx(models: Path) -> None:
    with (models / "plate-reader" / "model.onnx").open("ab") as file:
        file.write(b"more")


def remove_onnx(models: Path) -> None:
    (models / "plate-detector" / "model.onnx").unlink()


def remove_manifest(models: Path) -> None:
    (models / "plate-detector" / "manifest.toml").unlink()


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (damage_onnx, "sha256"),
        (remove_onnx, "plate-detector/model.onnx"),
        (remove_manifest, "plate-detector/manifest.toml"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_model_that_is_missing_or_changed_ends_with_78_and_one_line(
    tmp_path: Path, command: str, harm: Callable[[Path], None], expected: str
) -> None:
    models = write_models(tmp_path / "models")
    harm(models)
    file = tmp_path / "alprd.toml"
    outbox = f'[outbox]\npath = "{tmp_path / "outbox.sqlite"}"\n'
    file.write_text(f'{GOOD}[inference]\nmodels_dir = "{models}"\n{outbox}')
    done = alprd(command, "--config", str(file))
    assert done.returncode == 78
    complaints = [line for line in done.stderr.splitlines() if line.startswith("alprd: ")]
    assert len(complaints) == 1
    assert expected in complaints[0]
    assert "Traceback" not in done.stderr


def test_a_good_configuration_is_shown_in_full(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    file = tmp_path / "alprd.toml"
    file.write_text(f'{GOOD}[inference]\nmodels_dir = "{models}"\n')
    done = alprd("check-config", "--config", str(file))
    assert done.returncode == 0
    assert done.stdout.startswith("ok\n")
    assert "hold_s = 5.0" in done.stdout
    assert 'source = "/dev/video9"' in done.stdout
    assert "cameras.gate.source: /dev/video9 does not exist" in done.stderr
