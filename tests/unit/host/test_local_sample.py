"""The newest sample, for tools of the same machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alprd.host.local_sample import FILE, read_sample, write_sample

SAMPLE = {"device_id": "edge-07", "pipeline": {"cameras": []}}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    write_sample(SAMPLE, environ)
    assert read_sample("edge-07", environ) == SAMPLE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sample(SAMPLE, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"device_id": "edge-07"}', "\xff"])
def test_what_is_no_sample_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    assert read_sample("edge-07", {"RUNTIME_DIRECTORY": str(tmp_path)}) is None


def test_an_old_sample_or_one_of_another_device_is_none(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    write_sample(SAMPLE, environ)
    assert read_sample("edge-08", environ) is None
    os.utime(tmp_path / FILE, (1.0, 1.0))
    assert read_sample("edge-07", environ) is None
