"""`--attributes` of commands without a configuration: names, all, or a path by mistake."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from alprd.cli import main
from alprd.commands import recognize
from alprd.commands.common import CommandError, asked_classifiers
from support.shape_classifier import write_shape_classifier


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[argparse.Namespace]:
    """What `alprd recognize` would have been run with."""
    seen: list[argparse.Namespace] = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 0

    monkeypatch.setattr(recognize, "run", run)
    return seen


def test_without_names_all_are_asked_and_with_names_those_once(tmp_path: Path) -> None:
    for name in ("fleet", "shapes"):
        write_shape_classifier(tmp_path / name, head=name)
    assert asked_classifiers([], tmp_path) == ["fleet", "shapes"]
    assert asked_classifiers(["shapes", "shapes"], tmp_path) == ["shapes"]


@pytest.mark.parametrize("names", [[], ["shapes"]], ids=["all", "named"])
@pytest.mark.parametrize("damage", ["manifest", "model", "none there"])
def test_a_classifier_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, names: list[str], damage: str
) -> None:
    if damage != "none there":
        write_shape_classifier(tmp_path / "fleet", head="fleet")
        write_shape_classifier(tmp_path / "shapes")
    if damage == "manifest":
        manifest = tmp_path / "shapes" / "manifest.toml"
        manifest.write_text(manifest.read_text().replace("[decoder]", "[decoder]\nmargn = 0.1"))
    elif damage == "model":
        (tmp_path / "shapes" / "model.onnx").write_bytes(b"cut off")
    with pytest.raises(CommandError) as refused:
        asked_classifiers(names, tmp_path)
    assert refused.value.exit_code == 1
    assert len(str(refused.value).splitlines()) == 1
    assert str(tmp_path) in str(refused.value)


def test_a_path_that_attributes_would_swallow_is_told_with_how_to_write_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: list[argparse.Namespace],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").touch()
    for paths in (["a.jpg"], ["clips/b.mp4"], ["fleet", "a.jpg"]):
        assert main(["recognize", "--attributes", *paths]) == 2
        said = capsys.readouterr().err
        assert f"--attributes -- {paths[-1]}" in said
    assert main(["recognize", "--attributes", "--", "a.jpg"]) == 0
    assert main(["recognize", "a.jpg", "--attributes"]) == 0
    assert main(["recognize", "a.jpg", "--attributes", "fleet"]) == 0
    assert [(one.paths, one.attributes) for one in asked] == [
        ([Path("a.jpg")], []),
        ([Path("a.jpg")], []),
        ([Path("a.jpg")], ["fleet"]),
    ]
