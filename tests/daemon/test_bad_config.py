"""Bad configurations: exit code 78, one line each that names the remedy, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.daemon import alprd
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
    ],
    ids=["unknown key", "wrong type", "slash", "same id", "port", "no camera", "no TOML"],
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
