"""The manual pages, the completion and the private environment's window to the system."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from alprd.cli import build_parser

REPOSITORY = Path(__file__).parents[2]
PACKAGING = REPOSITORY / "packaging"


def commands() -> list[str]:
    usage = build_parser().format_help()
    return re.findall(r"^    ([a-z][a-z-]+)(?: |$)", usage.partition("commands:")[2], re.MULTILINE)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("man")
    script = [sys.executable, str(PACKAGING / "manual.py"), str(folder)]
    subprocess.run(script, cwd=REPOSITORY, check=True, timeout=60)
    return {page.name: page.read_text() for page in folder.iterdir()}


def test_every_command_has_a_manual_page(pages: dict[str, str]) -> None:
    assert len(commands()) >= 8
    engines = {f"alprd-engines-{name}.1" for name in ("build", "list", "verify")}
    of_commands = {name for name in pages if not name.startswith("alprd-engines-")}
    assert of_commands == {"alprd.1", "alprd.toml.5", *(f"alprd-{name}.1" for name in commands())}
    assert engines <= set(pages)
    assert ".BR alprd\\-engines\\-build (1)" in pages["alprd-engines.1"]
    assert "\\-\\-if\\-possible" in pages["alprd-engines-build.1"]
    assert "\\-\\-until\\-end" in pages["alprd-run.1"]


def test_every_setting_is_in_the_manual_page(pages: dict[str, str]) -> None:
    reference = (REPOSITORY / "etc/alprd.toml").read_text()
    keys = re.findall(r"^#?([a-z_]+) = ", reference, re.MULTILINE)
    assert len(keys) > 80
    for key in keys:
        assert f"\\fB{key}\\fR = " in pages["alprd.toml.5"]


def test_bash_completes_commands_and_their_options() -> None:
    script = [sys.executable, str(PACKAGING / "completion.py")]
    said = subprocess.run(script, check=True, capture_output=True, text=True, timeout=60).stdout
    subprocess.run(["bash", "-n"], input=said, text=True, check=True, timeout=60)
    for name in commands():
        own = "'engines build'" if name == "engines" else f"'{name} '*"
        assert re.search(rf"^        {re.escape(own)}\) options='.*--help", said, re.MULTILINE)
    assert completions(said, "alprd", "engi") == ["engines"]
    assert "build" in completions(said, "alprd", "engines", "")
    assert completions(said, "alprd", "engines", "build", "--if") == ["--if-possible"]
    assert completions(said, "alprd", "run", "--until") == ["--until-end"]


def completions(script: str, *words: str) -> list[str]:
    """What bash offers after these words."""
    begin = '_init_completion() { cur=${COMP_WORDS[COMP_CWORD]}; words=("${COMP_WORDS[@]}"); '
    begin += "cword=$COMP_CWORD; prev=${COMP_WORDS[COMP_CWORD-1]}; }\n"
    line = " ".join(f"'{word}'" for word in words)
    end = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n_alprd\n"
    end += 'printf "%s\\n" "${COMPREPLY[@]}"\n'
    done = subprocess.run(
        ["bash"], input=begin + script + end, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.split()


@pytest.fixture
def window(tmp_path: Path) -> Iterator[ModuleType]:
    """The module that a .pth file imports, looking into a system of the test's own."""
    before = list(sys.meta_path)
    path = PACKAGING / "debian/site/alprd_system_tensorrt.py"
    spec = importlib.util.spec_from_file_location("alprd_system_tensorrt", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("tensorrt", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    module.FOLDERS = (str(tmp_path),)
    yield module
    sys.meta_path[:] = before


def test_the_private_environment_sees_the_systems_tensorrt_and_nothing_else(
    window: ModuleType, tmp_path: Path
) -> None:
    assert any(finder is window.SystemTensorRT for finder in sys.meta_path)
    found = window.SystemTensorRT.find_spec("tensorrt")
    assert found.origin == str(tmp_path / "tensorrt/__init__.py")
    assert window.SystemTensorRT.find_spec("another") is None
    assert window.SystemTensorRT.find_spec("tensorrt_lean") is None  # not installed there
