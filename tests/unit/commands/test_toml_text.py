"""What check-config prints is TOML that says the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from alprd.commands.toml_text import toml_text
from alprd.config import load_settings
from alprd.info import public_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    "table",
    [
        {"a": True, "b": 1, "c": 0.5, "d": "x"},
        {"text": 'quote " back\\slash newline\n tab\t delete\x7f umlaut ü'},
        {"list": ["a", "b"], "empty": [], "nested": [[0.0, 0.3], [1.0, 1.0]]},
        {"table": {"inner": {"deep": 1}, "own": 2}, "top": 3},
        {"items": [{"id": "a", "sub": {"x": 1}}, {"id": "b"}], "after": 1},
    ],
    ids=["scalars", "escapes", "lists", "tables", "arrays of tables"],
)
def test_the_text_parses_back_to_the_same_table(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(table)) == table


def test_the_effective_settings_are_a_configuration_again(tmp_path: Path) -> None:
    first = tmp_path / "first.toml"
    first.write_text(
        'device_id = "d"\n[tracking]\nmerge_s = 3.0\n[[cameras]]\nid = "a"\nsource = "/a"\n'
        "roi = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\n[cameras.tracking]\nhold_s = 7.0\n"
    )
    settings = load_settings(first, environ={})
    second = tmp_path / "second.toml"
    second.write_text(toml_text(public_settings(settings)))
    again = load_settings(second, environ={})
    assert public_settings(again) == public_settings(settings)
    assert again.cameras[0].tracking is not None
    assert again.cameras[0].tracking.merge_s == 3.0


def test_no_credential_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "alprd.toml"
    file.write_text(
        '[mqtt]\nusername = "u"\npassword = "hush-broker"\n'
        '[[cameras]]\nid = "a"\nsource = "rtsp://u:hush-url@h/x"\n'
        '[[cameras]]\nid = "b"\nsource = "rtsp://h/y"\nusername = "u"\npassword = "hush-camera"\n'
    )
    text = toml_text(public_settings(load_settings(file, environ={})))
    assert "hush" not in text
    assert 'source = "rtsp://u:***@h/x"' in text
